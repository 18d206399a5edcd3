package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

func next(t testing.TB, s *Store, lane string, now time.Time) (path string, due time.Time) {
	t.Helper()
	f, due, ok, err := s.Next(lane, now, nil)
	must(t, err)
	if !ok {
		return "", time.Time{}
	}
	return f.Path, due
}

func wantNext(t testing.TB, s *Store, lane, path string) {
	t.Helper()
	if got, _ := next(t, s, lane, t0); got != path {
		t.Fatalf("Next(%s) = %q, want %q", lane, got, path)
	}
}

func TestChangedContentReplacesTheQueueEntry(t *testing.T) {
	s := open(t, t.TempDir())
	enqueue(t, s, file("/in/a", "alice", "one"), Queued)
	enqueue(t, s, file("/in/b", "alice", "other"), Queued)
	enqueue(t, s, file("/in/a", "alice", "two"), Queued)
	wantNext(t, s, "alice", "/in/b") // the new content has come last
	push(t, s, "/in/b")
	f, ok, err := s.Begin("/in/a", t0, true)
	must(t, err)
	if !ok || f.SHA256 != sum("two") || f.Attempts != 1 || !f.Begun || !f.Released {
		t.Fatalf("Begin = %+v, %v", f, ok)
	}
	must(t, s.Delivered(f, t0))
	if got, _ := next(t, s, "alice", t0); got != "" {
		t.Fatalf("%s is still queued", got)
	}
}

func TestContentChangesWhileItIsPushed(t *testing.T) {
	s := open(t, t.TempDir())
	enqueue(t, s, file("/in/a", "alice", "one"), Queued)
	one, _, err := s.Begin("/in/a", t0, false)
	must(t, err)
	enqueue(t, s, file("/in/a", "alice", "two"), Queued)
	if err := s.Released("/in/a"); !errors.Is(err, ErrNotPushing) {
		t.Fatalf("Released of content that was replaced = %v", err)
	}
	one.State = Retrying
	must(t, s.Defer(one, t0.Add(time.Hour)))
	if _, due := next(t, s, "alice", t0); !due.Equal(t0) {
		t.Fatalf("a failed push of the old content put the new one off to %v", due)
	}
	must(t, s.Delivered(one, t0)) // the answer came in the end
	if got := state(t, s, "/in/a"); got != Queued {
		t.Fatalf("the new content is %s after the old one was delivered", got)
	}
	enqueue(t, s, file("/in/b", "alice", "one"), Duplicate)
	enqueue(t, s, file("/in/a", "alice", "one"), Delivered)
	if got, _ := next(t, s, "alice", t0); got != "" {
		t.Fatalf("%s is queued though its content was delivered", got)
	}
}

func TestBeginFindsContentDeliveredMeanwhile(t *testing.T) {
	s := open(t, t.TempDir())
	enqueue(t, s, file("/in/a", "alice", "one"), Queued)
	enqueue(t, s, file("/in/b", "alice", "one"), Queued)
	push(t, s, "/in/a")
	f, ok, err := s.Begin("/in/b", t0, false)
	must(t, err)
	if ok || f.State != Duplicate || !f.DeliveredAt.Equal(t0) {
		t.Fatalf("Begin = %v, %v", f.State, ok)
	}
	if _, ok, err := s.Begin("/in/none", t0, false); ok || err != nil {
		t.Fatalf("Begin of an unknown file = %v, %v", ok, err)
	}
}

func TestOneContentIsPushedOnceAtATime(t *testing.T) {
	s := open(t, t.TempDir())
	for _, path := range []string{"/in/a", "/in/b"} {
		enqueue(t, s, file(path, "alice", "one"), Queued)
	}
	enqueue(t, s, file("/in/c", "alice", "other"), Queued)
	running := map[string]bool{}
	skip := func(path string) bool { return running[path] }
	for _, want := range []string{"/in/a", "/in/c", ""} { // b waits, handed out to nobody
		f, _, _, err := s.Next("alice", t0, skip)
		must(t, err)
		if f.Path != want {
			t.Fatalf("Next = %q, want %q", f.Path, want)
		}
		running[want] = true
	}
	a, _, err := s.Begin("/in/a", t0, false)
	must(t, err)
	if f, _, _, _ := s.Next("alice", t0, skip); f.Path != "" {
		t.Fatalf("Next = %q while its content is being pushed", f.Path)
	}
	if _, _, err := s.Begin("/in/b", t0, false); !errors.Is(err, ErrSameContent) {
		t.Fatalf("Begin of the same content = %v", err)
	}
	a.State, a.Begun = Retrying, false
	must(t, s.Defer(a, t0.Add(time.Hour)))
	wantNext(t, s, "alice", "/in/b") // the fault of one file does not stop the other
}

