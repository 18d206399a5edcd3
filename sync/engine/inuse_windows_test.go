package engine

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/windows"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
	"github.com/digime-sync/digime-sync/watcher"
)

const (
	shareNone = 0
	shareRead = windows.FILE_SHARE_READ // as viewers have it: nobody may write, rename or delete
	shareAll  = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE
)

// openAs opens a file as another program would, and returns how it is closed.
func openAs(t *testing.T, path string, access, share uint32) (h windows.Handle, closeIt func()) {
	t.Helper()
	name, err := windows.UTF16PtrFromString(path)
	must(t, err)
	h, err = windows.CreateFile(name, access, share, nil, windows.OPEN_EXISTING, 0, 0)
	must(t, err)
	open := true
	closeIt = func() {
		if open {
			must(t, windows.CloseHandle(h))
		}
		open = false
	}
	t.Cleanup(closeIt)
	return h, closeIt
}

// lockBytes locks a part of a file that is open to all for reading. Wine takes
// note of locks without keeping readers out.
func lockBytes(t *testing.T, path string, from, n uint32) (unlock func()) {
	t.Helper()
	h, closeIt := openAs(t, path, windows.GENERIC_READ, shareAll)
	must(t, windows.LockFileEx(h, windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, n, 0, &windows.Overlapped{Offset: from}))
	if _, err := os.ReadFile(path); err == nil {
		closeIt()
		t.Skip("locks keep no reader out here")
	}
	return closeIt
}

// stays demands that a file is, for some rounds of the engine, neither refused nor sent.
func (r *rig) stays(path string) {
	r.t.Helper()
	rounds, last := 0, time.Time{}
	r.until("it is tried for a while", func() bool {
		if f := r.state(path); f.State == store.Refused || f.State == store.Delivered || exist(path+NoteSuffix) {
			r.t.Fatalf("%+v", f)
		}
		if round := r.engine.Round(); round.Sub(last) > time.Second {
			rounds, last = rounds+1, round
		}
		return rounds > 4
	})
	if got := r.api.Deliveries(); len(got) != 0 {
		r.t.Fatalf("deliveries: %+v", got)
	}
}

// A file, or its sidecar, that another program keeps for itself, or has locked a
// part of, waits until that is over.
func TestLockedWhileItIsTakenIn(t *testing.T) {
	for name, lock := range map[string]func(t *testing.T, path string) func(){
		"file for one program alone": func(t *testing.T, path string) func() {
			_, closeIt := openAs(t, path, windows.GENERIC_READ, shareNone)
			return closeIt
		},
		"file being written": func(t *testing.T, path string) func() {
			_, closeIt := openAs(t, path, windows.GENERIC_READ|windows.GENERIC_WRITE, shareAll)
			return closeIt
		},
		"part of the file": func(t *testing.T, path string) func() { return lockBytes(t, path, 100, 10) },
		"sidecar for one program alone": func(t *testing.T, path string) func() {
			_, closeIt := openAs(t, path+".meta.json", windows.GENERIC_READ, shareNone)
			return closeIt
		},
		"part of the sidecar": func(t *testing.T, path string) func() { return lockBytes(t, path+".meta.json", 0, 10) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil, "alice")
			path := r.drop("alice", "a.txt", strings.Repeat("0123456789", 100))
			unlock := lock(t, path)
			r.start()
			r.stays(path)
			unlock()
			if f := r.untilState(path, store.Delivered); f.MayBeDouble || len(r.api.Deliveries()) != 1 {
				t.Errorf("%+v, %d deliveries", f, len(r.api.Deliveries()))
			}
		})
	}
}

// So does one that is locked once it is queued, and what it waits for is said.
func TestLockedBeforeThePush(t *testing.T) {
	for name, lock := range map[string]func(t *testing.T, path string) func(){
		"file": func(t *testing.T, path string) func() {
			_, c := openAs(t, path, windows.GENERIC_READ, shareNone)
			return c
		},
		"part of the file": func(t *testing.T, path string) func() { return lockBytes(t, path, 100, 10) },
		"sidecar": func(t *testing.T, path string) func() {
			_, c := openAs(t, path+".meta.json", windows.GENERIC_READ, shareNone)
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil, "alice")
			r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 503})
			path := r.drop("alice", "a.txt", strings.Repeat("0123456789", 100))
			r.once()
			unlock := lock(t, path)
			r.restart()
			r.start()
			r.until("it is said", func() bool { f := r.state(path); return f.State == store.Retrying && f.Reason == openElsewhere })
			if n := len(r.api.Deliveries()); n != 0 {
				t.Errorf("%d deliveries", n)
			}
			unlock()
			if f := r.untilState(path, store.Delivered); f.MayBeDouble || len(r.api.Deliveries()) != 1 {
				t.Errorf("%+v, %d deliveries", f, len(r.api.Deliveries()))
			}
		})
	}
}

