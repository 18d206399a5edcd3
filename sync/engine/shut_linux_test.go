package engine

import (
	"path/filepath"
	"syscall"
	"testing"
)

// That a folder cannot be written to is said from the start on, and until it can.
func TestReadOnlyFolderAtStart(t *testing.T) {
	needsDisks(t)
	r := newRig(t, nil, "alice", "bob")
	alice := filepath.Join(r.dir, "alice")
	mountTmpfs(t, alice, "1m")
	remount := func(flags uintptr) {
		t.Helper()
		must(t, syscall.Mount("tmpfs", alice, "tmpfs", syscall.MS_REMOUNT|flags, "size=1m"))
	}
	remount(syscall.MS_RDONLY)
	notes := func() string {
		t.Helper()
		s, err := r.engine.Status("")
		must(t, err)
		said := ""
		for _, f := range s.Folders {
			if f.Notes != "" && f.Path != alice {
				t.Errorf("notes of %s lie in %s", f.Path, f.Notes)
			}
			said += f.Notes
		}
		return said
	}
	r.start()
	r.until("it is said", func() bool { return notes() == r.engine.notesFolder(alice) })
	r.engine.lookAtShut()
	if notes() == "" {
		t.Error("it is said no more, though nothing has changed")
	}
	remount(0)
	r.until("it is said no more", func() bool {
		r.engine.lookAtShut() // as every 15 s
		return notes() == ""
	})
}
