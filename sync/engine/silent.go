package engine

import (
	"sync/atomic"
	"time"

	"github.com/digime-sync/digime-sync/store"
)

// A push that nothing moves in is silent: it waits for an answer, or for a
// network that takes nothing. It goes on until the client gives it up, and is in
// doubt then as any other; until then it leaves its place to other files and
// other libraries.
const (
	silentAfter = 10 * time.Second
	mostSilent  = 4  // of one library: then it waits
	silentInAll = 64 // from half of them on, libraries that have one begin nothing; each costs some 200 kB of memory
)

// flight is a push that is under way.
type flight struct {
	began  time.Time
	moved  atomic.Int64 // after began, nanoseconds
	silent bool         // only the drain's goroutine touches it
}

// move notes that it makes progress.
func (f *flight) move() { f.moved.Store(int64(time.Since(f.began))) }

func (f *flight) last() time.Time { return f.began.Add(time.Duration(f.moved.Load())) }

func (l *lane) silent() int {
	n := 0
	for _, f := range l.running {
		if f.silent {
			n++
		}
	}
	return n
}

// room says whether another push may begin, of some library.
func (d *drainer) room(now time.Time) bool {
	return d.silent < silentInAll && d.engine.host.room(d.running-d.silent, now)
}

// notice finds out which pushes are silent, and has status say so.
func (d *drainer) notice(now time.Time) {
	s := silences{lanes: map[string]time.Time{}, asked: map[string]time.Time{}, stuck: map[string]bool{}}
	news := false
	d.silent = 0
	for _, l := range d.lanes {
		if l.asked.After(now) && l.asked.Equal(l.paused) { // a person's word ends a pause
			s.asked[l.name] = l.asked
		}
		for _, f := range l.running {
			last, was := f.last(), f.silent
			f.silent = now.Sub(last) >= d.engine.silentAfter
			if !f.silent {
				continue
			}
			news = news || !was
			d.silent++
			s.lanes[l.name] = firstOf(s.lanes[l.name], last)
			s.first = firstOf(s.first, last)
		}
	}
	if news && now.Sub(d.heard) >= d.engine.silentAfter {
		d.engine.host.slowed(now)
	}
	for name := range s.lanes {
		s.stuck[name] = d.stuck(d.lanes[name])
	}
	s.full = d.silent > 0 && !d.room(now)
	d.engine.mu.Lock()
	defer d.engine.mu.Unlock()
	d.engine.silences = s
}

// stuck says whether a library begins no push because of those that are silent.
func (d *drainer) stuck(l *lane) bool {
	n := l.silent()
	return n >= mostSilent || n > 0 && d.silent >= silentInAll/2
}

// firstOf is the earlier of two times, of which a may be zero for none.
func firstOf(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// silences is what status says of silent pushes, and of libraries that are to be
// left in peace. It is not changed once made.
type silences struct {
	lanes map[string]time.Time // library → since when, of its first
	asked map[string]time.Time // library → until when the service asked to wait
	stuck map[string]bool      // libraries that begin nothing because of them
	first time.Time            // of all
	full  bool                 // no library may begin another
}

// waits shows a file that is due and waits with its library, or may wait for
// pushes that are silent.
func (s silences) waits(f store.File, now time.Time) store.File {
	if f.State != store.Queued && f.State != store.Retrying || f.NextAttempt.After(now) {
		return f
	}
	since, own := s.lanes[f.Library]
	until, asked := s.asked[f.Library]
	switch {
	case asked && until.After(now):
		f.Reason, f.NextAttempt, f.Hint = askedToWait(until), until, "nothing to do: it goes by itself then; to try it now: digime-sync retry "+f.Path
		return f
	case own:
		f.Reason = "another push of this library has had no answer since " + since.Local().Format(time.DateTime)
	case s.full:
		f.Reason = "pushes of other libraries have had no answer since " + s.first.Local().Format(time.DateTime)
	default:
		return f
	}
	f.Hint = "nothing to do: its turn comes by itself, at the latest when those are given up"
	return f
}
