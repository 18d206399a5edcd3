package watcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

func TestEventsBringFileWithSidecar(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := start(t, Folder{Path: dir, Settle: 50 * time.Millisecond}, never)
	until(t, "first scan", scanned(w))
	sc := write(t, filepath.Join(dir, "report.pdf.meta.json"), "{}")
	file := write(t, filepath.Join(dir, "report.pdf"), "content")
	got := receive(t, w)
	if got.Path != file || got.Sidecar != sc || got.Err != nil || got.Folder != dir {
		t.Errorf("got %+v", got)
	}
	if sig, err := Lstat(file); err != nil || sig != got.Sig || sig.Size != 7 {
		t.Errorf("Sig %+v, Lstat %+v, %v", got.Sig, sig, err)
	}
	if sig, err := Lstat(sc); err != nil || sig != got.SidecarSig {
		t.Errorf("SidecarSig %+v, Lstat %+v, %v", got.SidecarSig, sig, err)
	}
}

// A directory made with files in it at once: fsnotify's own watch of it comes
// too late for 1,310 of 1,500 files.
func TestNewDirectoriesLoseNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := start(t, Folder{Path: dir, Recursive: true, Settle: 20 * time.Millisecond}, never)
	eventsOnly(t, w)
	want := map[string]bool{}
	for i := range 300 {
		sub := mkdir(t, dir, fmt.Sprint("d", i), "a", "b")
		for j := range 5 {
			want[write(t, filepath.Join(sub, fmt.Sprintf("f%d.txt", j)), "x")] = true
		}
	}
	collect(t, w, want)
}

// Files are written into a new folder the whole while it is being discovered:
// those made between its watch and its listing must be in either.
func TestFolderFilledWhileDiscoveredLosesNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := start(t, Folder{Path: dir, Recursive: true}, never)
	eventsOnly(t, w)
	for round := range 5 {
		sub := mkdir(t, dir, fmt.Sprint("new", round))
		want := map[string]bool{}
		for w.Status()[0].Settling == 0 {
			want[write(t, filepath.Join(sub, fmt.Sprint(len(want))), "1")] = true
		}
		for range 100 {
			want[write(t, filepath.Join(sub, fmt.Sprint(len(want))), "1")] = true
		}
		collect(t, w, want)
	}
}

// burst is the number of files whose events no queue holds: on Windows each has
// three events of some 36 bytes, in a buffer of 256 KiB (and Wine takes a time
// that grows with the square of it).
func burst() int {
	if runtime.GOOS == "windows" {
		return 3_000
	}
	return 20_000
}

func TestStoppedConsumerLosesNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := start(t, Folder{Path: dir, Settle: 20 * time.Millisecond}, never)
	until(t, "first scan", scanned(w))
	n := burst()
	want := map[string]bool{}
	for i := range n {
		want[write(t, filepath.Join(dir, fmt.Sprintf("%05d.txt", i)), "x")] = true
	}
	until(t, "all files settling", func() bool { return w.Status()[0].Settling == n })
	collect(t, w, want)
}

// The kernel's queue holds 16,384 events by default: what came beyond it is
// found by the scan that must follow.
func TestOverflowLosesNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log, said := recorded(t)
	w := New([]Folder{{Path: dir, Settle: 20 * time.Millisecond, Mode: ModeEvents}}, never, log)
	run(t, w)
	until(t, "first scan", scanned(w))
	n := burst()
	want := map[string]bool{}
	inbox := w.trees[0].inbox
	inbox.mu.Lock() // whoever reads the events gets no further
	for i := range n {
		want[write(t, filepath.Join(dir, fmt.Sprintf("%05d.txt", i)), "x")] = true
	}
	inbox.mu.Unlock()
	collect(t, w, want)
	if !said("events were lost") {
		t.Skip("the system's queue took all the events")
	}
}

// eventsOnly fails if what the test saw was the work of a scan, but for one whose
// time had come, on a machine on which the test took so long.
func eventsOnly(t *testing.T, w *Watcher) {
	t.Helper()
	until(t, "first scan", scanned(w))
	first := w.Status()[0].LastScan
	t.Cleanup(func() {
		if again := w.Status()[0].LastScan; again != first && again.Sub(first) < eventsEvery*3/4 {
			t.Errorf("a full scan at %v helped, the first was at %v", again, first)
		}
	})
}

// The watches of what lies in a moved folder go on reporting its old path.
func TestMovedFoldersAreFollowed(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), t.TempDir()
	mkdir(t, dir, "a", "sub", "deep")
	mkdir(t, outside, "c", "sub")
	before := write(t, filepath.Join(dir, "a", "sub", "before.pdf"), "1")
	w := start(t, Folder{Path: dir, Recursive: true}, never)
	collect(t, w, map[string]bool{before: true})
	eventsOnly(t, w)
	must(t, os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "b")))
	collect(t, w, map[string]bool{filepath.Join(dir, "b", "sub", "before.pdf"): true})
	collect(t, w, map[string]bool{write(t, filepath.Join(dir, "b", "sub", "after.pdf"), "1"): true})
	collect(t, w, map[string]bool{write(t, filepath.Join(dir, "b", "sub", "deep", "after.pdf"), "1"): true})
	must(t, os.Rename(filepath.Join(outside, "c"), filepath.Join(dir, "c")))
	collect(t, w, map[string]bool{write(t, filepath.Join(dir, "c", "sub", "late.pdf"), "1"): true})
	must(t, os.Rename(filepath.Join(dir, "c"), filepath.Join(outside, "c")))
	write(t, filepath.Join(outside, "c", "sub", "out.pdf"), "1")
	collect(t, w, map[string]bool{write(t, filepath.Join(dir, "b", "last.pdf"), "1"): true})
}

