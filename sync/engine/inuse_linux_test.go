package engine

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/watcher"
)

// What a program has open for writing after its delivery, without having changed
// it, is moved or deleted once that is over; until then it is said.
func TestWriterAfterTheDelivery(t *testing.T) {
	for _, after := range []string{"move", "delete"} {
		for _, suffix := range []string{"", ".meta.json"} {
			t.Run(after+suffix, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, func(f *Folder) { f.After = after }, "alice")
				path := r.drop("alice", "a.txt", "content")
				r.folders[0].After = "keep"
				r.restart()
				r.once()
				f, err := os.OpenFile(path+suffix, os.O_RDWR, 0)
				must(t, err)
				defer f.Close()
				rec, _, err := r.store.Get(path)
				must(t, err)
				rec.After = after
				must(t, r.store.Put(rec))
				r.start()
				r.until("it is said", func() bool {
					return strings.Contains(r.state(path).Reason, "another program has the file, or what belongs to it, open")
				})
				if !exist(path + suffix) {
					t.Error("what is being written to has gone")
				}
				must(t, f.Close())
				r.until("it is done", func() bool { must(t, r.engine.sweepOnce(time.Now())); return !exist(path) && !exist(path+".meta.json") })
				if content, err := os.ReadFile(filepath.Join(filepath.Dir(path), sentFolder, "a.txt")); after == "move" && (err != nil || string(content) != "content") {
					t.Errorf("in Sent: %q, %v", content, err)
				}
			})
		}
	}
}

// A file that a program has open for long is no riddle: status says so.
func TestOpenForLongIsSaid(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{"", ".meta.json"} {
		r := newRig(t, nil, "alice")
		path := r.drop("alice", "a.txt", "content")
		f, err := os.OpenFile(path+suffix, os.O_RDWR, 0)
		must(t, err)
		defer f.Close()
		r.start()
		r.until("it settles", func() bool { return r.state(path).State == store.Settling })
		r.engine.lookAtOpen(time.Now())
		r.until("it is said, ten minutes later", func() bool {
			r.engine.lookAtOpen(time.Now().Add(patience))
			return strings.HasPrefix(r.state(path).Reason, openElsewhere)
		})
		must(t, f.Close())
		r.untilState(path, store.Delivered)
	}
}

// What the system says of a file in use is waited out, whichever words it takes.
func TestInUseInTheSystemsWords(t *testing.T) {
	for _, err := range []error{syscall.EBUSY, syscall.ETXTBSY, syscall.EAGAIN} {
		if got := unreadable(&os.PathError{Op: "read", Path: "a", Err: err}); got != watcher.ErrInUse {
			t.Errorf("%v: %v", err, got)
		}
	}
}
