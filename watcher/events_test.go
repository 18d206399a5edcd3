package watcher

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

func TestEventsBringFileWithSidecar(t *testing.T) {
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
	dir := t.TempDir()
	w := start(t, Folder{Path: dir, Recursive: true, Settle: 20 * time.Millisecond}, never)
	until(t, "first scan", scanned(w))
	want := map[string]bool{}
	for i := range 300 {
		sub := mkdir(t, dir, fmt.Sprint("d", i), "a", "b")
		for j := range 5 {
			want[write(t, filepath.Join(sub, fmt.Sprintf("f%d.txt", j)), "x")] = true
		}
	}
	begun := w.Status()[0].LastScan
	collect(t, w, want)
	if again := w.Status()[0].LastScan; again != begun {
		t.Errorf("a full scan at %v helped, the first was at %v", again, begun)
	}
}

func TestStoppedConsumerLosesNoFile(t *testing.T) {
	dir := t.TempDir()
	w := start(t, Folder{Path: dir, Settle: 20 * time.Millisecond}, never)
	until(t, "first scan", scanned(w))
	const n = 20_000
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
	dir := t.TempDir()
	log, said := recorded(t)
	w := New([]Folder{{Path: dir, Settle: 20 * time.Millisecond, Mode: ModeEvents}}, never, log)
	run(t, w)
	until(t, "first scan", scanned(w))
	const n = 20_000
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
