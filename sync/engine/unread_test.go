package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/watcher"
)

// seen is a file as the watcher hands it over.
func (r *rig) seen(path string) watcher.File {
	r.t.Helper()
	f := watcher.File{Folder: filepath.Dir(path), Path: path, Sidecar: path + ".meta.json"}
	var err error
	f.Sig, err = watcher.Lstat(path)
	must(r.t, err)
	f.SidecarSig, err = watcher.Lstat(f.Sidecar)
	must(r.t, err)
	return f
}

// systemErrors are some of those by which a system says that a file cannot be read.
var systemErrors = []syscall.Errno{syscall.EIO, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE, syscall.EACCES, syscall.EPERM, syscall.EINTR}

// What the system says of a file refuses it never; what is wrong about what lies
// there does.
func TestWhatTheSystemSaysRefusesNothing(t *testing.T) {
	t.Parallel()
	for _, said := range systemErrors {
		for _, name := range []string{"a.txt", "a.txt.meta.json"} {
			err := fmt.Errorf("open: %w", &fs.PathError{Op: "open", Path: filepath.Join("folder", name), Err: said})
			var v *verdict
			if !errors.As(unreadable(err), &v) || v.state != store.Retrying || v.depends != dependsOnAccess {
				t.Errorf("%v: %+v", err, v)
				continue
			}
			if !strings.Contains(v.hint, "tried again by itself") || strings.Contains(v.reason, "sidecar") != strings.HasSuffix(name, "json") {
				t.Errorf("%v: reason %q, hint %q", err, v.reason, v.hint)
			}
			if errors.Is(said, fs.ErrPermission) && !strings.Contains(v.hint, "right") {
				t.Errorf("%v: hint %q", err, v.hint)
			}
		}
	}
	for _, err := range []error{errors.New(`sidecar "a.txt.meta.json": it is a folder`), &fs.PathError{Op: "read", Path: "a.txt", Err: syscall.EISDIR}} {
		var v *verdict
		if !errors.As(unreadable(err), &v) || v.state != store.Refused {
			t.Errorf("%v: %+v", err, v)
		}
	}
}

// The looks at what cannot be read come soon at first, and at most five minutes
// apart; a start looks at once.
func TestNextLook(t *testing.T) {
	t.Parallel()
	since := time.Now()
	at, last := since, time.Duration(0)
	for range 50 {
		next := nextLook(since, at)
		pause := next.Sub(at)
		if pause < last || pause <= 0 || pause > lastLook {
			t.Fatalf("after %s: %s, after a pause of %s", at.Sub(since), pause, last)
		}
		at, last = next, pause
	}
	if first := nextLook(since, since); first.Sub(since) != firstLook || last != lastLook {
		t.Errorf("first after %s, at last every %s", first.Sub(since), last)
	}
	if next := nextLook(since, time.Unix(0, 0)); next.After(since) {
		t.Errorf("nothing was looked at yet: %s", next)
	}
}

// A file that could not be read for a moment is delivered by itself, also where
// the service was started anew meanwhile, and whoever refused it for that.
func TestPassingReadErrorPasses(t *testing.T) {
	t.Parallel()
	for name, note := range map[string]func(r *rig, f watcher.File){
		"the watcher could not open it": func(r *rig, f watcher.File) {
			f.Err = &fs.PathError{Op: "open", Path: f.Path, Err: syscall.EIO}
			must(r.t, r.engine.takeOnce(context.Background(), f))
			if got := r.state(f.Path); got.State != store.Retrying || !strings.Contains(got.Reason, "cannot be read") || got.NextAttempt == nil {
				r.t.Errorf("%+v", got)
			}
			if exist(f.Path + NoteSuffix) {
				r.t.Error("a note is there at once")
			}
		},
		"a version before refused the sidecar": func(r *rig, f watcher.File) {
			must(r.t, r.store.Put(store.File{Path: f.Path, Folder: f.Folder, State: store.Refused, Sig: store.Sig(f.Sig),
				SidecarSig: store.Sig(f.SidecarSig), Sidecar: "a.txt.meta.json", Since: time.Now().Add(-time.Hour),
				Reason: "the sidecar a.txt.meta.json cannot be read: too many open files"}))
		},
		"a version before refused the file": func(r *rig, f watcher.File) {
			must(r.t, r.store.Put(store.File{Path: f.Path, Folder: f.Folder, State: store.Refused, Sig: store.Sig(f.Sig),
				SidecarSig: store.Sig(f.SidecarSig), Sidecar: "a.txt.meta.json", Since: time.Now().Add(-time.Hour),
				Depends: dependsOnAccess, Reason: "the file cannot be read: permission denied"}))
		},
	} {
		for _, how := range []string{"by the daemon", "by a single pass"} {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, nil, "alice")
				path := r.drop("alice", "a.txt", "a")
				note(r, r.seen(path))
				r.restart()
				if how == "by a single pass" {
					r.once()
				} else {
					r.start()
				}
				r.untilState(path, store.Delivered)
			})
		}
	}
}

// What cannot be read for long gets a note, which goes when it is delivered. A
// file that is taken away meanwhile is forgotten.
func TestNoteOfWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "alice")
	path, other := r.drop("alice", "a.txt", "a"), r.drop("alice", "b.txt", "b")
	for _, path := range []string{path, other} {
		f := r.seen(path)
		must(t, r.store.Put(store.File{Path: path, Folder: f.Folder, State: store.Retrying, Depends: dependsOnAccess, Sig: store.Sig(f.Sig),
			Sidecar: "gone.meta.json", Reason: "the file cannot be read: input/output error", Since: time.Now().Add(-patience)}))
	}
	must(t, r.engine.sweepOnce(time.Now()))
	if !exist(path+NoteSuffix) || r.state(path).State != store.Retrying {
		t.Errorf("no note; %+v", r.state(path))
	}
	must(t, os.Remove(other))
	must(t, os.Remove(other+".meta.json"))
	r.start()
	r.untilState(path, store.Delivered)
	r.until("the note is gone", func() bool { return !exist(path + NoteSuffix) })
	r.until("the other is forgotten, with its note", func() bool { return r.state(other).State == "" && !exist(other+NoteSuffix) })
}

// A queued file that cannot be read when its turn comes keeps its place.
func TestQueuedFileThatCannotBeReadKeepsItsPlace(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "alice")
	path := r.queued("alice", "a.txt")
	for _, said := range systemErrors {
		f, ok, err := r.store.Get(path)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		must(t, r.engine.lookFailed(&r.folders[0], f, &fs.PathError{Op: "open", Path: path, Err: said}))
		if got := r.state(path); got.State != store.Retrying || !strings.Contains(got.Reason, "cannot be read") || got.NextAttempt == nil || got.Attempts != f.Attempts {
			t.Errorf("%v: %+v", said, got)
		}
	}
	if lanes, err := r.store.Lanes(); err != nil || len(lanes) != 1 {
		t.Errorf("queues of %v, %v", lanes, err)
	}
	r.start()
	tried, err := r.engine.Retry(path, "")
	if err != nil || len(tried) != 1 {
		t.Errorf("%+v, %v", tried, err)
	}
	r.untilState(path, store.Delivered)
}
