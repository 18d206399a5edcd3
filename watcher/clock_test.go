package watcher

import (
	"testing"
	"time"
	"unsafe"
)

// setClock gives the instant t as it is read off a wall clock that was set by d:
// what has passed, which the runtime measures apart, is the same. It writes into
// time.Time as package time lays it out, and checks that it still does.
func setClock(t *testing.T, at time.Time, d time.Duration) time.Time {
	t.Helper()
	set := at
	wall := (*uint64)(unsafe.Pointer(&set)) // 1 bit monotonic, 33 bits seconds, 30 bits nanoseconds
	*wall += uint64(int64(d/time.Second)) << 30
	if set.Sub(at) != 0 || set.Unix()-at.Unix() != int64(d/time.Second) {
		t.Skip("time.Time is laid out otherwise by now")
	}
	return set
}

// The wall clock is set while the program runs. Nothing is scanned early or
// late, no file settles sooner or never.
func TestClockThatIsSet(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour, 365 * 24 * time.Hour, -365 * 24 * time.Hour} {
		start := time.Now()
		later := func(d time.Duration) time.Time { return setClock(t, start.Add(d), by) }

		s := newSettler(5 * time.Second)
		f := File{Path: "/d/a.pdf", Sig: Sig{Size: 1}}
		s.observe(f, start)
		if due := s.due(later(4*time.Second), 10); len(due) != 0 {
			t.Errorf("set by %v: settled early", by)
		}
		if due := s.due(later(5*time.Second), 10); len(due) != 1 {
			t.Errorf("set by %v: not due in time", by)
		}
		s.observe(f, later(5*time.Second))
		if s.first() == nil {
			t.Errorf("set by %v: never settles", by)
		}

		plan := schedule{jitter: func(d time.Duration) time.Duration { return d }}
		plan.scanned(start, 0, eventsEvery)
		plan.rootChecked(start)
		if past(plan.scan, later(eventsEvery-time.Second)) || !past(plan.scan, later(eventsEvery)) {
			t.Errorf("set by %v: the scan comes early or late", by)
		}
		if got := plan.next().Sub(later(0)); got != rootEvery {
			t.Errorf("set by %v: the loop sleeps for %v, want %v", by, got, rootEvery)
		}

		var h hang
		h.enter(setClock(t, time.Now(), by))
		if !h.since().IsZero() {
			t.Errorf("set by %v: a folder that answers is said to hang", by)
		}
		h.enter(setClock(t, time.Now().Add(-hangAfter), by))
		if h.since().IsZero() {
			t.Errorf("set by %v: a folder that hangs is not said to", by)
		}
	}
}

// A machine that slept wakes with everything overdue: each thing is done once.
func TestWakingDoesNotStorm(t *testing.T) {
	plan := schedule{jitter: func(d time.Duration) time.Duration { return d }}
	start := time.Now()
	plan.scanned(start, 0, pollEvery)
	plan.rootChecked(start)
	woken := start.Add(72 * time.Hour)
	if !past(plan.scan, woken) || !past(plan.root, woken) {
		t.Fatal("after days of sleep nothing is due")
	}
	plan.scan = time.Time{} // as beginScan does
	plan.rootChecked(woken)
	plan.scanned(woken, 0, pollEvery)
	if got := plan.next().Sub(woken); got < rootEvery {
		t.Errorf("the next thing is due after %v already", got)
	}
}