// A part that is locked while the file is being sent breaks the push off before
// its end.
func TestLockedDuringThePush(t *testing.T) {
	r := newRig(t, nil, "alice")
	const size = 8 << 20
	path := r.drop("alice", "a.bin", strings.Repeat("x", size))
	lockBytes(t, path, size-1000, 10)() // or there are no locks
	begun, locked := make(chan bool), make(chan bool)
	r.onPush = func(*http.Request) {
		if r.pushes.Load() == 1 {
			close(begun)
			<-locked
		}
	}
	r.start()
	<-begun
	unlock := lockBytes(t, path, size-1000, 10)
	close(locked)
	r.until("it is said", func() bool { f := r.state(path); return f.State == store.Retrying && f.Reason == openElsewhere })
	if n := len(r.api.Deliveries()); n != 0 {
		t.Errorf("%d deliveries", n)
	}
	unlock()
	if f := r.untilState(path, store.Delivered); f.MayBeDouble || len(r.api.Deliveries()) != 1 {
		t.Errorf("%+v, %d deliveries", f, len(r.api.Deliveries()))
	}
}

// What is open in a viewer, or being written to, after its delivery is moved or
// deleted once it is closed; until then status says what that waits for.
func TestLockedAfterTheDelivery(t *testing.T) {
	for _, after := range []string{"move", "delete"} {
		for name, share := range map[string]uint32{"a viewer": shareRead, "a program that lets all do anything but delete": shareAll &^ windows.FILE_SHARE_DELETE} {
			for _, suffix := range []string{"", ".meta.json"} {
				t.Run(fmt.Sprint(after, " in ", name, suffix), func(t *testing.T) { lockedAfter(t, after, suffix, share) })
			}
		}
	}
}

func lockedAfter(t *testing.T, after, suffix string, share uint32) {
	r := newRig(t, func(f *Folder) { f.After = after }, "alice")
	path := r.drop("alice", "a.txt", "content")
	_, closeIt := openAs(t, path+suffix, windows.GENERIC_READ, share)
	r.start()
	r.untilState(path, store.Delivered)
	r.until("it is said", func() bool {
		return strings.Contains(r.state(path).Reason, "another program has the file, or what belongs to it, open")
	})
	if !exist(path + suffix) {
		t.Error("what was open has gone")
	}
	closeIt()
	r.until("it is done", func() bool { must(t, r.engine.sweepOnce(time.Now())); return !exist(path) && !exist(path+".meta.json") })
	left, err := os.ReadDir(filepath.Dir(path))
	must(t, err)
	if after == "move" {
		if content, err := os.ReadFile(filepath.Join(filepath.Dir(path), sentFolder, "a.txt")); err != nil || string(content) != "content" {
			t.Errorf("in Sent: %q, %v", content, err)
		}
	}
	if len(left) != 1 || len(r.api.Deliveries()) != 1 { // Sent, or the receipt
		t.Errorf("left are %v; %d deliveries", left, len(r.api.Deliveries()))
	}
}

// A note that is open in another program is removed once it is closed.
func TestLockedNote(t *testing.T) {
	r := newRig(t, nil, "alice")
	path := r.drop("alice", "a.txt", "content")
	r.describe(path, `{"mimeType": "text/plain", "accounts": [{"accountId": "nobody's"}]}`)
	r.start()
	r.until("the note is there", func() bool { return exist(path + NoteSuffix) })
	r.untilState(path, store.Refused)
	_, closeIt := openAs(t, path+NoteSuffix, windows.GENERIC_READ, shareRead)
	r.describe(path, `{"mimeType": "text/plain"}`)
	r.untilState(path, store.Delivered)
	r.until("it is said", func() bool { return strings.Contains(r.state(path).Reason, "another program has the file") })
	closeIt()
	r.until("the note has gone", func() bool { must(t, r.engine.sweepOnce(time.Now())); return !exist(path + NoteSuffix) })
	r.until("it is finished", func() bool { return r.state(path).Reason == "" })
}

// Whatever says that another program has a file is waited out.
func TestInUseInTheSystemsWords(t *testing.T) {
	for _, err := range []error{windows.ERROR_SHARING_VIOLATION, windows.ERROR_LOCK_VIOLATION, windows.ERROR_USER_MAPPED_FILE} {
		if got := unreadable(&fs.PathError{Op: "read", Path: "a", Err: err}); got != watcher.ErrInUse {
			t.Errorf("%v: %v", err, got)
		}
	}
	if inUse(windows.ERROR_ACCESS_DENIED) {
		t.Error("access that is denied is none of that")
	}
}
