package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/watcher"
)

// The disk is not mounted when the service starts: the empty folder in its place
// is not taken for it, and nothing counts as taken away.
func TestDiskThatIsNotMountedAtTheStart(t *testing.T) {
	if !asRootOfMounts(t) {
		if os.Geteuid() != 0 {
			t.Skip("only root may mount")
		}
		return // it ran in a namespace of its own
	}
	r := newRig(t, nil, "alice")
	folder, disk := filepath.Join(r.dir, "alice"), filepath.Join(r.dir, "medium")
	must(t, os.Mkdir(disk, 0o755))
	must(t, unix.Mount("tmpfs", disk, "tmpfs", 0, ""))
	mount := func() { must(t, unix.Mount(disk, folder, "", unix.MS_BIND, "")) }
	unmount := func() { must(t, unix.Unmount(folder, unix.MNT_DETACH)) }
	mount()
	t.Cleanup(func() {
		_ = unix.Unmount(folder, unix.MNT_DETACH)
		_ = unix.Unmount(disk, unix.MNT_DETACH)
	})
	waiting := filepath.Join(folder, "waiting.txt")
	must(t, os.WriteFile(waiting, []byte("has no sidecar"), 0o644))
	r.start()
	r.untilState(waiting, store.Waiting)
	r.stop()
	must(t, r.engine.sweepOnce(time.Now())) // as every 15 s
	unmount()

	r.restart()
	if s := r.engine.folderStatus()[0]; s.State != watcher.StateMissing || !strings.Contains(s.Reason, "disk or share that was there is missing") {
		t.Errorf("before it runs: %+v", s)
	}
	r.start()
	beneath := r.drop("alice", "beneath.txt", "in the empty folder")
	r.until("said", func() bool {
		s := r.engine.folderStatus()[0]
		return s.State == watcher.StateMissing && strings.Contains(s.Reason, "disk or share that was there is missing")
	})
	must(t, r.engine.sweepOnce(time.Now()))
	if f := r.state(waiting); f.State != store.Waiting {
		t.Errorf("%+v, want it to be waiting still", f)
	}
	if f := r.state(beneath); f.State != "" {
		t.Errorf("%+v, want nothing known of what lies beneath", f)
	}
	mount()
	r.describe(waiting, `{"mimeType": "text/plain", "accounts": [{"accountId": "acc-alice"}]}`)
	r.untilState(waiting, store.Delivered)
}
