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

// gateway is a push of a path for which a gateway alone has answered.
func gateway(t testing.TB, s *Store, path string) {
	t.Helper()
	f, ok, err := s.Begin(path, t0, true)
	must(t, err)
	if !ok {
		t.Fatalf("Begin(%s) found nothing to push", path)
	}
	f.State, f.Begun, f.Released, f.Doubtful = Retrying, false, false, true
	must(t, s.Defer(f, t0.Add(time.Hour)))
	must(t, s.Audit(EventGateway, f))
}

// That a gateway alone has answered belongs to the content likewise: it outlives
// the name and the database, ends with the delivery, and is no doubt that holds.
func TestGatewaysAnswerIsAboutTheContent(t *testing.T) {
	for name, c := range map[string]struct {
		between func(t *testing.T, s *Store, dir string) *Store
		want    bool
	}{
		"under another name meanwhile": {func(_ *testing.T, s *Store, _ string) *Store { return s }, true},
		"forgotten": {func(t *testing.T, s *Store, _ string) *Store {
			must(t, s.Forget("/in/a"))
			return s
		}, true},
		"written over": {func(t *testing.T, s *Store, _ string) *Store {
			enqueue(t, s, file("/in/a", "alice", "else"), Queued)
			push(t, s, "/in/a")
			return s
		}, true},
		"the database is lost": {func(t *testing.T, s *Store, dir string) *Store {
			must(t, s.Close())
			remove(t, dir, dbName)
			return open(t, dir)
		}, true},
		"delivered": {func(t *testing.T, s *Store, _ string) *Store {
			push(t, s, "/in/a")
			return s
		}, false},
		"delivered, and the database is lost": {func(t *testing.T, s *Store, dir string) *Store {
			push(t, s, "/in/a")
			must(t, s.Close())
			remove(t, dir, dbName)
			return open(t, dir)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			enqueue(t, s, file("/in/a", "alice", "one"), Queued)
			gateway(t, s, "/in/a")
			s = c.between(t, s, dir)
			again := file("/in/b", "alice", "one")
			again.Again = true
			enqueue(t, s, again, Queued)
			f, ok, err := s.Begin("/in/b", t0, true)
			if err != nil || !ok || f.Doubtful != c.want || f.Doubts != 0 {
				t.Errorf("may be double %v, want %v; %d doubts; %v, %v", f.Doubtful, c.want, f.Doubts, ok, err)
			}
		})
	}
}

// A lost answer counts for more, whichever came first.
func TestLostAnswerGoesBeforeAGateways(t *testing.T) {
	for name, steps := range map[string][]func(testing.TB, *Store, string){
		"the gateway's first": {gateway, lose},
		"the gateway's last":  {lose, gateway},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			enqueue(t, s, file("/in/a", "alice", "one"), Queued)
			for _, step := range steps {
				step(t, s, "/in/a")
			}
			must(t, s.Forget("/in/a"))
			enqueue(t, s, file("/in/b", "alice", "one"), Queued)
			if next, begun := beginDoubts(t, s, "/in/b"); next != 1 || begun != 1 {
				t.Errorf("%d doubts said Next and %d Begin, want 1", next, begun)
			}
		})
	}
}
