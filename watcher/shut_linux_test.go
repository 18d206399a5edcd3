package watcher

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

// A file that an event told of, and that cannot be looked at, is said at once,
// and looked at again long before the next scan.
func TestSubfolderThatMayNotBeEntered(t *testing.T) {
	dir := openFolder(t)
	sub := mkdir(t, dir, "patient-x")
	must(t, os.Chmod(sub, 0o755))
	log, said := recorded(t)
	tree := newTree(Folder{Path: dir, Recursive: true, Mode: ModePoll, Settle: time.Second}, never, nil, log)
	tree.plan.jitter = func(d time.Duration) time.Duration { return d }
	now := time.Now()
	tree.plan.root = now
	reason := func() string { return tree.snapshot().Reason }
	steps := make(chan func())
	goAsNobody(t, func() {
		for step := range steps {
			step()
			steps <- nil
		}
	})
	defer close(steps)
	asNobody := func(step func()) {
		steps <- step
		<-steps
	}
	asNobody(func() {
		for tree.work(now) {
		}
		tree.plan.scan = now.Add(eventsEvery) // as when events tell what happens
	})
	if got := reason(); strings.Contains(got, "cannot be read") {
		t.Fatalf("said from the start: %s", got)
	}
	path := write(t, filepath.Join(sub, "a.pdf"), "1")
	must(t, os.Chmod(sub, 0o600))
	asNobody(func() { tree.lookAt(tree.view(sub), "a.pdf", fsnotify.Create, now) })
	if got := reason(); !strings.Contains(got, `"patient-x"`) || !strings.Contains(got, "permission denied") || !tree.snapshot().Shut {
		t.Errorf("status says %q, want that the subfolder cannot be read", got)
	}
	if !said("subfolders cannot be read") || said("patient-x") {
		t.Error("the log must tell of the subfolder, and not its name")
	}
	settles := func(at time.Duration) bool {
		asNobody(func() {
			for tree.work(now.Add(at)) {
			}
		})
		return strings.Contains(strings.Join(tree.unsettled(), " "), path)
	}
	if settles(30*time.Second) || !strings.Contains(reason(), `"patient-x"`) {
		t.Errorf("it is found, or not said any more (%q), though nothing has changed", reason())
	}
	must(t, os.Chmod(sub, 0o755))
	if !settles(60 * time.Second) {
		t.Error("what was given back is not taken up half a minute later")
	}
	if got := reason(); strings.Contains(got, "patient-x") || tree.snapshot().Shut {
		t.Errorf("said though it is over: %s", got)
	}
}

// A folder that may be listed but not entered is not said to be in order.
func TestFolderThatMayNotBeEntered(t *testing.T) {
	dir := openFolder(t)
	write(t, filepath.Join(dir, "a.pdf"), "1")
	must(t, os.Chmod(dir, 0o666))
	synctest.Test(t, func(t *testing.T) {
		tree := newTree(Folder{Path: dir, Mode: ModePoll}, never, nil, logOf(t))
		ctx, cancel := context.WithCancel(context.Background())
		goAsNobody(t, func() { tree.run(ctx) })
		time.Sleep(5 * time.Second)
		if s := tree.snapshot(); s.State != StateUnreadable || !strings.Contains(s.Reason, "permission") {
			t.Errorf("status %+v, want unreadable", s)
		}
		must(t, os.Chmod(dir, 0o755))
		time.Sleep(10 * time.Second)
		if s := tree.snapshot(); s.State != StateOK || s.Settling != 1 {
			t.Errorf("status %+v, want ok and a file that settles", s)
		}
		cancel()
		synctest.Wait()
	})
}

// That this process has too many files open is told of the files it could not
// open; whoever hears of it says so, and tries again.
func TestTooManyOpenFilesAreTold(t *testing.T) {
	for _, err := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO} {
		if passing(&os.PathError{Op: "open", Path: "a.pdf", Err: err}) {
			t.Errorf("%v is not told", err)
		}
	}
}
