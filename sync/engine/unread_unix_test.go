//go:build unix

package engine

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/digime-sync/digime-sync/store"
)

// fillFiles leaves this process no file to open until undo is called.
func fillFiles(t *testing.T) (undo func()) {
	t.Helper()
	var limit syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	low := limit
	low.Cur = 256
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low))
	var all []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		all = append(all, f)
	}
	return func() {
		for _, f := range all {
			f.Close()
		}
		must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
	}
}

// A file that came while the process had too many files open is delivered once
// it has room again. (Not parallel: the limit is the process's.)
func TestTooManyOpenFilesRefuseNothing(t *testing.T) {
	r := newRig(t, nil, "alice")
	path := r.drop("alice", "a.txt", "a")
	f := r.seen(path)
	undo := fillFiles(t)
	err := r.engine.takeOnce(context.Background(), f)
	undo()
	must(t, err)
	if got := r.state(path); got.State != store.Retrying || !strings.Contains(got.Reason, "too many open files") {
		t.Errorf("%+v", got)
	}
	r.start()
	r.untilState(path, store.Delivered)
}
