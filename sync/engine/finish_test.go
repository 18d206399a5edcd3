package engine

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
)

// Where a file is named as the folder has to be that delivered files are moved
// to, that is said, and ends by itself when it is out of the way.
func TestFileWhereSentHasToBe(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(f *Folder) { f.After, f.Recursive = "move", true }, "alice")
	path, deep := r.drop("alice", "a.txt", "a"), r.drop("alice", "sub/b.txt", "b")
	sent := filepath.Join(r.dir, "alice", sentFolder)
	must(t, os.WriteFile(sent, []byte("mine"), 0o644))
	r.once()
	for _, path := range []string{path, deep} {
		f := r.state(path)
		if f.State != store.Delivered || !strings.Contains(f.Reason, "a file lies where that folder has to be: "+sent) || !strings.HasPrefix(f.Hint, "rename that file") {
			t.Errorf("%+v", f)
		}
	}
	must(t, os.Rename(sent, sent+".old"))
	must(t, r.engine.sweepOnce(time.Now()))
	for _, path := range []string{path, deep} {
		if f := r.state(path); !exist(f.MovedTo) || f.Reason != "" || f.Hint != "" {
			t.Errorf("%+v", f)
		}
	}
}

// What to do about a delivered file that cannot be finished depends on why.
func TestFinishHint(t *testing.T) {
	t.Parallel()
	for said, want := range map[syscall.Errno]string{syscall.EACCES: "let the service write", syscall.EROFS: "let the service write", syscall.ENOSPC: "make room", syscall.ELOOP: "tried again"} {
		if got := finishHint(&os.PathError{Op: "mkdir", Path: "Sent", Err: said}); !strings.Contains(got, want) {
			t.Errorf("%v: %q", said, got)
		}
	}
}

// A receipt that could not be written beside its file is found by asking for the file.
func TestReceiptElsewhereIsSaid(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(f *Folder) { f.Recursive = true }, "alice")
	path := r.drop("alice", "sub/a.txt", "a")
	r.once()
	if f := r.state(path); f.State != store.Delivered || f.Reason != "" {
		t.Fatalf("%+v", f)
	}
	notes := r.engine.notesFolder(r.folders[0].Path)
	must(t, os.MkdirAll(notes, 0o700))
	elsewhere := filepath.Join(notes, "sub__a.txt"+ReceiptSuffix)
	must(t, os.Rename(path+ReceiptSuffix, elsewhere)) // as when the folder was full
	if f := r.state(path); !strings.Contains(f.Reason, elsewhere) {
		t.Errorf("%+v", f)
	}
}
