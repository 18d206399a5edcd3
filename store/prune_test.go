package store

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// prune drops the records of the folder that gone says have gone, page by page.
func prune(t testing.TB, s *Store, folder string, gone func(File) bool) (dropped, pages int) {
	t.Helper()
	for next := "first"; next != ""; pages++ {
		from := next
		if pages == 0 {
			from = ""
		}
		page, after, err := s.Resting(folder, from)
		must(t, err)
		n, err := s.Prune(slices.DeleteFunc(page, func(f File) bool { return !gone(f) }))
		must(t, err)
		dropped, next = dropped+n, after
	}
	return dropped, pages
}

func every(File) bool { return true }

// Only what is at rest is dropped, and only of this folder.
func TestOnlyRestingRecordsArePruned(t *testing.T) {
	s := open(t, t.TempDir())
	put := func(path string, change func(*record)) {
		t.Helper()
		path = filepath.FromSlash(path)
		f := file(path, "alice", path)
		f.Folder, f.After, f.State, f.UpdatedAt, f.Since = filepath.Dir(path), "", Delivered, t0, t0
		r := record{File: f}
		if change != nil {
			change(&r)
		}
		must(t, s.commit(func(t *txn) error { return t.save(&record{}, &r) }))
	}
	put("/in/delivered", nil)
	put("/in/duplicate", func(r *record) { r.State = Duplicate })
	put("/in/ignored", func(r *record) { r.State = Ignored })
	put("/in/moved", func(r *record) { r.MovedTo = "/in/Sent/moved" })
	stay := []string{"/in/after", "/in/note", "/in2/delivered"}
	put("/in/after", func(r *record) { r.After = "move" })
	put("/in/note", func(r *record) { r.Note = "/in/note.error.txt" })
	put("/in2/delivered", nil)
	for _, state := range []State{Waiting, Refused, Held, Queued, Retrying, Pushing} {
		path := "/in/" + string(state)
		stay = append(stay, path)
		put(path, func(r *record) { r.State = state })
	}
	if n, _ := prune(t, s, filepath.FromSlash("/in"), every); n != 4 {
		t.Errorf("%d records were dropped, not 4", n)
	}
	for i := range stay {
		stay[i] = filepath.FromSlash(stay[i])
	}
	slices.Sort(stay)
	var left []string
	must(t, s.Files("", func(f File) error { left = append(left, f.Path); return nil }))
	if !slices.Equal(left, stay) {
		t.Errorf("left are %q, not %q", left, stay)
	}
}

// What was delivered stays known when its record is gone, under its name and
// any other, also after the database is made anew from the audit log.
func TestPrunedContentIsNotPushedAgain(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 3 {
		must(t, deliver(s, file(fmt.Sprintf("/in/%d", i), "alice", fmt.Sprint(i))))
		must(t, s.AfterDone(fmt.Sprintf("/in/%d", i)))
	}
	must(t, s.commit(func(*txn) error { return nil }))
	if n, _ := prune(t, s, "/in", every); n != 3 {
		t.Fatalf("%d records were dropped", n)
	}
	known := func() {
		t.Helper()
		enqueue(t, s, file("/in/0", "alice", "0"), Delivered)
		enqueue(t, s, file("/in/other", "alice", "1"), Duplicate)
		enqueue(t, s, file("/in/bob", "bob", "1"), Queued)
	}
	known()
	checked(t, s)
	must(t, s.Close())
	remove(t, dir, dbName)
	s = open(t, dir)
	known()
	prune(t, s, "/in", every) // those the log brought back
	known()
}

