package engine

import (
	"context"
	"os"
	"path/filepath"
	"testing"
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

// watcherPatience is less than the minute after which the watcher mentions a
// file again that nobody has taken in.
const watcherPatience = 45 * time.Second
