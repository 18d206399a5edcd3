package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
)

var (
	scaleFiles = flag.Int("scale.files", 1500, "that lie in the folder before TestFilesThereBeforeTheStart starts the service")
	scaleBurst = flag.Int("scale.burst", 1000, "that are dropped at once in TestManyFilesAtOnce")
)

// dropMany drops so many files with their sidecars as fast as the disk takes them.
func (r *rig) dropMany(library string, n int) {
	var wg sync.WaitGroup
	const writers = 4
	for w := range writers {
		wg.Go(func() {
			for i := w; i < n; i += writers {
				path := filepath.Join(r.dir, library, fmt.Sprintf("%06d.txt", i))
				if err := os.WriteFile(path, []byte(filepath.Base(path)), 0o644); err != nil {
					r.t.Error(err)
				}
				if err := os.WriteFile(path+".meta.json", []byte(`{"mimeType": "text/plain"}`), 0o644); err != nil {
					r.t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// eventually waits for what n files take, looks now and then, and returns how
// long it took and by how much the heap had grown at most.
func (r *rig) eventually(what string, n int, fact func() bool) (took time.Duration, most int64) {
	r.t.Helper()
	began, before := time.Now(), heap()
	deadline := time.After(2*time.Minute + time.Duration(n)*20*time.Millisecond)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for round := 1; !fact(); round++ {
		select {
		case <-tick.C:
		case <-deadline:
			r.t.Fatalf("%s: not in time; %+v", what, r.engine.folderStatus())
		}
		if round%20 == 0 {
			most = max(most, heap()-before)
		}
	}
	return time.Since(began), max(most, heap()-before)
}

func (r *rig) atRest() bool {
	s := r.engine.folderStatus()[0]
	return s.LastScan != nil && s.Settling == 0
}

// Files that lie there before the service starts are taken in, and are nothing
// to do at the next start.
func TestFilesThereBeforeTheStart(t *testing.T) {
	n := *scaleFiles
	r := newRig(t, func(f *Folder) { f.Hold = 24 * time.Hour }, "alice")
	r.dropMany("alice", n)
	queued := func() int {
		counts, err := r.store.Counts()
		must(t, err)
		return counts[store.Queued]
	}
	r.start()
	took, grown := r.eventually("all are queued", n, func() bool { return r.atRest() && queued() == n })
	t.Logf("%d new files: queued after %v, heap grown by %d KiB", n, took.Round(time.Millisecond), grown>>10)
	r.restart()
	before := heap()
	r.start()
	took, grown = r.eventually("all are known", n, r.atRest)
	stays := heap() - before
	t.Logf("%d known files: looked at after %v, heap grown by %d KiB, of which %d stay", n, took.Round(time.Millisecond), grown>>10, stays>>10)
	if most := int64(16<<20 + n*2<<10); grown > most { // the names in one folder, for as long as it is scanned
		t.Errorf("the heap has grown by %d MiB", grown>>20)
	}
	if stays > 16<<20 {
		t.Errorf("%d MiB stay", stays>>20)
	}
	if queued() != n || r.pushes.Load() != 0 {
		t.Errorf("%d are queued, %d pushes", queued(), r.pushes.Load())
	}
}

// overflows counts in the log how often events were lost.
type overflows struct{ atomic.Int32 }

func (o *overflows) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("events were lost")) {
		o.Add(1)
	}
	return len(line), nil
}

// More files at once than the system's queue of events holds (16,384 on Linux)
// all arrive, each once.
func TestManyFilesAtOnce(t *testing.T) {
	long(t)
	n := *scaleBurst
	r := newRig(t, nil, "alice")
	lost := &overflows{}
	r.log = lost
	r.restart()
	r.start()
	r.until("it is watched", r.atRest)
	began := time.Now()
	r.dropMany("alice", n)
	t.Logf("dropped within %v; events were lost %d times by then", time.Since(began).Round(time.Millisecond), lost.Load())
	took, grown := r.eventually("all are pushed", n, func() bool { return r.pushes.Load() >= int32(n) && len(r.api.Deliveries()) >= n })
	t.Logf("%d files at once: delivered after %v, heap grown by %d KiB, the sandbox's part included", n, took.Round(time.Millisecond), grown>>10)
	r.eventually("all are finished", n, func() bool {
		counts, err := r.store.Counts()
		must(t, err)
		return counts[store.Delivered] == n && r.atRest()
	})
	r.stop()
	got := map[string]int{}
	for _, d := range r.api.Deliveries() {
		got[d.SHA256]++
	}
	for i := range n {
		sum := sha256.Sum256(fmt.Appendf(nil, "%06d.txt", i))
		if c := got[hex.EncodeToString(sum[:])]; c != 1 {
			t.Errorf("file %d arrived %d times", i, c)
		}
	}
}