// A file that came again between the look and the transaction keeps its record.
func TestFileThatCameBackIsNotPruned(t *testing.T) {
	s := open(t, t.TempDir())
	f := file("/in/a", "alice", "one")
	must(t, deliver(s, f))
	must(t, s.AfterDone(f.Path))
	must(t, s.commit(func(*txn) error { return nil }))
	page, _, err := s.Resting("/in", "")
	must(t, err)
	if len(page) != 1 {
		t.Fatalf("%d records", len(page))
	}
	if _, err := s.Enqueue(f, t0.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Prune(page); n != 0 || err != nil {
		t.Errorf("Prune = %d, %v", n, err)
	}
	enqueue(t, s, file("/in/a", "alice", "two"), Queued)
	if n, err := s.Prune(page); n != 0 || err != nil {
		t.Errorf("Prune = %d, %v", n, err)
	}
	if got := state(t, s, f.Path); got != Queued {
		t.Errorf("state %s", got)
	}
}

// A doubt about a file that was taken away outlives its record.
func TestDoubtOutlivesItsRecord(t *testing.T) {
	s := open(t, t.TempDir())
	f := file("/in/a", "alice", "one")
	enqueue(t, s, f, Queued)
	begun, _, err := s.Begin(f.Path, t0, true)
	must(t, err)
	begun.State, begun.Doubts = Retrying, 1
	must(t, s.Defer(begun, t0))
	begun.State = Ignored
	must(t, s.Put(begun))
	if n, _ := prune(t, s, "/in", every); n != 1 {
		t.Fatalf("%d records were dropped", n)
	}
	enqueue(t, s, file("/in/b", "alice", "one"), Queued)
	if next, _, _, err := s.Next("alice", t0, nil); err != nil || next.Doubts != 1 {
		t.Errorf("%d doubts, %v", next.Doubts, err)
	}
}

func TestPruningGoesByPages(t *testing.T) {
	s := open(t, t.TempDir())
	const n = 2*restPage + restPage/2
	putAll(t, s, 0, n, func(i int) File {
		return File{Path: fmt.Sprintf("/in/%d", i), Folder: "/in", State: Delivered, UpdatedAt: t0, Since: t0}
	})
	before := s.commits
	dropped, pages := prune(t, s, "/in", func(f File) bool { return f.Path[len(f.Path)-1] != '7' })
	if dropped != n-n/10 || pages != 3 || s.commits-before != pages {
		t.Errorf("%d dropped, %d pages, %d transactions", dropped, pages, s.commits-before)
	}
	at, err := s.Pruned()
	if must(t, err); !at.IsZero() {
		t.Errorf("pruned at %s", at)
	}
	must(t, s.SetPruned(t0))
	if at, err = s.Pruned(); err != nil || !at.Equal(t0) {
		t.Errorf("pruned at %s, %v", at, err)
	}
}

// The space of dropped records is used again: with as many files coming as going,
// the database grows by what is remembered of each delivery alone.
func TestDatabaseStaysFlatWhereFilesComeAndGo(t *testing.T) {
	s := open(t, t.TempDir())
	const round = 1000
	var sizes []int64
	for r := range 8 {
		putAll(t, s, r*round, (r+1)*round, func(i int) File {
			f := file(fmt.Sprintf("/in/%07d.pdf", i), "alice", fmt.Sprint(i))
			f.State, f.After, f.UpdatedAt, f.Since = Delivered, "", t0, t0
			return f
		})
		prune(t, s, "/in", every)
		sizes = append(sizes, used(t, s))
	}
	if sizes[7] > sizes[1]+round*64 {
		t.Errorf("bytes in use after each %d files: %d", round, sizes)
	}
}

// used is how many bytes of the database hold something.
func used(t testing.TB, s *Store) int64 {
	t.Helper()
	info, err := os.Stat(s.path)
	must(t, err)
	return info.Size() - int64(s.db.Stats().FreePageN*s.db.Info().PageSize)
}

// checked examines the store, which must be whole.
func checked(t testing.TB, s *Store) *Checked {
	t.Helper()
	v, err := OpenVault(s.dir)
	must(t, err)
	c, err := s.Check(v)
	must(t, err)
	for _, fault := range c.Faults {
		t.Error(fault.What)
	}
	return c
}
