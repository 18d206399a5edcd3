package watcher

import "time"

// How often is looked. All but tick are stretched or shortened by a fifth at
// random, lest a thousand machines scan one server at once.
const (
	tick        = 100 * time.Millisecond // after an event, for more to come
	eventsEvery = 2 * time.Minute        // between scans of a folder watched by events
	pollEvery   = 5 * time.Second        // between scans of a folder that is polled
	shutEvery   = 25 * time.Second       // between looks at what cannot be read
	rootEvery   = 3 * time.Second        // between looks at the folder itself
	leisure     = 20                     // a scan is followed by a pause of that many times its length
	lookLeisure = 4                      // and so is a look at the names that events told
	maxTick     = 5 * time.Second
	minBackoff  = time.Second
	maxBackoff  = 5 * time.Minute
)

// schedule holds when the next things are to be done for one folder; a zero
// time is never. It is pure: it touches nothing and learns the time from its caller.
type schedule struct {
	jitter func(time.Duration) time.Duration

	look    time.Time // at the names in the inbox
	root    time.Time // at the folder itself
	scan    time.Time
	rebuild time.Time // of the fsnotify watcher, followed by a scan
	again   time.Time // at the directories that could not be read

	lookTook time.Duration
	backoff  time.Duration
	trouble  time.Time // the latest
}

// hinted notes that the inbox holds something. The longer the last look took,
// the longer names are gathered for the next.
func (s *schedule) hinted(now time.Time) {
	if s.look.IsZero() {
		s.look = now.Add(min(max(tick, lookLeisure*s.lookTook), maxTick))
	}
}

func (s *schedule) looked(took time.Duration) { s.look, s.lookTook = time.Time{}, took }

func (s *schedule) rootChecked(now time.Time) { s.root = now.Add(s.jitter(rootEvery)) }

// scanned sets the next scan; every is eventsEvery or pollEvery.
func (s *schedule) scanned(now time.Time, took, every time.Duration) {
	s.scan = now.Add(s.jitter(max(every, leisure*took)))
}

// troubled has the watcher rebuilt: after a second, or after twice the wait of
// last time if that was not long ago.
func (s *schedule) troubled(now time.Time) {
	if !s.rebuild.IsZero() {
		s.trouble = now
		return
	}
	calm := s.trouble.IsZero() || now.Sub(s.trouble) > max(2*s.backoff, time.Minute)
	if calm {
		s.backoff = minBackoff
	} else {
		s.backoff = min(2*s.backoff, maxBackoff)
	}
	s.trouble = now
	s.rebuild = now.Add(s.jitter(s.backoff))
}

// lost clears what makes no sense while the folder is not there.
func (s *schedule) lost() {
	s.look, s.scan, s.rebuild, s.again = time.Time{}, time.Time{}, time.Time{}, time.Time{}
}

// next is the earliest of all.
func (s *schedule) next() time.Time {
	at := s.root
	for _, t := range []time.Time{s.look, s.scan, s.rebuild, s.again} {
		if !t.IsZero() && t.Before(at) {
			at = t
		}
	}
	return at
}

// past says whether a thing is due.
func past(at, now time.Time) bool { return !at.IsZero() && !at.After(now) }