func TestAgain(t *testing.T) {
	s := open(t, t.TempDir())
	f := file("/in/a", "alice", "one")
	enqueue(t, s, f, Queued)
	push(t, s, f.Path)
	f.Again = true
	enqueue(t, s, f, Queued)
	push(t, s, f.Path)
	if got, _, _ := s.Get(f.Path); got.Again || got.State != Delivered {
		t.Fatalf("after it was pushed again: %+v", got)
	}
	lines := 0
	must(t, ReadAudit(s.dir, func(e Entry) error { lines++; return nil }))
	if lines != 2 {
		t.Fatalf("%d deliveries in the audit log, want 2", lines)
	}
}

func TestDeliveredTwiceLeavesOneLine(t *testing.T) {
	s := open(t, t.TempDir())
	enqueue(t, s, file("/in/a", "alice", "one"), Queued)
	f, _, err := s.Begin("/in/a", t0, true)
	must(t, err)
	must(t, s.Delivered(f, t0))
	must(t, s.Delivered(f, t0.Add(time.Second)))
	lines := 0
	must(t, ReadAudit(s.dir, func(e Entry) error { lines++; return nil }))
	if lines != 1 {
		t.Fatalf("%d lines, want 1", lines)
	}
}

func TestQueueOrder(t *testing.T) {
	s := open(t, t.TempDir())
	for i := range 40 {
		enqueue(t, s, file(fmt.Sprintf("/in/%02d", i), "alice", fmt.Sprint(i)), Queued)
	}
	enqueue(t, s, file("/in/x", "alice\x01", "x"), Queued)
	enqueue(t, s, file("/in/y", "al", "y"), Queued)
	lanes, err := s.Lanes()
	must(t, err)
	if !slices.Equal(lanes, []string{"al", "alice", "alice\x01"}) {
		t.Fatalf("Lanes = %q", lanes)
	}
	f, _, _ := s.Get("/in/00")
	f.State, f.UpdatedAt = Retrying, t0.Add(time.Second)
	must(t, s.Defer(f, t0.Add(time.Hour)))
	wantNext(t, s, "alice", "/in/01")
	var order []string
	seen := map[string]bool{}
	for {
		f, due, ok, err := s.Next("alice", t0, func(path string) bool { return seen[path] })
		must(t, err)
		if !ok {
			break
		}
		if f.Path == "/in/00" && !due.Equal(t0.Add(time.Hour)) {
			t.Errorf("deferred file is due at %v", due)
		}
		seen[f.Path] = true
		order = append(order, f.Path)
	}
	if len(order) != 40 || !slices.IsSorted(order[:39]) || order[39] != "/in/00" {
		t.Fatalf("order = %q", order)
	}
	must(t, s.Defer(f, t0)) // due with the others again: its old place
	wantNext(t, s, "alice", "/in/00")
}

func TestDueWhenTheClockWasAhead(t *testing.T) {
	s := open(t, t.TempDir())
	enqueue(t, s, file("/in/a", "alice", "one"), Queued)
	before := t0.AddDate(-1, 0, 0)
	if _, due := next(t, s, "alice", before); !due.Equal(before) {
		t.Fatalf("due at %v, a year from now", due)
	}
}

func TestPutKeepsAnOpenAttempt(t *testing.T) {
	s := open(t, t.TempDir())
	f := file("/in/a", "alice", "one")
	enqueue(t, s, f, Queued)
	_, _, err := s.Begin(f.Path, t0, true)
	must(t, err)
	// The program stops here; the next scan finds the sidecar gone.
	must(t, s.Put(File{Path: f.Path, Folder: "/in", State: Waiting, Sig: f.Sig, After: "delete"}))
	got, _, _ := s.Get(f.Path)
	if got.State != Waiting || !got.Begun || !got.Released || got.Attempts != 1 || got.After != "" {
		t.Fatalf("after Put: %+v", got)
	}
	if path, _ := next(t, s, "alice", t0); path != "" {
		t.Fatalf("%s is still queued", path)
	}
	enqueue(t, s, f, Queued)
	if got, _, _ := s.Get(f.Path); !got.Begun || !got.Released {
		t.Fatal("the doubt about the attempt is forgotten")
	}
	other := f
	other.Dest = "library bob"
	enqueue(t, s, other, Queued)
	if got, _, _ := s.Get(f.Path); got.Begun {
		t.Fatal("the doubt is carried to another destination")
	}
}

