package store

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestWastefulDatabaseIsCompacted(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	must(t, deliver(s, file("/in/delivered", "alice", "one")))
	enqueue(t, s, file("/in/queued", "alice", "two"), Queued)
	const n, batch = 6000, 2000
	long := strings.Repeat("reason ", 600)
	for from := 0; from < n; from += batch {
		putAll(t, s, from, from+batch, func(i int) File {
			return File{Path: fmt.Sprintf("/tmp/%d", i), State: Refused, Reason: long}
		})
	}
	must(t, s.commit(func(t *txn) error {
		for i := range n {
			old, _, err := t.get(fmt.Sprintf("/tmp/%d", i))
			if err != nil {
				return err
			}
			if err := t.save(&old, nil); err != nil {
				return err
			}
		}
		return nil
	}))
	must(t, s.Close())
	before, err := os.Stat(s.path)
	must(t, err)
	s = open(t, dir)
	after, err := os.Stat(s.path)
	must(t, err)
	if after.Size() > before.Size()/4 {
		t.Errorf("%d bytes, %d before", after.Size(), before.Size())
	}
	if state(t, s, "/in/delivered") != Delivered || state(t, s, "/in/queued") != Queued {
		t.Error("files are lost")
	}
	enqueue(t, s, file("/in/copy", "alice", "one"), Duplicate)
	enqueue(t, s, file("/in/next", "alice", "three"), Queued)
	wantNext(t, s, "alice", "/in/queued") // the sequence goes on where it was
}

func putAll(t *testing.T, s *Store, from, to int, f func(i int) File) {
	t.Helper()
	must(t, s.commit(func(t *txn) error {
		for i := from; i < to; i++ {
			if err := t.save(&record{}, &record{File: f(i)}); err != nil {
				return err
			}
		}
		return nil
	}))
}
