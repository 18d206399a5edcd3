package watcher

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// A file that could not be taken in is offered again in seconds, not when it
// has been silent for a minute.
func TestFileThatCouldNotBeTakenInComesAgainSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := write(t, filepath.Join(dir, "scan.pdf"), "1")
		w := poll(t, Folder{Path: dir, Settle: 2 * time.Second}, never)
		f := receive(t, w)
		w.Again(f) // maybe before the loop knows that it was taken
		began := time.Now()
		if f = receive(t, w); f.Path != path || time.Since(began) > 10*time.Second {
			t.Errorf("%q came after %v", f.Path, time.Since(began))
		}
		silence(t, w, resendAfter-time.Second) // nobody has asked for that
	})
}

// One that has gone meanwhile does not come, and one that has changed settles anew.
func TestFileThatCouldNotBeTakenInIsLookedAtFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		gone, changed := write(t, filepath.Join(dir, "gone.pdf"), "1"), write(t, filepath.Join(dir, "changed.pdf"), "1")
		w := poll(t, Folder{Path: dir, Settle: 2 * time.Second}, never)
		for _, f := range collect(t, w, map[string]bool{gone: true, changed: true}) {
			w.Again(f)
		}
		must(t, os.Remove(gone))
		write(t, changed, "12")
		if f := receive(t, w); f.Path != changed || f.Sig.Size != 2 {
			t.Errorf("%+v came", f)
		}
		silence(t, w, 30*time.Second)
	})
}

// Whoever finds a file other than it was has it looked at, event or not. Look
// does not hand over again what somebody has.
func TestLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := write(t, filepath.Join(dir, "scan.pdf"), "1")
		w := poll(t, Folder{Path: dir, Settle: time.Second}, never)
		receive(t, w)
		w.Look(dir, path)
		silence(t, w, 4*time.Second)
		write(t, path, "12")
		began := time.Now()
		w.Look(dir, path)
		if f := receive(t, w); f.Sig.Size != 2 || time.Since(began) > 2*time.Second {
			t.Errorf("%+v came after %v", f, time.Since(began))
		}
		w.Look(filepath.Join(dir, "elsewhere"), path)
		w.Look(dir, filepath.Join(dir, "nothing.pdf"))
		silence(t, w, 4*time.Second)
	})
}
