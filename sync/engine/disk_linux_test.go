package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/digime-sync/digime-sync/store"
)

// needsDisks skips a test that mounts, where that cannot be done.
func needsDisks(t *testing.T, tools ...string) {
	t.Helper()
	why := ""
	if os.Geteuid() != 0 {
		why = "mounting needs root"
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			why = err.Error()
		}
	}
	switch {
	case why == "":
	case os.Getenv("CI") == "true":
		t.Fatal(why)
	default:
		t.Skip(why)
	}
}

func mountTmpfs(t *testing.T, dir, size string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
}

// onDisk is a rig whose state folder lies on a disk of its own, empty but for
// the libraries' consents.
func onDisk(t *testing.T, mount func(dir string), libraries ...string) (*rig, *keptLog) {
	r := newRig(t, nil, libraries...)
	r.close()
	mount(filepath.Join(r.dir, "state"))
	log := new(keptLog)
	r.log = log
	r.open()
	for _, name := range libraries {
		r.consent(name, 0) // to be refreshed: on the full disk, too
	}
	return r, log
}

// filler takes all room of a disk.
func filler(t *testing.T, dir string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "filler")
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		for err == nil {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("fill the disk: %v", err)
		}
		err = nil
	}
	return path
}

func (r *rig) trouble() string {
	s, err := r.engine.Status("nowhere")
	must(r.t, err)
	return s.Trouble
}

// arrivedOnce demands each of these files once.
func (r *rig) arrivedOnce(paths []string) {
	r.t.Helper()
	counts := map[string]int{}
	for _, d := range r.api.Deliveries() {
		counts[d.SHA256]++
	}
	for _, path := range paths {
		if f := r.state(path); f.State != store.Delivered || counts[f.SHA256] != 1 || f.MayBeDouble {
			r.t.Errorf("%s is %s, arrived %d times, may be double: %v", filepath.Base(path), f.State, counts[f.SHA256], f.MayBeDouble)
		}
	}
}

// A burst of files meets a full disk under the state folder: it is said once,
// nothing leaves that could not be recorded, and all go when there is room. In
// the middle of it the service is started anew.
func TestBurstOnAFullStateDisk(t *testing.T) {
	needsDisks(t)
	r, log := onDisk(t, func(dir string) { mountTmpfs(t, dir, "3m") }, "alice", "bob")
	fill := filler(t, filepath.Join(r.dir, "state"))
	r.start()
	var paths []string
	for i := range 300 {
		library := []string{"alice", "bob"}[i%2]
		paths = append(paths, r.drop(library, fmt.Sprintf("%03d-%s.txt", i, strings.Repeat("n", 150)), fmt.Sprint("content ", i)))
	}
	r.until("the full disk is said", func() bool { return strings.Contains(r.trouble(), "cannot be written to") })
	r.until("it is logged", func() bool { return log.count("cannot be written to; nothing is lost") > 0 })
	if r.stop() > stopLimit {
		t.Error("on the full disk it does not stop in time")
	}
	if err := r.store.Close(); err != nil && !passingDisk(err) {
		t.Fatal(err)
	}
	must(t, os.Remove(fill)) // a start needs some room
	r.open()
	fill = filler(t, filepath.Join(r.dir, "state"))
	r.start()
	must(t, os.Remove(fill))
	for _, path := range paths {
		r.untilState(path, store.Delivered)
		r.until("receipt", func() bool { return exist(beside(path, ReceiptSuffix)) })
	}
	r.until("no more trouble", func() bool { return r.trouble() == "" })
	r.arrivedOnce(paths)
	c, err := r.store.Check(r.vault)
	must(t, err)
	if len(c.Faults) > 0 {
		t.Errorf("faults: %+v", c.Faults)
	}
}

// A watched folder that may not be written to, or is full, gets its notes and
// receipts in the state folder, whole; moving waits until it can be done.
func TestFullAndReadOnlyWatchedFolder(t *testing.T) {
	long(t)
	needsDisks(t)
	r := newRig(t, func(f *Folder) {
		if filepath.Base(f.Path) == "mover" {
			f.After = "move"
		}
	}, "alice", "mover")
	for _, library := range []string{"alice", "mover"} {
		mountTmpfs(t, filepath.Join(r.dir, library), "1m")
	}
	kept, moved := r.drop("alice", "kept.txt", "kept"), r.drop("mover", "moved.txt", "moved")
	remount := func(library, options string, flags uintptr) {
		t.Helper()
		must(t, syscall.Mount("tmpfs", filepath.Join(r.dir, library), "tmpfs", syscall.MS_REMOUNT|flags, options))
	}
	remount("alice", "", syscall.MS_RDONLY)
	remount("mover", "", syscall.MS_RDONLY)
	r.start()
	for _, path := range []string{kept, moved} {
		r.untilState(path, store.Delivered)
	}
	receipt := filepath.Join(r.engine.notesFolder(filepath.Dir(kept)), flat(filepath.Dir(kept), beside(kept, ReceiptSuffix)))
	r.until("the receipt is in the state folder", func() bool { return exist(receipt) })
	r.until("that it could not be moved is said", func() bool { return strings.Contains(r.state(moved).Reason, "could not be finished") })
	remount("alice", "size=1m", 0)
	remount("mover", "size=1m", 0)
	sent := filepath.Join(r.dir, "mover", sentFolder, "moved.txt")
	r.until("it is moved after all", func() bool { return exist(sent) && exist(sent+ReceiptSuffix) && !exist(moved) })

	fill := filler(t, filepath.Join(r.dir, "mover"))
	must(t, os.Truncate(fill, 900<<10)) // room for a file and its sidecar, so that they can come at all
	again := r.drop("mover", "again.txt", "again")
	filler2 := filler(t, filepath.Join(r.dir, "alice"))
	must(t, os.Truncate(filler2, 900<<10))
	wrong := r.drop("alice", "wrong.txt", "wrong")
	r.describe(wrong, `{"mimeType": "text/plain", "accounts": [{"accountId": "nobody's"}]}`)
	r.until("note", func() bool { return exist(wrong + NoteSuffix) })
	r.until("moved", func() bool { return exist(filepath.Join(r.dir, "mover", sentFolder, "again.txt")) })
	r.untilState(again, store.Delivered)
	r.arrivedOnce([]string{kept, moved, again})
}

