package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestKnown(t *testing.T) {
	s := open(t, t.TempDir())
	f := file("/in/a", "alice", "one")
	f.After = "move"
	other, moved := f.SidecarSig, f.Sig
	other.ModTime++
	moved.ID = "another inode"
	known := func(sig, side Sig) bool { return s.Known(f.Path, sig, side) }
	if known(f.Sig, f.SidecarSig) {
		t.Error("an unknown file is known")
	}
	enqueue(t, s, f, Queued)
	if !known(f.Sig, f.SidecarSig) || known(f.Sig, other) || known(moved, f.SidecarSig) {
		t.Error("queued: only the same file with the same sidecar is known")
	}
	push(t, s, f.Path)
	if !known(f.Sig, other) || known(moved, other) {
		t.Error("delivered, and to be finished: the same file is known whatever its sidecar")
	}
	if news, err := s.SetSidecar(File{Path: f.Path, Sig: f.Sig, SidecarSig: other}); news || err != nil {
		t.Errorf("noted while the old one is still to be moved: %v", err)
	}
	must(t, s.AfterDone(f.Path))
	must(t, s.Audit("note", f)) // with which that is committed
	if known(f.Sig, other) || !known(f.Sig, Sig{}) {
		t.Error("delivered and finished: only another sidecar is news")
	}
	for _, want := range []bool{true, false} {
		if news, err := s.SetSidecar(File{Path: f.Path, Sig: f.Sig, Sidecar: "b", SidecarSig: other}); news != want || err != nil {
			t.Errorf("SetSidecar = %v, %v, want %v", news, err, want)
		}
	}
	if !known(f.Sig, other) {
		t.Error("what was noted is not known")
	}
	must(t, s.SetMoved(f.Path, "/in/Sent/a"))
	if known(f.Sig, f.SidecarSig) {
		t.Error("a file that was moved away and is there again is known")
	}
	enqueue(t, s, f, Delivered)
	if !known(f.Sig, f.SidecarSig) {
		t.Error("it was looked at and is not known")
	}
	must(t, s.Put(File{Path: f.Path, State: Ignored, Sig: f.Sig, SidecarSig: f.SidecarSig}))
	if known(f.Sig, f.SidecarSig) {
		t.Error("an ignored file is known")
	}
}

func TestNamesThatAreNotUTF8(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	f := file("/in/M\xfcller\n.pdf", "Praxis M\xfcller", "one")
	f.Folder, f.Sidecar, f.Note, f.Dest = "/\xff", "M\xfcller.meta.json", "/n\xfe", "library M\xfcller"
	enqueue(t, s, f, Queued)
	push(t, s, f.Path)
	must(t, s.SetMoved(f.Path, "/in/Sent/M\xfc"))
	must(t, s.Close())
	for _, lost := range []string{"", dbName} {
		if lost != "" {
			remove(t, dir, lost)
		}
		s = open(t, dir)
		got, ok, err := s.Get(f.Path)
		must(t, err)
		if !ok || got.Folder != f.Folder || got.Sidecar != f.Sidecar || got.Library != f.Library || got.Dest != f.Dest || got.State != Delivered {
			t.Fatalf("without %q: %+v", lost, got)
		}
		if lost == "" && (got.Note != f.Note || got.MovedTo != "/in/Sent/M\xfc") {
			t.Fatalf("%+v", got)
		}
		must(t, s.Close())
	}
	var entries []Entry
	must(t, ReadAudit(dir, func(e Entry) error { entries = append(entries, e); return nil }))
	if len(entries) != 1 || entries[0].Path != f.Path || entries[0].Dest != f.Dest {
		t.Fatalf("audit = %+v", entries)
	}
}

func TestFilesInPagesWithChangesBetween(t *testing.T) {
	s := open(t, t.TempDir())
	const n = 2*pageSize + 3
	parallel(t, n, func(i int) error { return s.Put(File{Path: fmt.Sprintf("/in/%05d", i), State: Refused}) })
	must(t, s.Put(File{Path: "/other", State: Refused}))
	var paths []string
	must(t, s.Files("/in/", func(f File) error {
		paths = append(paths, f.Path)
		if len(paths)%50 != 0 {
			return nil
		}
		return s.Forget(f.Path) // needs the database's only write transaction
	}))
	if len(paths) != n || !slices.IsSorted(paths) {
		t.Fatalf("%d files, want %d in order", len(paths), n)
	}
	counts, err := s.Counts()
	must(t, err)
	if !maps.Equal(counts, map[State]int{Refused: n - n/50 + 1}) {
		t.Fatalf("counts = %v", counts)
	}
	stop := errors.New("stop")
	if err := s.Files("", func(File) error { return stop }); !errors.Is(err, stop) {
		t.Fatalf("Files = %v", err)
	}
}

func TestAfterActions(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	parallel(t, pageSize+2, func(i int) error {
		f := file(fmt.Sprintf("/in/%04d", i), "alice", fmt.Sprint(i))
		f.After = "move"
		return deliver(s, f)
	})
	pending := func(s *Store) (n int) {
		must(t, s.AfterPending(func(f File) error { n++; return nil }))
		return n
	}
	must(t, s.AfterPending(func(f File) error {
		if f.Path == "/in/0007" {
			return nil
		}
		return s.AfterDone(f.Path)
	}))
	if n := pending(s); n != 1 {
		t.Fatalf("%d after-actions pending, want 1", n)
	}
	must(t, s.Forget("/in/0008")) // any change takes them along
	if len(s.late) != 0 {
		t.Fatalf("%d after-actions still wait to be recorded", len(s.late))
	}
	must(t, s.AfterDone("/in/0007"))
	f, _, _ := s.Get("/in/0007")
	must(t, s.Put(f)) // says that it is to do again, after it was done
	must(t, s.Close())
	s = open(t, dir)
	if n := pending(s); n != 1 {
		t.Fatalf("%d after-actions pending after Close, want 1", n)
	}
	must(t, s.AfterDone("/in/0007"))
	must(t, s.Close())
	remove(t, dir, dbName)
	s = open(t, dir)
	if n := pending(s); n != 0 {
		t.Fatalf("%d after-actions pending in a rebuilt database, want none", n)
	}
}

