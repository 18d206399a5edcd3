package watcher

import (
	"errors"
	"maps"
	"syscall"
	"time"

	"github.com/digime-sync/digime-sync/sidecar"
)

// longPath is the length, in bytes, from which a path may be too long for the
// system: PATH_MAX is 1024 on macOS and 4096 on Linux.
const longPath = 1000

// sweepSlice is how many names are looked at before the loop sees to the rest.
const sweepSlice = 512

// sweep is a scan under way, of the folder or of new directories in it.
type sweep struct {
	full    bool
	todo    []string        // directories still to be listed
	view    *view           // the one being gone through
	next    int             // of its names
	found   map[string]bool // directories met; when full
	took    time.Duration
	ignored int
	entries int
	shut    map[string]error // directories that cannot be read, or not all that is in them
}

// beginScan goes through the whole folder from the start.
func (t *tree) beginScan() {
	t.plan.scan = time.Time{}
	t.sweep = &sweep{full: true, todo: []string{t.Path}, found: map[string]bool{}, shut: map[string]error{}}
}

// sweepAlso goes through one more directory, at once or in the scan under way.
func (t *tree) sweepAlso(dir string) {
	if t.sweep == nil {
		t.sweep = &sweep{found: map[string]bool{}, shut: map[string]error{}}
	}
	t.sweep.todo = append(t.sweep.todo, dir)
}

// sweepSome does a slice of the sweep, and closes it when nothing is left.
func (t *tree) sweepSome(now time.Time) {
	begun := time.Now()
	s := t.sweep
	for budget := sweepSlice; budget > 0 && t.sweep == s; {
		if s.view == nil && len(s.todo) == 0 {
			t.sweep = nil
			s.took += time.Since(begun)
			t.sweepDone(s, now)
			return
		}
		if s.view == nil {
			t.openNext(s, now)
			budget -= 8 // a directory costs about that many names
			continue
		}
		for ; budget > 0 && s.next < len(s.view.names); budget-- {
			t.hang.enter(time.Now())
			t.sweepName(s, s.view.names[s.next], now)
			s.next++
		}
		if s.next == len(s.view.names) {
			s.view = nil
		}
	}
	s.took += time.Since(begun)
}

// openNext watches and then lists the next directory: in this order, for a
// file made between the two would otherwise be missed.
func (t *tree) openNext(s *sweep, now time.Time) {
	dir := s.todo[len(s.todo)-1]
	s.todo = s.todo[:len(s.todo)-1]
	s.found[dir] = true
	if t.watches != nil {
		if reason, yes := exhausted(t.watches.add(dir, false)); yes {
			t.degrade(now, reason)
		}
	}
	v := t.view(dir)
	err := v.list()
	switch {
	case err != nil && dir == t.Path:
		t.lose(err)
		return
	case err != nil && absent(err) && !errors.Is(err, syscall.ENAMETOOLONG):
		return
	case err != nil:
		s.shut[dir] = err
		return
	case dir == t.Path:
		t.setOK()
	}
	s.view, s.next = v, 0
	s.entries += len(v.names) + len(v.subdirs)
	for _, name := range v.subdirs {
		if t.filter.dir(v.relName(name)) == "" {
			s.todo = append(s.todo, v.path(name))
		}
	}
}

func (t *tree) sweepName(s *sweep, name string, now time.Time) {
	if path := s.view.path(name); len(path) > longPath {
		if _, err := stat(path, false); errors.Is(err, syscall.ENAMETOOLONG) {
			s.shut[s.view.dir] = err
			return
		}
	}
	if !sidecar.Is(name) {
		if t.lookAtFile(s.view, name, now) && !notice(name) {
			s.ignored++
		}
		return
	}
	if len(s.view.index.Files(name)) > 0 {
		t.forget(s.view.path(name)) // it may have stood alone before
		return
	}
	t.lookAtOrphan(s.view, name, now)
}

// sweepDone draws the sum of a scan and sets the time of the next.
func (t *tree) sweepDone(s *sweep, now time.Time) {
	if !s.full {
		for dir := range s.found {
			delete(t.shut, dir)
		}
		maps.Copy(t.shut, s.shut)
		t.sayShut(now)
		return
	}
	if t.watches != nil {
		t.watches.keep(s.found)
		if eventsLimit > 0 && s.entries > eventsLimit {
			t.degrade(now, errTooMany.Error())
		}
	}
	t.swept = true
	if t.plan.scan.IsZero() { // else another was asked for meanwhile
		t.plan.scanned(now, s.took, t.interval())
	}
	t.update(func(st *Status) { st.LastScan, st.Ignored = now, s.ignored })
	t.shut = s.shut
	t.sayShut(now)
}