// The disk of the state folder dies under the service, and another with what
// was flushed to it takes its place: the service says so, opens everything anew
// by itself, and goes on.
func TestStateDiskDies(t *testing.T) {
	long(t)
	needsDisks(t, "mkfs.ext4", "mount", "losetup")
	images := t.TempDir()
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s %v: %v: %s", name, args, err, out)
			}
			t.Skipf("%s %v: %v: %s", name, args, err, out)
		}
	}
	image := filepath.Join(images, "disk")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 32<<20))
	run("mkfs.ext4", "-q", "-F", image)
	mount := func(image, dir string) {
		t.Helper()
		run("mount", "-o", "loop", image, dir)
		t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }) // it may have been taken away
	}
	r, log := onDisk(t, func(dir string) { mount(image, dir) }, "alice")
	state := filepath.Join(r.dir, "state")
	r.start()
	first := r.drop("alice", "first.txt", "first")
	r.untilState(first, store.Delivered)

	shutdown(t, state)
	var paths []string
	for i := range 5 {
		paths = append(paths, r.drop("alice", fmt.Sprintf("%d.txt", i), fmt.Sprint("content ", i)))
	}
	r.until("it is said", func() bool { return strings.Contains(r.trouble(), "cannot be written to") })
	r.until("it is logged", func() bool { return log.count("cannot be written to; nothing is lost") > 0 })
	must(t, syscall.Unmount(state, syscall.MNT_DETACH))
	data, err := os.ReadFile(image)
	must(t, err)
	must(t, os.WriteFile(image+"2", data, 0o600))
	mount(image+"2", state)
	for _, path := range paths {
		r.untilState(path, store.Delivered)
	}
	r.until("the end is logged", func() bool { return log.count("can be written to again") > 0 })
	r.arrivedOnce(append(paths, first))
	must(t, r.engine.guardOnce(time.Now()))
	c, err := r.store.Check(r.vault)
	must(t, err)
	if len(c.Faults) > 0 {
		t.Errorf("faults: %+v", c.Faults)
	}
	r.close()
	r.cancel = nil
	must(t, syscall.Unmount(state, syscall.MNT_DETACH))
	r.open() // for the rig's own end
}

// shutdown cuts a mounted ext4 off from its disk: what was not flushed is gone,
// and everything fails from now on (EXT4_IOC_SHUTDOWN, no log flush).
func shutdown(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	must(t, err)
	defer f.Close()
	const ext4IocShutdown, noLogFlush = 0x8004587d, 2
	if err := unix.IoctlSetPointerInt(int(f.Fd()), ext4IocShutdown, noLogFlush); err != nil {
		t.Skipf("shut the file system down: %v", err)
	}
}

// Temporary files that a killed process left in watched folders are removed at
// the next start, in folders below and in Sent and Failed too; one that came since
// is of a process that is at work.
func TestTidyAtStart(t *testing.T) {
	r := newRig(t, func(f *Folder) { f.Recursive = filepath.Base(f.Path) == "deep" }, "deep", "flat")
	temp := func(dir string, age time.Duration) string {
		t.Helper()
		dir = filepath.Join(r.dir, dir)
		must(t, os.MkdirAll(dir, 0o755))
		path := filepath.Join(dir, fmt.Sprintf(".digime-%d.tmp", age.Abs()))
		must(t, os.WriteFile(path, []byte("half"), 0o600))
		must(t, os.Chtimes(path, time.Now().Add(-age), time.Now().Add(-age)))
		return path
	}
	var old []string
	for _, dir := range []string{"deep", "deep/a/b", "deep/Sent", "flat", "flat/Sent", "flat/Failed"} {
		old = append(old, temp(dir, 2*time.Hour))
	}
	young, notOurs := temp("deep/a", -time.Minute), temp("flat/below", 2*time.Hour)
	r.start()
	for _, path := range old {
		r.until(path+" is removed", func() bool { return !exist(path) })
	}
	if !exist(young) || !exist(notOurs) {
		t.Error("a young one, or one in a folder that is not watched, was removed")
	}
}

// A single pass on a full disk says so and ends: nobody may look at what cron
// has started. The next one, with room, delivers everything once.
func TestSinglePassOnAFullStateDisk(t *testing.T) {
	needsDisks(t)
	r, _ := onDisk(t, func(dir string) { mountTmpfs(t, dir, "3m") }, "alice")
	state := filepath.Join(r.dir, "state")
	var paths []string
	drop := func(n int) {
		for i := range n {
			paths = append(paths, r.drop("alice", fmt.Sprintf("%03d-%s.txt", len(paths), strings.Repeat("n", 150)), fmt.Sprint("content ", len(paths), i)))
		}
	}
	pass := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // which cuts the pass off without a word
		defer cancel()
		return r.engine.Once(ctx)
	}
	drop(1)
	must(t, pass())
	fill := filler(t, state)
	drop(300)
	if err := pass(); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "the state folder cannot be written to") {
		t.Errorf("files that cannot be queued: %v", err)
	}
	if err := pass(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("files that are queued in part: %v", err)
	}
	must(t, os.Remove(fill))
	must(t, pass())
	r.arrivedOnce(paths)
}