func TestUnfinished(t *testing.T) {
	s := open(t, t.TempDir())
	enqueue(t, s, file("/in/delivered", "alice", "one"), Queued)
	push(t, s, "/in/delivered")
	enqueue(t, s, file("/in/duplicate", "alice", "one"), Duplicate)
	enqueue(t, s, file("/in/queued", "alice", "two"), Queued)
	must(t, s.Put(File{Path: "/in/ignored", State: Ignored}))
	must(t, s.Put(File{Path: "/in/refused", State: Refused}))
	must(t, s.Put(File{Path: "/in/waiting", State: Waiting}))
	must(t, s.Put(File{Path: "/in/gone", State: Held}))
	must(t, s.Forget("/in/gone"))
	var paths []string
	must(t, s.Unfinished(func(f File) error { paths = append(paths, f.Path); return nil }))
	if !slices.Equal(paths, []string{"/in/queued", "/in/refused", "/in/waiting"}) {
		t.Fatalf("unfinished = %q", paths)
	}
}

func TestForgetKeepsTheDelivery(t *testing.T) {
	s := open(t, t.TempDir())
	f := file("/in/a", "alice", "one")
	enqueue(t, s, f, Queued)
	push(t, s, f.Path)
	must(t, s.Forget(f.Path))
	must(t, s.Forget(f.Path))
	if got := state(t, s, f.Path); got != "none" {
		t.Fatalf("state = %s", got)
	}
	enqueue(t, s, f, Delivered)
}

func TestHolds(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	h := Hold{Library: "Praxis M\xfcller", Reason: "consent", Hint: "authorize", Since: t0}
	must(t, s.SetHold(h))
	must(t, s.Close())
	s = open(t, dir)
	holds, err := s.Holds()
	must(t, err)
	if len(holds) != 1 || holds[h.Library] != h {
		t.Fatalf("holds = %+v", holds)
	}
	must(t, s.ClearHold(h.Library))
	must(t, s.ClearHold(h.Library))
	if holds, _ := s.Holds(); len(holds) != 0 {
		t.Fatalf("holds = %+v", holds)
	}
	if err := s.SetHold(Hold{}); err == nil {
		t.Error("a hold without a library is accepted")
	}
}

func TestOwnContentIsMovedAgain(t *testing.T) {
	s := open(t, t.TempDir())
	f := file("/in/a", "alice", "one")
	f.After = "move"
	enqueue(t, s, f, Queued)
	push(t, s, f.Path)
	must(t, s.AfterDone(f.Path))
	f.Sig.ModTime++
	enqueue(t, s, f, Delivered)
	if got, _, _ := s.Get(f.Path); got.After != "move" || got.Sig != f.Sig {
		t.Fatalf("a file that was put there again: %+v", got)
	}
	must(t, s.AfterDone(f.Path))
	f.After = "keep"
	f.Sig.ModTime++
	enqueue(t, s, f, Delivered)
	if got, _, _ := s.Get(f.Path); got.After != "" {
		t.Fatalf("a file that was only touched gets its receipt again: %+v", got)
	}
}

func TestClosed(t *testing.T) {
	s := open(t, t.TempDir())
	must(t, s.Close())
	must(t, s.Close())
	_, _, getErr := s.Get("/in/a")
	_, queueErr := s.Enqueue(file("/in/a", "alice", "one"), time.Now())
	for _, err := range []error{getErr, queueErr, s.AfterDone("/in/a"), s.Forget("/in/a")} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
}

// What is skipped is told by path, state and whether it has a reason, also where
// a text holds that word; pages go on behind what was skipped.
func TestFilesBut(t *testing.T) {
	s := open(t, t.TempDir())
	const n = 3 * pageSize
	parallel(t, n, func(i int) error {
		f := file(fmt.Sprintf("/in/%04d", i), "alice", fmt.Sprint(i))
		f.State, f.SHA256 = Ignored, ""
		if i%3 == 0 {
			f.State, f.Hint = Waiting, `no "reason": none`
		}
		if i%6 == 0 {
			f.Reason = "it has no sidecar"
		}
		return s.Put(f)
	})
	asked, skipped, got := 0, map[State]int{}, 0
	must(t, s.FilesBut("/in/", func(path string, state State, reason bool) bool {
		i, err := strconv.Atoi(strings.TrimPrefix(path, "/in/"))
		if err != nil || (state == Waiting) != (i%3 == 0) || reason != (i%6 == 0) {
			t.Errorf("%s: %s, reason %v, %v", path, state, reason, err)
		}
		asked++
		if !reason {
			skipped[state]++
		}
		return !reason
	}, func(f File) error {
		if f.Reason == "" || f.State != Waiting {
			t.Errorf("%s was to be skipped", f.Path)
		}
		got++
		return nil
	}))
	if asked != n || got != n/6 || skipped[Ignored] != n*2/3 || skipped[Waiting] != n/6 {
		t.Errorf("asked %d times, skipped %v, got %d", asked, skipped, got)
	}
}
