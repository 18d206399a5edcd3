package engine

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
	"github.com/digime-sync/digime-sync/watcher"
)

// share is a folder behind bindfs, which can be made to hang in every call: a
// network share whose server is gone.
type share struct {
	t      *testing.T
	path   string // where it is mounted
	server *exec.Cmd
}

// need skips a test without this command; not in CI, which must have it.
func need(t *testing.T, command string) {
	t.Helper()
	if _, err := exec.LookPath(command); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("CI must have %s", command)
	}
	t.Skipf("there is no %s here", command)
}

// mountShare mounts one at path, or skips where that cannot be.
func mountShare(t *testing.T, path string) *share {
	t.Helper()
	need(t, "bindfs")
	if _, err := os.Stat("/dev/fuse"); err != nil || os.Geteuid() != 0 {
		t.Skip("FUSE cannot be had here")
	}
	source := filepath.Join(t.TempDir(), "server")
	must(t, os.Mkdir(source, 0o755))
	s := &share{t: t, path: path, server: exec.Command("bindfs", "-f", "-o", "attr_timeout=0,entry_timeout=0", source, path)}
	must(t, s.server.Start())
	t.Cleanup(func() {
		_ = s.server.Process.Signal(syscall.SIGCONT)
		_ = unix.Unmount(path, unix.MNT_DETACH)
		_ = s.server.Process.Kill()
		_ = s.server.Wait()
	})
	deadline := time.After(time.Minute)
	for !isMount(path) {
		select {
		case <-deadline:
			t.Fatal("bindfs does not mount")
		case <-time.After(10 * time.Millisecond):
		}
	}
	return s
}

func isMount(path string) bool {
	var st, up unix.Stat_t
	return unix.Stat(path, &st) == nil && unix.Stat(filepath.Dir(path), &up) == nil && st.Dev != up.Dev
}

func (s *share) hang()   { must(s.t, s.server.Process.Signal(syscall.SIGSTOP)) }
func (s *share) answer() { must(s.t, s.server.Process.Signal(syscall.SIGCONT)) }

// A share hangs in every call while its files are read, queued and pushed. The
// other folder, status, and the end of the service know nothing of it; nothing
// piles up; and when it answers again all goes on.
func TestHangingShareHoldsUpNobody(t *testing.T) {
	long(t)
	r := newRig(t, nil, "alice", "bob")
	share := mountShare(t, filepath.Join(r.dir, "alice"))
	r.engine.hangAfter = 300 * time.Millisecond
	r.start()
	first := r.drop("alice", "first.txt", "before")
	r.untilState(first, store.Delivered)
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 503, Count: -1})
	var late []string
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"} {
		late = append(late, r.drop("alice", name+".txt", strings.Repeat(name, 200_000)))
	}
	for _, path := range late {
		r.until("it is queued", func() bool { return slices.Contains([]store.State{store.Queued, store.Retrying}, r.state(path).State) })
	}
	late = append(late, r.drop("alice", "unseen.txt", "dropped when it began to hang"))
	share.hang()
	r.api.ClearFaults()
	_, err := r.engine.Retry("", "")
	must(t, err)
	r.untilState(r.drop("bob", "other.txt", "meanwhile"), store.Delivered)
	before := runtime.NumGoroutine()
	deadline := time.After(2 * time.Minute)
	for r.engine.folderStatus()[0].State != watcher.StateHanging {
		select {
		case <-deadline:
			t.Fatalf("never said: %+v", r.engine.folderStatus())
		case <-time.After(50 * time.Millisecond):
		}
	}
	if s := r.engine.folderStatus()[0]; !strings.Contains(s.Reason, "has not answered since") {
		t.Errorf("status %+v", s)
	}
	began := time.Now()
	if _, err := r.engine.Status(""); err != nil || time.Since(began) > 20*time.Second {
		t.Errorf("status took %v, %v", time.Since(began), err)
	}
	if err := r.engine.Submit(t.Context(), late[0], false); err == nil {
		t.Error("a file there was submitted")
	}
	if more := runtime.NumGoroutine() - before; more > 2*mostHanging {
		t.Errorf("%d goroutines more than before", more)
	}
	if took := r.stop(); took > stopLimit {
		t.Errorf("stopping took %v", took)
	}
	r.restart()
	r.engine.hangAfter = 300 * time.Millisecond
	r.start()
	path := r.drop("bob", "third.txt", "after a restart")
	r.untilState(path, store.Delivered)
	share.answer()
	for _, path := range late {
		r.untilState(path, store.Delivered)
	}
	r.until("nothing hangs any more", func() bool { return r.engine.folderStatus()[0].State == watcher.StateOK })
}

// A single pass says which folder does not answer, and pushes the others' files.
func TestSinglePassLeavesAHangingShareOut(t *testing.T) {
	long(t)
	r := newRig(t, nil, "alice", "bob")
	s := mountShare(t, filepath.Join(r.dir, "alice"))
	r.restart()
	other := r.drop("bob", "one.txt", "bob's")
	s.hang()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	err := r.engine.Once(ctx)
	var folder *watcher.FolderError
	if !errors.As(err, &folder) || folder.Status.Path != s.path || folder.Status.State != watcher.StateHanging {
		t.Errorf("%v", err)
	}
	if f := r.state(other); f.State != store.Delivered {
		t.Errorf("%+v", f)
	}
}
