package watcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// hold opens a file for writing where the system can tell others so.
func hold(t *testing.T, path string) *os.File {
	t.Helper()
	writer, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	reader, err := os.Open(path)
	must(t, err)
	defer func() { _ = reader.Close() }()
	if _, err := unix.FcntlInt(reader.Fd(), unix.F_SETLEASE, unix.F_RDLCK); err != unix.EAGAIN {
		_ = writer.Close()
		t.Skipf("leases are not to be had here: %v", err)
	}
	return writer
}

func TestOpenWhileSomebodyWrites(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "a"), "1")
	writer := hold(t, path)
	if _, err := Open(path); !errors.Is(err, ErrInUse) {
		t.Errorf("Open while a writer has it: %v, want ErrInUse", err)
	}
	must(t, writer.Close())
	f, err := Open(path)
	if err != nil {
		t.Fatalf("Open after the writer closed: %v", err)
	}
	defer func() { _ = f.Close() }()
	// The lease was given back: a writer need not wait.
	writer, err = os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatalf("open for writing while it is being read: %v", err)
	}
	must(t, writer.Close())
}

func TestFileOpenForWritingIsNotHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := write(t, filepath.Join(dir, "scan.pdf"), "1")
		sc := write(t, path+".meta.json", "{}")
		for _, held := range []string{path, sc} {
			writer := hold(t, held)
			w := poll(t, Folder{Path: dir, Settle: 5 * time.Second}, never)
			silence(t, w, 5*time.Minute)
			if !slices.Contains(w.Settling(), path) {
				t.Errorf("%q is open for writing, and the file does not settle", held)
			}
			must(t, writer.Close())
			receive(t, w)
		}
	})
}

// goAsNobody has what run in a goroutine without root's right to read everything.
func goAsNobody(t *testing.T, what func()) {
	t.Helper()
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		var err error
		if os.Geteuid() == 0 {
			err = unix.Setfsuid(65534)
		}
		ready <- err
		if err == nil {
			what()
		}
	}()
	if err := <-ready; err != nil {
		t.Skipf("give up root's rights: %v", err)
	}
}

// openFolder makes a folder that nobody may enter too, though its parents are closed to him.
func openFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "watcher-test")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o777))
	return dir
}

func TestUnreadableFileIsSaidAndTriedAgain(t *testing.T) {
	dir := openFolder(t)
	path := write(t, filepath.Join(dir, "scan.pdf"), "1")
	must(t, os.Chmod(path, 0))
	synctest.Test(t, func(t *testing.T) {
		files := make(chan File)
		var stored atomic.Bool
		known := func(File) bool { return stored.Load() }
		tree := newTree(Folder{Path: dir, Settle: time.Second, Mode: ModePoll}, known, files, logOf(t))
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		goAsNobody(t, func() { tree.run(ctx) })
		begun := time.Now()
		first := <-files
		if took := time.Since(begun); took < 2*time.Second {
			t.Errorf("said after %v, at the first refusal, which may be a virus scanner's", took)
		}
		if !errors.Is(first.Err, fs.ErrPermission) || first.Path != path {
			t.Errorf("got %+v, want a permission error", first)
		}
		if again := <-files; !errors.Is(again.Err, fs.ErrPermission) {
			t.Errorf("got %+v, want it said again while it is not known", again)
		}
		time.Sleep(time.Second)
		stored.Store(true)
		select {
		case f := <-files:
			t.Errorf("said again though known: %+v", f)
		case <-time.After(10 * time.Minute):
		}
		// As when its folder's permissions change: nothing is to be seen of the file itself.
		if os.Geteuid() == 0 {
			synctest.Wait() // the tree must not see the file between the next two steps
			must(t, os.Chmod(path, 0o644))
			tree.mu.Lock()
			it := tree.settler.items[path]
			it.file.Sig, _ = Lstat(path)
			tree.mu.Unlock()
			if f := <-files; f.Err != nil {
				t.Errorf("got %+v, want it readable", f)
			}
		}
		cancel()
		synctest.Wait()
	})
}

func TestUnreadableFolders(t *testing.T) {
	dir := openFolder(t)
	closed := mkdir(t, dir, "patient-x")
	write(t, filepath.Join(closed, "a.pdf"), "1")
	must(t, os.Chmod(closed, 0))
	must(t, os.Chmod(dir, 0))
	synctest.Test(t, func(t *testing.T) {
		log, said := recorded(t)
		tree := newTree(Folder{Path: dir, Recursive: true, Mode: ModePoll}, never, nil, log)
		ctx, cancel := context.WithCancel(context.Background())
		goAsNobody(t, func() { tree.run(ctx) })
		time.Sleep(time.Minute)
		if s := tree.snapshot(); s.State != StateUnreadable || !strings.Contains(s.Reason, "permission") {
			t.Errorf("status %+v, want unreadable", s)
		}
		must(t, os.Chmod(dir, 0o755))
		time.Sleep(time.Minute)
		if s := tree.snapshot(); s.State != StateOK || !strings.Contains(s.Reason, "patient-x") {
			t.Errorf("status %+v, want ok but for a subfolder", s)
		}
		if !said("subfolders cannot be read") || said("patient-x") {
			t.Error("the log must tell of the subfolder, and not its name")
		}
		must(t, os.Chmod(closed, 0o755))
		cancel()
		synctest.Wait()
	})
}

