package store

import (
	"testing"
	"time"
)

// lose is a push of a path whose answer is lost.
func lose(t testing.TB, s *Store, path string) {
	t.Helper()
	f, ok, err := s.Begin(path, t0, true)
	must(t, err)
	if !ok {
		t.Fatalf("Begin(%s) found nothing to push", path)
	}
	f.State, f.Begun, f.Released = Retrying, false, false
	f.Doubts++
	must(t, s.Defer(f, t0.Add(time.Hour)))
}

// beginDoubts begins a push and returns how many doubts there are about it, and
// what Next had said.
func beginDoubts(t testing.TB, s *Store, path string) (next, begun int) {
	t.Helper()
	f, _, ok, err := s.Next("alice", t0, nil)
	must(t, err)
	if !ok || f.Path != path {
		t.Fatalf("Next = %s, want %s", f.Path, path)
	}
	b, ok, err := s.Begin(path, t0, true)
	must(t, err)
	if !ok {
		t.Fatalf("Begin(%s) found nothing to push", path)
	}
	return f.Doubts, b.Doubts
}

func TestDoubtIsAboutTheContent(t *testing.T) {
	for name, between := range map[string]func(t *testing.T, s *Store){
		"it waits for its next attempt": func(*testing.T, *Store) {},
		"it was taken away": func(t *testing.T, s *Store) {
			f, _, err := s.Get("/in/a")
			must(t, err)
			f.State = Ignored
			must(t, s.Put(f))
		},
		"it was forgotten": func(t *testing.T, s *Store) { must(t, s.Forget("/in/a")) },
		"it was written over": func(t *testing.T, s *Store) {
			enqueue(t, s, file("/in/a", "alice", "else"), Queued)
			push(t, s, "/in/a")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			enqueue(t, s, file("/in/a", "alice", "one"), Queued)
			lose(t, s, "/in/a")
			between(t, s)
			enqueue(t, s, file("/in/b", "alice", "one"), Queued)
			if next, begun := beginDoubts(t, s, "/in/b"); next != 1 || begun != 1 {
				t.Errorf("the same content under another name: %d doubts said Next and %d Begin, want 1", next, begun)
			}
		})
	}
}

// A crash in the middle of a push leaves the content in doubt too when the file
// has changed by the next start.
func TestDoubtOfACutPushOutlivesTheFile(t *testing.T) {
	s := open(t, t.TempDir())
	enqueue(t, s, file("/in/a", "alice", "one"), Queued)
	if _, _, err := s.Begin("/in/a", t0, true); err != nil {
		t.Fatal(err)
	}
	enqueue(t, s, file("/in/a", "alice", "two"), Queued)
	push(t, s, "/in/a")
	enqueue(t, s, file("/in/b", "alice", "one"), Queued)
	if _, begun := beginDoubts(t, s, "/in/b"); begun != 1 {
		t.Errorf("%d doubts, want 1", begun)
	}
}

func TestDoubtEndsWithTheDelivery(t *testing.T) {
	s := open(t, t.TempDir())
	enqueue(t, s, file("/in/a", "alice", "one"), Queued)
	lose(t, s, "/in/a")
	enqueue(t, s, file("/in/b", "alice", "one"), Queued)
	enqueue(t, s, file("/in/c", "bob", "one"), Queued)
	push(t, s, "/in/b")
	again := file("/in/b", "alice", "one")
	again.Again = true
	enqueue(t, s, again, Queued)
	if _, begun := beginDoubts(t, s, "/in/b"); begun != 0 {
		t.Errorf("%d doubts after the delivery", begun)
	}
	f, _, err := s.Begin("/in/c", t0, true)
	must(t, err)
	if f.Doubts != 0 {
		t.Errorf("%d doubts about another library's", f.Doubts)
	}
}

// A database that is made anew from the audit log knows what is in doubt.
func TestDoubtOutlivesTheDatabase(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for _, content := range []string{"one", "two"} {
		f := file("/in/"+content, "alice", content)
		enqueue(t, s, f, Queued)
		lose(t, s, f.Path)
		must(t, s.Audit(EventInDoubt, f))
	}
	push(t, s, "/in/two")
	must(t, s.Close())
	remove(t, dir, dbName)
	s = open(t, dir)
	enqueue(t, s, file("/in/one", "alice", "one"), Queued)
	if next, begun := beginDoubts(t, s, "/in/one"); next != 1 || begun != 1 {
		t.Errorf("%d doubts said Next and %d Begin, want 1", next, begun)
	}
	again := file("/in/two", "alice", "two")
	again.Again = true
	enqueue(t, s, again, Queued)
	if f, _, err := s.Begin(again.Path, t0, true); err != nil || f.Doubts != 0 {
		t.Errorf("%d doubts about what was delivered, %v", f.Doubts, err)
	}
}
