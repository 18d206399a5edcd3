package engine

import (
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Nothing counts as gone while the disk is not mounted on which it lies.
func TestUnmountedDiskIsNotPruned(t *testing.T) {
	if !mayMount(t) {
		return
	}
	r := newRig(t, nil, "alice")
	folder := filepath.Join(r.dir, "alice")
	must(t, unix.Mount("tmpfs", folder, "tmpfs", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(folder, unix.MNT_DETACH) })
	path := r.drop("alice", "a.txt", "one")
	r.start()
	r.until("it is delivered, and the mount remembered", func() bool {
		return r.state(path).DeliveredAt != nil && exist(r.engine.mountsFile())
	})
	must(t, unix.Unmount(folder, unix.MNT_DETACH))
	must(t, r.store.SetPruned(time.Now())) // with that the receipt is noted: nothing is left to be done
	r.pruneAt(time.Now().AddDate(1, 0, 0)) // the watcher need not have noticed
	if !r.recorded(path) {
		t.Error("the record was dropped while it ran")
	}
	r.restart()
	r.pruneAt(time.Now().AddDate(1, 0, 0))
	if !r.recorded(path) {
		t.Error("the record was dropped after a restart")
	}
}
