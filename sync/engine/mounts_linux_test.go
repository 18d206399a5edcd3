package engine

import (
	"fmt"
	"os"
	"os/exec"
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
	if !mayMount(t) {
		return
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

// mayMount is asRootOfMounts for tests that cannot do without mounts.
func mayMount(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may mount")
	}
	return asRootOfMounts(t)
}

// A disk is pulled and put back at once, with a file more: its watches have ended
// with it, nothing else tells, and yet that file goes long before the next scan.
func TestDiskAwayForAMoment(t *testing.T) {
	long(t)
	if !mayMount(t) {
		return
	}
	r := newRig(t, nil, "alice")
	folder, image := filepath.Join(r.dir, "alice"), filepath.Join(r.dir, "image")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 8<<20))
	mount := func(at string) {
		t.Helper()
		if out, err := exec.Command("mount", "-o", "loop", image, at).CombinedOutput(); err != nil {
			t.Skipf("loop devices are not to be had here: %s", out)
		}
	}
	unmount := func(at string) {
		t.Helper()
		r.until(at+" is unmounted", func() bool { return unix.Unmount(at, 0) == nil }) // a file may be read just now
	}
	need(t, "mkfs.ext4")
	if out, err := exec.Command("mkfs.ext4", "-q", image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v %s", err, out)
	}
	mount(folder)
	t.Cleanup(func() { _ = unix.Unmount(folder, unix.MNT_DETACH) })
	r.start()
	r.untilState(r.drop("alice", "one.txt", "one"), store.Delivered)
	r.until("it is finished", func() bool { return exist(filepath.Join(folder, "one.txt"+ReceiptSuffix)) })
	for i, name := range []string{"two.txt", "three.txt"} {
		began := time.Now()
		unmount(folder)
		if i > 0 { // the file is dropped while it is away
			elsewhere := filepath.Join(r.dir, "elsewhere")
			must(t, os.Mkdir(elsewhere, 0o755))
			mount(elsewhere)
			must(t, os.WriteFile(filepath.Join(elsewhere, name), []byte(name), 0o644))
			r.describe(filepath.Join(elsewhere, name), `{"mimeType": "text/plain", "accounts": [{"accountId": "acc-alice"}]}`)
			unmount(elsewhere)
		}
		mount(folder)
		away := time.Since(began)
		if i == 0 {
			r.drop("alice", name, name)
		}
		r.untilState(filepath.Join(folder, name), store.Delivered)
		t.Logf("%s: away for %v, delivered %v after it was back", name, away.Round(time.Millisecond), (time.Since(began) - away).Round(time.Millisecond))
		if took := time.Since(began); took > 90*time.Second {
			t.Errorf("%s went after %v", name, took)
		}
	}
}

// One folder is seen at two places. Of one library each file goes once, of two
// libraries once to each.
func TestFolderMountedTwice(t *testing.T) {
	if !mayMount(t) {
		return
	}
	for _, libraries := range []int{1, 2} {
		r := newRig(t, func(f *Folder) { f.Library, f.Optional, f.Defaults.MimeType = "alice", true, "text/plain" }, "alice", "bob")
		if libraries == 2 {
			r.folders[1].Library = "bob"
		}
		r.restart()
		must(t, unix.Mount(filepath.Join(r.dir, "alice"), filepath.Join(r.dir, "bob"), "", unix.MS_BIND, ""))
		t.Cleanup(func() { _ = unix.Unmount(filepath.Join(r.dir, "bob"), unix.MNT_DETACH) })
		var names []string
		for i := range 20 {
			name := fmt.Sprintf("%02d.txt", i)
			names = append(names, name)
			must(t, os.WriteFile(filepath.Join(r.dir, "alice", name), []byte(name), 0o644))
		}
		r.start()
		for _, folder := range []string{"alice", "bob"} {
			for _, name := range names {
				r.until("it rests", func() bool {
					s := r.state(filepath.Join(r.dir, folder, name)).State
					return s == store.Delivered || s == store.Duplicate
				})
			}
		}
		r.stop()
		if n := len(r.api.Deliveries()); n != libraries*len(names) {
			t.Errorf("%d libraries: %d deliveries of %d files", libraries, n, len(names))
		}
	}
}