func TestStatesThatHaveTheirOwnStep(t *testing.T) {
	s := open(t, t.TempDir())
	for _, state := range []State{"", Queued, Pushing, Retrying, "nonsense"} {
		if err := s.Put(File{Path: "/in/a", State: state}); err == nil {
			t.Errorf("Put accepts state %q", state)
		}
	}
	f := file("/in/a", "alice", "one")
	f.State = Delivered
	if err := s.Defer(f, t0); err == nil {
		t.Error("Defer accepts state delivered")
	}
	for name, bad := range map[string]func(*File){
		"no path":    func(f *File) { f.Path = "" },
		"long path":  func(f *File) { f.Path = string(make([]byte, 1<<16)) },
		"no sha256":  func(f *File) { f.SHA256 = "" },
		"bad sha256": func(f *File) { f.SHA256 = "abc" },
		"no dest":    func(f *File) { f.Dest = "" },
		"no library": func(f *File) { f.Library = "" },
		"zero":       func(f *File) { f.Library = "a\x00b" },
	} {
		f := file("/in/a", "alice", "one")
		bad(&f)
		if _, err := s.Enqueue(f, t0); err == nil {
			t.Errorf("Enqueue accepts a file with %s", name)
		}
	}
}

// A clock that went back after an attempt was deferred leaves no wait behind; a
// folder may hold files back for longer than any attempt is deferred.
func TestDueAfterTheClockWentBack(t *testing.T) {
	s := open(t, t.TempDir())
	f := file("/in/a", "alice", "one")
	enqueue(t, s, f, Queued)
	f, _, _ = s.Get(f.Path)
	for _, back := range []time.Duration{time.Hour, 365 * 24 * time.Hour} {
		later := t0.Add(back)
		f.State, f.UpdatedAt = Retrying, later
		must(t, s.Defer(f, later.Add(5*time.Minute)))
		if _, due := next(t, s, "alice", later); !due.Equal(later.Add(5 * time.Minute)) {
			t.Errorf("before the clock went back %s: due at %v", back, due)
		}
		if _, due := next(t, s, "alice", t0); !due.Equal(t0) {
			t.Errorf("after the clock went back %s: due at %v", back, due)
		}
	}
	f.UpdatedAt = t0
	must(t, s.Defer(f, t0.Add(365*24*time.Hour)))
	if _, due := next(t, s, "alice", t0); !due.Equal(t0) {
		t.Errorf("an attempt a year from now is due at %v", due)
	}
	f.State, f.UpdatedAt = Queued, t0.Add(time.Second)
	must(t, s.Defer(f, t0.Add(100*24*time.Hour)))
	if _, due := next(t, s, "alice", t0.Add(time.Minute)); !due.Equal(t0.Add(100 * 24 * time.Hour)) {
		t.Errorf("what is held back for 100 days is due at %v", due)
	}
}

// What a person has tried now is due at once, unless it is being pushed: that a
// push has begun must not be forgotten.
func TestHasten(t *testing.T) {
	s := open(t, t.TempDir())
	now := time.Now()
	f := file("/a", "alice", "a")
	if _, err := s.Enqueue(f, now); err != nil {
		t.Fatal(err)
	}
	f.State = Held
	if err := s.Defer(f, now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	got, ok, err := s.Hasten("/a", now)
	if err != nil || !ok || got.State != Queued || !got.NextAttempt.Equal(now.UTC()) {
		t.Fatalf("%+v, %v, %v", got, ok, err)
	}
	if _, due, ok, err := s.Next("alice", now, nil); err != nil || !ok || due.After(now) {
		t.Fatalf("due %s, %v, %v", due, ok, err)
	}
	if _, ok, err := s.Begin("/a", now, true); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if _, ok, err := s.Hasten("/a", now); err != nil || ok {
		t.Errorf("while it is pushed: %v, %v", ok, err)
	}
	if got, _, err := s.Get("/a"); err != nil || got.State != Pushing || !got.Begun || !got.Released {
		t.Errorf("%+v, %v", got, err)
	}
	if _, ok, err := s.Hasten("/b", now); err != nil || ok {
		t.Errorf("unknown: %v, %v", ok, err)
	}
}
