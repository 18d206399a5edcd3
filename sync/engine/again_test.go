package engine

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/watcher"
)

// A folder is away at the very moment in which a file that was handed over is
// read, and back before anybody has noticed: the file comes again in seconds.
func TestFolderAwayWhileAFileIsRead(t *testing.T) {
	r := newRig(t, nil, "alice")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.engine.watcher.Run(ctx) }()
	defer func() { cancel(); must(t, <-done) }()
	folder, path := filepath.Join(r.dir, "alice"), r.drop("alice", "scan.txt", "scan")
	came := func() (f watcher.File) {
		t.Helper()
		for f.Sidecar == "" {
			select {
			case f = <-r.engine.watcher.Files(folder):
			case <-time.After(watcherPatience):
				t.Fatalf("nothing came; %+v", r.engine.watcher.Status())
			}
		}
		return f
	}
	f := came()
	must(t, os.Rename(folder, folder+"-away"))
	must(t, r.engine.takeOnce(ctx, f))
	must(t, os.Rename(folder+"-away", folder))
	if _, known, err := r.store.Get(path); known || err != nil {
		t.Fatalf("it was taken in although it was away; %v", err)
	}
	must(t, r.engine.takeOnce(ctx, came()))
	if f, _, err := r.store.Get(path); f.State != store.Queued || err != nil {
		t.Errorf("%+v, %v", f, err)
	}
}

// A library holds an equal file, but the own one cannot be read for comparison as
// its folder hangs: that says nothing, and the file is neither sent again nor is
// one of the questions used up.
func TestFolderHangsWhileALibraryIsAsked(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.readable("alice")
	r.pushed("alice", "scan", described("acc-alice", "scan.txt"))
	path := r.drop("alice", "scan.txt", "scan")
	f, err := r.engine.lookAt(path)
	must(t, err)
	must(t, r.engine.takeOnce(t.Context(), f))
	rec, _, err := r.store.Get(path)
	must(t, err)
	rec.Doubts = 1
	folder := &r.engine.Folders[0]
	desc, err := r.engine.look(folder, rec)
	must(t, err)
	settle := func() *push {
		p := &push{engine: r.engine, folder: folder, file: rec, desc: desc}
		if !p.settleDoubt(t.Context()) {
			t.Error("it is sent again")
		}
		return p
	}
	h, left := hangingOf(folder.Path), &call{path: path}
	h.leave(left)
	if p := settle(); p.file.State != store.Retrying || p.file.Asked != 0 {
		t.Errorf("while it hangs: %+v", p.file)
	}
	h.back(left)
	if p := settle(); p.file.State != store.Delivered && p.outcome.fault != nil {
		t.Errorf("then: %+v, %v", p.file, p.outcome.fault)
	}
	if got, _, err := r.store.Get(path); got.State != store.Delivered || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// A sidecar that is changed after the delivery sends nothing, and that is said; a
// person may have it sent as it is now.
func TestSidecarChangedAfterTheDelivery(t *testing.T) {
	r := newRig(t, func(f *Folder) { f.Library = ByAccount }, "alice", "bob")
	r.start()
	path := r.drop("alice", "one.txt", "one")
	r.untilState(path, store.Delivered)
	r.until("receipt", func() bool { return exist(path + ReceiptSuffix) })
	r.describe(path, `{"mimeType": "text/plain", "accounts": [{"accountId": "acc-bob"}]}`)
	r.until("said", func() bool { return strings.Contains(r.state(path).Reason, "changed after the delivery") })
	other := r.drop("alice", "two.txt", "two")
	r.untilState(other, store.Delivered)
	if n := len(r.api.Deliveries()); n != 2 {
		t.Errorf("%d deliveries, want one of each file", n)
	}
	if f := r.state(path); f.State != store.Delivered || f.Library != "alice" || !strings.Contains(f.Hint, "push --again") {
		t.Errorf("%+v", f)
	}
	must(t, os.Remove(path+".meta.json")) // is no news
	must(t, r.engine.RescanAt(""))
	must(t, r.engine.Submit(t.Context(), other, false))
	r.describe(path, `{"mimeType": "text/plain", "accounts": [{"accountId": "acc-bob"}]}`)
	must(t, r.engine.Submit(t.Context(), path, true))
	r.until("it goes to the other as well", func() bool { return len(r.api.Deliveries()) == 3 })
	if f := r.untilState(path, store.Delivered); f.Library != "bob" || f.Reason != "" {
		t.Errorf("%+v", f)
	}
}

// A note that went to the state folder comes back once the folder can be written to.
func TestNoteComesBack(t *testing.T) {
	r := newRig(t, nil, "alice")
	path := filepath.Join(r.dir, "alice", "wrong.txt")
	must(t, os.WriteFile(path, []byte("wrong"), 0o644))
	r.describe(path, `{"mimeType": "text/plain", "accounts": [{"accountId": "nobody's"}]}`)
	r.once()
	away := filepath.Join(r.engine.notesFolder(filepath.Dir(path)), "wrong")
	must(t, os.MkdirAll(filepath.Dir(away), 0o700))
	must(t, os.Rename(path+NoteSuffix, away))
	must(t, r.store.SetNote(path, away))
	r.engine.divert(filepath.Dir(path), true)
	must(t, r.engine.sweepOnce(time.Now()))
	if exist(path+NoteSuffix) || !exist(away) {
		t.Error("it came back while the folder could not be written to")
	}
	r.engine.divert(filepath.Dir(path), false)
	must(t, r.engine.sweepOnce(time.Now()))
	if f, _, err := r.store.Get(path); !exist(path+NoteSuffix) || exist(away) || f.Note != path+NoteSuffix || err != nil {
		t.Errorf("it did not come back: %+v, %v", f, err)
	}
}

// What cannot be read of the own file does not make the library's another one.
func TestComparerKeepsErrors(t *testing.T) {
	for _, broken := range []error{errHangs, io.ErrClosedPipe} {
		c := &comparer{own: io.MultiReader(strings.NewReader("sc"), iotest.ErrReader(broken)), sum: sha256.New()}
		if _, err := c.Write([]byte("scan")); !errors.Is(err, broken) {
			t.Errorf("%v, want %v", err, broken)
		}
	}
	c := &comparer{own: strings.NewReader("sc"), sum: sha256.New()}
	if _, err := c.Write([]byte("scan")); !errors.Is(err, errOther) {
		t.Errorf("%v of a shorter file, want errOther", err)
	}
}

// A second run of one engine is an error and harms nothing.
func TestRunTwice(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.start()
	r.untilState(r.drop("alice", "one.txt", "one"), store.Delivered)
	r.stop()
	if err := r.engine.Run(t.Context()); !errors.Is(err, errRanBefore) {
		t.Errorf("Run = %v", err)
	}
}

// watcherPatience is less than the minute after which the watcher mentions a
// file again that nobody has taken in.
const watcherPatience = 45 * time.Second
