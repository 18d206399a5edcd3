package watcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/digime-sync/digime-sync/sidecar"
)

// In these tests time is virtual and the files are real: a polled folder has no
// fsnotify, so that its clock runs whenever the loop waits.

func poll(t *testing.T, f Folder, known func(File) bool) *Watcher {
	t.Helper()
	f.Mode = ModePoll
	return start(t, f, known)
}

// silence fails when a file comes within d.
func silence(t *testing.T, w *Watcher, d time.Duration) {
	t.Helper()
	select {
	case f := <-files(w):
		t.Errorf("came though it should not: %+v", f)
	case <-time.After(d):
	}
}

func TestChangingFileIsNotHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := write(t, filepath.Join(dir, "scan.pdf"), "1")
		w := poll(t, Folder{Path: dir, Settle: 30 * time.Second}, never)
		for _, content := range []string{"12", "123", "1234"} {
			silence(t, w, 20*time.Second)
			write(t, path, content)
		}
		changed := time.Now()
		if f := receive(t, w); f.Sig.Size != 4 {
			t.Errorf("size %d, want 4", f.Sig.Size)
		}
		if took := time.Since(changed); took < 29*time.Second || took > 45*time.Second {
			t.Errorf("handed over %v after the last change, Settle is 30 s", took)
		}
	})
}

func TestSidecarThatChangesSettlesTheFileAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := write(t, filepath.Join(dir, "scan.pdf"), "1")
		w := poll(t, Folder{Path: dir, Settle: 5 * time.Second}, never)
		if f := receive(t, w); f.Path != path || f.Sidecar != "" || f.SidecarSig != (Sig{}) {
			t.Errorf("without a sidecar: %+v", f)
		}
		sc := write(t, path+sidecar.Suffix, "{}")
		if f := receive(t, w); f.Path != path || f.Sidecar != sc || f.SidecarSig.Size != 2 {
			t.Errorf("with a sidecar: %+v", f)
		}
		must(t, os.Remove(sc))
		if f := receive(t, w); f.Path != path || f.Sidecar != "" {
			t.Errorf("its sidecar gone: %+v", f)
		}
	})
}

func TestHandedOverFileIsRepeatedOnlyWhileUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "scan.pdf"), "1")
		var stored atomic.Bool
		w := poll(t, Folder{Path: dir, Settle: time.Second}, func(File) bool { return stored.Load() })
		first := receive(t, w)
		silence(t, w, 59*time.Second)
		if again := receive(t, w); again.Path != first.Path || again.Sig != first.Sig {
			t.Errorf("again: %+v, first %+v", again, first)
		}
		stored.Store(true)
		silence(t, w, 10*time.Minute)
		if n := len(w.trees[0].settler.items); n != 0 {
			t.Errorf("%d known files are remembered", n)
		}
	})
}

func TestKnownFileIsNeitherSettledNorRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := write(t, filepath.Join(dir, "scan.pdf"), "1")
		write(t, path+sidecar.Suffix, "{}")
		asked := make(chan File, 100)
		w := poll(t, Folder{Path: dir, Settle: time.Second}, func(f File) bool { asked <- f; return true })
		silence(t, w, time.Minute)
		f := <-asked
		if f.Path != path || f.Sig.Size != 1 || f.SidecarSig.Size != 2 {
			t.Errorf("known was asked about %+v", f)
		}
		if slices.Contains(w.Settling(), path) || w.Status()[0].Settling != 0 {
			t.Error("a known file settles")
		}
	})
}

// A file may become known while it waits in line: another name for the same record, or `push`.
func TestFileThatBecameKnownInLineIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "scan.pdf"), "1")
		var stored atomic.Bool
		w := poll(t, Folder{Path: dir, Settle: time.Second}, func(File) bool { return stored.Load() })
		time.Sleep(time.Minute)
		stored.Store(true)
		time.Sleep(offerStale + time.Second)
		silence(t, w, time.Minute)
	})
}

func TestFileThatChangesInLineIsWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := write(t, filepath.Join(dir, "scan.pdf"), "1")
		w := poll(t, Folder{Path: dir, Settle: 20 * time.Second}, never)
		time.Sleep(time.Minute) // it is being offered
		if !slices.Contains(w.Settling(), path) {
			t.Error("not settling though nobody took it")
		}
		write(t, path, "12")
		time.Sleep(10 * time.Second)
		silence(t, w, 5*time.Second)
		if f := receive(t, w); f.Sig.Size != 2 {
			t.Errorf("size %d, want 2", f.Sig.Size)
		}
		synctest.Wait() // the watcher has noted that it was taken
		if slices.Contains(w.Settling(), path) {
			t.Error("settling after it was taken")
		}
	})
}

func TestFileThatVanishesInLineIsWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := write(t, filepath.Join(dir, "scan.pdf"), "1")
		w := poll(t, Folder{Path: dir, Settle: time.Second}, never)
		time.Sleep(time.Minute)
		must(t, os.Remove(path))
		time.Sleep(10 * time.Second)
		silence(t, w, time.Minute)
	})
}

func TestOrphanSidecar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		sc := write(t, filepath.Join(dir, "scan.pdf.meta.json"), "{}")
		w := poll(t, Folder{Path: dir, Settle: time.Second, Include: []string{"*.pdf"}}, never)
		if f := receive(t, w); !f.Orphan || f.Path != sc || f.Sidecar != "" || f.Sig.Size != 2 {
			t.Errorf("got %+v", f)
		}
		path := write(t, filepath.Join(dir, "scan.pdf"), "1")
		if f := receive(t, w); f.Orphan || f.Path != path || f.Sidecar != sc {
			t.Errorf("got %+v", f)
		}
		write(t, filepath.Join(dir, "left-out.docx.meta.json"), "{}")
		write(t, filepath.Join(dir, "left-out.docx"), "1")
		silence(t, w, 50*time.Second)
	})
}

func TestAmbiguousSidecarIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "scan.meta.json"), "{}")
		path := write(t, filepath.Join(dir, "scan.pdf"), "1")
		other := write(t, filepath.Join(dir, "scan.jpg"), "1")
		w := poll(t, Folder{Path: dir, Settle: time.Second}, never)
		for range 2 {
			f := receive(t, w)
			var ambiguous *sidecar.AmbiguousError
			if !errors.As(f.Err, &ambiguous) || f.Sidecar != "" {
				t.Errorf("got %+v, want an AmbiguousError", f)
			}
		}
		must(t, os.Remove(other))
		if f := receive(t, w); f.Err != nil || f.Path != path || filepath.Base(f.Sidecar) != "scan.meta.json" {
			t.Errorf("got %+v, want it described", f)
		}
	})
}

func TestMissingFolderComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "folder")
		log, said := recorded(t)
		w := New([]Folder{{Path: dir, Settle: time.Second, Mode: ModePoll}}, never, log)
		run(t, w)
		time.Sleep(time.Minute)
		if s := w.Status()[0]; s.State != StateMissing || s.Reason != "there is no such folder" {
			t.Errorf("status %+v, want missing", s)
		}
		w.Rescan("") // must not make the loop spin while there is nothing to scan
		time.Sleep(time.Minute)
		mkdir(t, dir)
		path := write(t, filepath.Join(dir, "scan.pdf"), "1")
		if f := receive(t, w); f.Path != path {
			t.Errorf("got %+v", f)
		}
		if s := w.Status()[0]; s.State != StateOK || s.Watch != ModePoll || !said("back again") {
			t.Errorf("status %+v, want ok and said", s)
		}
		must(t, os.Rename(dir, dir+".away"))
		write(t, dir, "a file where the folder was")
		time.Sleep(5 * time.Second)
		if s := w.Status()[0]; s.State != StateMissing || s.Reason != "it is not a folder" {
			t.Errorf("status %+v, want missing", s)
		}
	})
}

// One folder that hangs in a system call (here: in the predicate) stops neither
// the others nor the end of Run.
func TestHangingFolderStopsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck, fine := t.TempDir(), t.TempDir()
		write(t, filepath.Join(stuck, "a.pdf"), "1")
		path := write(t, filepath.Join(fine, "b.pdf"), "1")
		release := make(chan struct{})
		log, said := recorded(t)
		w := New([]Folder{{Path: stuck, Mode: ModePoll}, {Path: fine, Mode: ModePoll}}, func(f File) bool {
			if f.Folder == stuck {
				<-release
			}
			return false
		}, log)
		run(t, w)
		if f := receive(t, w); f.Path != path {
			t.Errorf("got %+v", f)
		}
		time.Sleep(time.Minute)
		s := w.Status()
		if s[0].State != StateHanging || s[1].State != StateOK {
			t.Errorf("status %+v, want the first to hang", s)
		}
		if !said("does not answer") {
			t.Error("not said in the log")
		}
		close(release)
		time.Sleep(time.Minute)
		if s := w.Status()[0]; s.State != StateOK || !said("answers again") {
			t.Errorf("status %+v, want it to have recovered", s)
		}
	})
}

func TestRescanIsPrompt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		w := poll(t, Folder{Path: dir, Settle: 0}, never)
		for round := range 7 { // one alone may chance upon an ordinary scan
			time.Sleep(time.Duration(6700+100*round) * time.Millisecond)
			path := write(t, filepath.Join(dir, fmt.Sprint(round)), "1")
			for range 5 {
				w.Rescan(dir + "/") // never blocks
			}
			asked := time.Now()
			if f := receive(t, w); f.Path != path || time.Since(asked) > time.Second {
				t.Errorf("%q after %v, want %q at once", f.Path, time.Since(asked), path)
			}
		}
	})
}