func TestRecreatedSubfolderIsWatched(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sub := mkdir(t, dir, "sub")
	w := start(t, Folder{Path: dir, Recursive: true}, never)
	eventsOnly(t, w)
	for i := range 8 {
		must(t, os.RemoveAll(sub))
		mkdir(t, sub)
		collect(t, w, map[string]bool{write(t, filepath.Join(sub, fmt.Sprintf("early%d.pdf", i)), "1"): true})
		collect(t, w, map[string]bool{write(t, filepath.Join(sub, fmt.Sprintf("late%d.pdf", i)), "1"): true})
	}
}

func TestRecreatedRootIsWatched(t *testing.T) {
	t.Parallel()
	dir := mkdir(t, t.TempDir(), "root")
	w := start(t, Folder{Path: dir, Recursive: true}, never)
	until(t, "first scan", scanned(w))
	for i := range 2 {
		must(t, os.RemoveAll(dir))
		mkdir(t, dir)
		collect(t, w, map[string]bool{write(t, filepath.Join(dir, fmt.Sprintf("early%d.pdf", i)), "1"): true})
	}
	until(t, "state ok", func() bool { return w.Status()[0].State == StateOK })
	collect(t, w, map[string]bool{write(t, filepath.Join(dir, "late.pdf"), "1"): true})
}

// A folder removed and made again can have the same inode number.
func TestEventOfTheFolderItselfHasItWatchedAnew(t *testing.T) {
	for op, rebuild := range map[fsnotify.Op]bool{fsnotify.Remove: true, fsnotify.Rename: true, fsnotify.Chmod: false} {
		tree := newTree(Folder{Path: t.TempDir()}, never, nil, logOf(t))
		tree.inbox.put(nil, func() { tree.inbox.note(fsnotify.Event{Name: tree.Path, Op: op}, tree.Path) })
		tree.look(epoch)
		if !past(tree.plan.root, epoch) || !past(tree.plan.scan, epoch) || tree.plan.rebuild.IsZero() == rebuild {
			t.Errorf("%v: plan %+v", op, tree.plan)
		}
	}
}

func TestTroubleRebuildsAndScans(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := start(t, Folder{Path: dir}, never)
	until(t, "first scan", scanned(w))
	first := w.Status()[0].LastScan
	tree := w.trees[0]
	tree.inbox.mu.Lock()
	old := tree.inbox.fsw
	tree.inbox.mu.Unlock()
	tree.inbox.put(old, func() {
		tree.inbox.hints.trouble = errors.New("ReadDirectoryChangesW: the network name is no longer available")
	})
	until(t, "second scan", func() bool { return w.Status()[0].LastScan != first })
	tree.inbox.mu.Lock()
	rebuilt := tree.inbox.fsw
	tree.inbox.mu.Unlock()
	if rebuilt == old {
		t.Error("the watcher was not rebuilt")
	}
	collect(t, w, map[string]bool{write(t, filepath.Join(dir, "a.pdf"), "1"): true})
}

// Without a scan: a sidecar's event counts for its file, in every form of its name.
func TestSidecarEventsCountForTheirFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "Report.pdf"), "1")
	w := start(t, Folder{Path: dir}, never)
	if f := receive(t, w); f.Path != file {
		t.Fatalf("got %+v", f)
	}
	eventsOnly(t, w)
	for _, name := range []string{"report.meta.json", "REPORT.PDF.meta.json", "Report.pdf.meta.json"} {
		sc := write(t, filepath.Join(dir, name), "{}"+name)
		if f := receive(t, w); f.Path != file || f.Sidecar != sc || f.Err != nil {
			t.Errorf("%s: got %+v", name, f)
		}
		must(t, os.Remove(sc))
		if f := receive(t, w); f.Path != file || f.Sidecar != "" || f.Err != nil {
			t.Errorf("%s removed: got %+v", name, f)
		}
	}
	stem := write(t, filepath.Join(dir, "Report.meta.json"), "{}")
	if f := receive(t, w); f.Sidecar != stem {
		t.Errorf("stem: got %+v", f)
	}
	// Another file of that stem: nobody can tell any more whose it is.
	other := write(t, filepath.Join(dir, "Report.jpg"), "1")
	for path, f := range collect(t, w, map[string]bool{file: true, other: true}) {
		if f.Err == nil || f.Sidecar != "" {
			t.Errorf("%q: got %+v, want it ambiguous", path, f)
		}
	}
	must(t, os.Remove(other))
	if f := receive(t, w); f.Path != file || f.Sidecar != stem || f.Err != nil {
		t.Errorf("alone again: got %+v", f)
	}
	must(t, os.Remove(file))
	if f := receive(t, w); f.Path != stem || !f.Orphan {
		t.Errorf("the sidecar left alone: got %+v", f)
	}
}

func TestInboxIsBounded(t *testing.T) {
	b := newInbox()
	for i := range maxHints + 10 {
		b.put(nil, func() {
			b.note(fsnotify.Event{Name: filepath.FromSlash(fmt.Sprintf("/d/%d", i)), Op: fsnotify.Write}, "/d")
		})
	}
	h := b.take()
	if h.trouble == nil || len(h.names[filepath.FromSlash("/d")]) != 9 {
		t.Errorf("trouble %v, %d names, want a scan asked for and the names since", h.trouble, len(h.names[filepath.FromSlash("/d")]))
	}
	if h := b.take(); h.trouble != nil || h.names != nil || h.root != 0 {
		t.Errorf("taken twice: %+v", h)
	}
}