// inNamespace runs the calling test again, alone, as root of new namespaces,
// and says whether this is that second run.
func inNamespace(t *testing.T, flags uintptr) bool {
	t.Helper()
	const mark = "WATCHER_TEST_NAMESPACE"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if flags&syscall.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		t.Skipf("no namespace to be had: %v", err)
	case err != nil:
		t.Errorf("in a namespace: %v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("in a namespace:\n%s", out)
	}
	return false
}

func TestMounts(t *testing.T) {
	t.Parallel()
	if !inNamespace(t, syscall.CLONE_NEWNS) {
		return
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Skipf("mounts cannot be made here: %v", err)
	}
	dir := t.TempDir()
	mount := func() { must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "")) }
	unmount := func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) }
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	w := start(t, Folder{Path: dir, Settle: 20 * time.Millisecond}, never)
	until(t, "first scan", scanned(w))

	mount() // over the watched folder, of which no event tells
	path := write(t, filepath.Join(dir, "first.pdf"), "1")
	if f := receive(t, w); f.Path != path {
		t.Errorf("mounted over: got %+v", f)
	}
	unmount()
	until(t, "missing", func() bool { return w.Status()[0].State == StateMissing })
	if got := w.Status()[0].Reason; got != errUnmounted.Error() {
		t.Errorf("reason %q", got)
	}
	write(t, filepath.Join(dir, "beneath.pdf"), "1") // in the empty folder that is left
	mount()
	path = write(t, filepath.Join(dir, "second.pdf"), "1")
	if f := receive(t, w); f.Path != path {
		t.Errorf("mounted again: got %+v", f)
	}
	until(t, "ok", func() bool { return w.Status()[0].State == StateOK })
	path = write(t, filepath.Join(dir, "third.pdf"), "1")
	if f := receive(t, w); f.Path != path {
		t.Errorf("events of what is mounted now: got %+v", f)
	}
}

// A mount inside a recursive folder takes its watches with it, silently.
func TestUnmountedSubfolderIsWatchedAgain(t *testing.T) {
	t.Parallel()
	if !inNamespace(t, syscall.CLONE_NEWNS) {
		return
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Skipf("mounts cannot be made here: %v", err)
	}
	dir := t.TempDir()
	sub := mkdir(t, dir, "sub")
	must(t, unix.Mount("tmpfs", sub, "tmpfs", 0, ""))
	w := start(t, Folder{Path: dir, Recursive: true}, never)
	until(t, "first scan", scanned(w))
	must(t, unix.Unmount(sub, 0))
	collect(t, w, map[string]bool{write(t, filepath.Join(sub, "beneath.pdf"), "1"): true})
}

// limit sets a limit of this user namespace alone; fs.inotify.* would be that of the whole machine.
func limit(t *testing.T, name string, n int) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/user/"+name, []byte(fmt.Sprint(n)), 0o644); err != nil {
		t.Skipf("limits cannot be set here: %v", err)
	}
}

func TestNoWatcherToBeHad(t *testing.T) {
	t.Parallel()
	if !inNamespace(t, syscall.CLONE_NEWUSER) {
		return
	}
	limit(t, "max_inotify_instances", 0)
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "a.pdf"), "1")
	w := start(t, Folder{Path: dir, Mode: ModeAuto}, never)
	if f := receive(t, w); f.Path != path {
		t.Errorf("got %+v", f)
	}
	if s := w.Status()[0]; s.Watch != ModePoll || !strings.Contains(s.Reason, "no more watchers") {
		t.Errorf("status %+v, want it polled and why", s)
	}
	if watch, reason, err := Probe(dir); watch != ModePoll || reason == "" || err != nil {
		t.Errorf("Probe: %q, %q, %v", watch, reason, err)
	}
}

func TestTooFewWatches(t *testing.T) {
	t.Parallel()
	if !inNamespace(t, syscall.CLONE_NEWUSER) {
		return
	}
	limit(t, "max_inotify_watches", 20)
	dir := t.TempDir()
	want := map[string]bool{}
	fill := func(from, to int) {
		for i := from; i < to; i++ {
			want[write(t, filepath.Join(mkdir(t, dir, fmt.Sprint(i)), "a.pdf"), "1")] = true
		}
	}
	fill(0, 10)
	w := start(t, Folder{Path: dir, Recursive: true}, never)
	until(t, "first scan", scanned(w))
	if s := w.Status()[0]; s.Watch != ModeEvents {
		t.Errorf("status %+v, want events", s)
	}
	fill(10, 60)
	collect(t, w, want)
	until(t, "polled", func() bool { return w.Status()[0].Watch == ModePoll })
	if s := w.Status()[0]; !strings.Contains(s.Reason, "no more watches") {
		t.Errorf("status %+v, want it polled and why", s)
	}
}
