package engine

import (
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
)

func TestBackoffDoublesUpToFiveMinutes(t *testing.T) {
	for n, most := range map[int]time.Duration{0: time.Second, 1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 9: 256 * time.Second, 10: lastBackoff, 1000: lastBackoff} {
		var lowest, highest time.Duration = time.Hour, 0
		for range 1000 {
			d := backoff(n)
			lowest, highest = min(lowest, d), max(highest, d)
		}
		if lowest < most/2 || highest > most || highest-lowest < most/4 {
			t.Errorf("backoff(%d) is from %s to %s, want %s to %s", n, lowest, highest, most/2, most)
		}
	}
}

func TestLaneTriesOneFileWhileItsDestinationFails(t *testing.T) {
	now := time.Now()
	l := &lane{name: "alice", running: flights("a", "b")}
	if !l.ready(now) {
		t.Fatal("a lane with two of four pushes is not ready")
	}
	l.learn(outcome{path: "a", failed: true}, now)
	later := now.Add(firstBackoff)
	if l.ready(now) || l.ready(later) {
		t.Error("ready while it is paused, or while a push is under way")
	}
	l.learn(outcome{path: "b", failed: true}, now)
	if l.ready(now) || !l.ready(now.Add(2*firstBackoff)) {
		t.Error("one file must find out, after the pause")
	}
	l.running["c"] = &flight{}
	l.learn(outcome{path: "c", answers: true}, later)
	l.running["d"], l.running["e"], l.running["f"] = &flight{}, &flight{}, &flight{}
	if !l.ready(later) {
		t.Error("not ready although the destination answers again")
	}
	l.running["g"] = &flight{}
	if l.ready(later) {
		t.Error("ready for a fifth push")
	}
}

func TestLaneHonoursRetryAfter(t *testing.T) {
	now := time.Now()
	l := &lane{running: flights("a")}
	l.learn(outcome{path: "a", failed: true, after: now.Add(time.Hour)}, now)
	if l.ready(now.Add(59*time.Minute)) || !l.ready(now.Add(time.Hour)) {
		t.Error("Retry-After was not kept")
	}
	if got := l.wait(); !got.Equal(now.Add(time.Hour)) {
		t.Errorf("waits until %s", got)
	}
}

func TestHeldLaneIsNotReady(t *testing.T) {
	now := time.Now()
	l := &lane{running: flights("a")}
	l.learn(outcome{path: "a", hold: &store.Hold{}}, now)
	if l.ready(now.Add(24*time.Hour)) || !l.wait().IsZero() {
		t.Error("a held lane started by itself")
	}
}

// A push that was under way when its lane was held neither frees the lane nor
// makes it forget when to try again.
func TestHoldOutlivesThePushesBesideIt(t *testing.T) {
	now := time.Now()
	l := &lane{running: flights("a", "b", "c")}
	l.learn(outcome{path: "a", hold: &store.Hold{}, after: now.Add(time.Minute)}, now)
	l.learn(outcome{path: "b", answers: true}, now)
	l.learn(outcome{path: "c", failed: true}, now)
	if !l.held || !l.paused.Equal(now.Add(time.Minute)) || len(l.running) != 0 {
		t.Errorf("%+v", l)
	}
}

func TestNoteDue(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		state store.State
		age   time.Duration
		want  bool
	}{
		{store.Refused, 0, true}, {store.Held, 0, true},
		{store.Waiting, 9 * time.Minute, false}, {store.Waiting, 10 * time.Minute, true},
		{store.Retrying, time.Minute, false}, {store.Retrying, time.Hour, true},
		{store.Queued, time.Hour, false}, {store.Delivered, time.Hour, false}, {store.Pushing, time.Hour, false},
	} {
		if got := noteDue(store.File{State: c.state, Since: now.Add(-c.age)}, now); got != c.want {
			t.Errorf("%s for %s: %v", c.state, c.age, got)
		}
	}
}

// A vault that cannot be read is said once, however often a held lane looks, and
// once that it can be again.
func TestHeldLaneSaysOnceThatItsTokenCannotBeLookedAt(t *testing.T) {
	var said strings.Builder
	l, log := &lane{name: "alice"}, slog.New(slog.NewTextHandler(&said, nil))
	for _, err := range []error{nil, syscall.EIO, syscall.EIO, syscall.EIO, nil, nil} {
		l.sayUnread(err, log)
	}
	if lines := strings.Split(strings.TrimSpace(said.String()), "\n"); len(lines) != 2 ||
		!strings.Contains(lines[0], "cannot be looked at") || !strings.Contains(lines[1], "can be looked at again") {
		t.Errorf("said: %q", lines)
	}
}
