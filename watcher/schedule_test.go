package watcher

import (
	"testing"
	"time"
)

func plain(d time.Duration) time.Duration { return d }

func TestScheduleScans(t *testing.T) {
	for _, c := range []struct {
		took, every, want time.Duration
	}{
		{0, pollEvery, 5 * time.Second},
		{time.Second, pollEvery, 20 * time.Second},
		{time.Second, eventsEvery, 2 * time.Minute},
		{10 * time.Minute, eventsEvery, 200 * time.Minute},
	} {
		s := schedule{jitter: plain}
		s.scanned(epoch, c.took, c.every)
		if got := s.scan.Sub(epoch); got != c.want {
			t.Errorf("scan of %v every %v: next after %v, want %v", c.took, c.every, got, c.want)
		}
	}
}

func TestScheduleGathersHints(t *testing.T) {
	s := schedule{jitter: plain}
	s.hinted(epoch)
	s.hinted(epoch.Add(90 * time.Millisecond))
	if got := s.look.Sub(epoch); got != tick {
		t.Errorf("look after %v, want %v however many hints come", got, tick)
	}
	for took, want := range map[time.Duration]time.Duration{
		time.Millisecond: tick,
		time.Second:      4 * time.Second,
		time.Hour:        maxTick,
	} {
		s.looked(took)
		s.hinted(epoch)
		if got := s.look.Sub(epoch); got != want {
			t.Errorf("after a look of %v: %v, want %v", took, got, want)
		}
	}
}

func TestScheduleBacksOff(t *testing.T) {
	s := schedule{jitter: plain}
	now := epoch
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
		s.troubled(now)
		s.troubled(now.Add(time.Millisecond)) // one rebuild answers for both
		if got := s.rebuild.Sub(now); got != want*time.Second {
			t.Errorf("trouble %d: rebuild after %v, want %v", i, got, want*time.Second)
		}
		now, s.rebuild = s.rebuild.Add(time.Second), time.Time{}
	}
	now = now.Add(11 * time.Minute)
	s.troubled(now)
	if got := s.rebuild.Sub(now); got != time.Second {
		t.Errorf("after a calm time: %v, want 1s", got)
	}
}

func TestScheduleNext(t *testing.T) {
	s := schedule{jitter: plain}
	s.rootChecked(epoch)
	if got := s.next(); !got.Equal(epoch.Add(rootEvery)) {
		t.Errorf("next %v, want the look at the folder", got)
	}
	s.hinted(epoch)
	if got := s.next(); !got.Equal(epoch.Add(tick)) {
		t.Errorf("next %v, want the look at hints", got)
	}
	s.scanned(epoch, 0, pollEvery)
	s.lost()
	if got := s.next(); !got.Equal(epoch.Add(rootEvery)) {
		t.Errorf("next %v of a lost folder, want the look at it", got)
	}
}

func TestJitterStaysWithinAFifth(t *testing.T) {
	low, high := time.Hour, time.Duration(0)
	for range 10_000 {
		d := byAFifth(10 * time.Second)
		low, high = min(low, d), max(high, d)
	}
	if low < 8*time.Second || high > 12*time.Second {
		t.Errorf("10 s became %v to %v", low, high)
	}
	if high-low < 3*time.Second {
		t.Errorf("10 s became only %v to %v", low, high)
	}
}
