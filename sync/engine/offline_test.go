package engine

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
)

var offlineFiles = flag.Int("offline.files", 300, "that arrive while TestFilesArriveOffline is offline")

// A week without the host costs a probe every few minutes, and no push.
func TestWeekOffline(t *testing.T) {
	const week = 7 * 24 * time.Hour
	h, now := newHost(), time.Now()
	end, probes := now.Add(week), 0
	h.failed(h.trust(), away, "", now)
	for ; now.Before(end); now = h.wait() {
		if h.room(0, now) || !h.startProbe(now) {
			t.Fatal("a push, or no probe where one is due")
		}
		h.probed(away, "", now)
		probes++
	}
	if least := int(week / lastBackoff); probes < least || probes > 2*least+20 {
		t.Errorf("%d probes", probes)
	}
}

// Files arrive for many libraries while the host is away: none but the first is
// tried, and memory does not grow with them. When it is back, pushes begin by one,
// and each file goes once.
func TestFilesArriveOffline(t *testing.T) {
	long(t)
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprintf("library-%02d", i))
	}
	r := newRig(t, nil, names...)
	g := r.guard()
	g.set(true)
	r.start()
	before := heap()
	for i := range *offlineFiles {
		r.drop(names[i%len(names)], fmt.Sprintf("%06d.txt", i), fmt.Sprint("file ", i))
	}
	for _, share := range []int{4, 2, 1} { // each has its time
		r.until("they are queued", func() bool {
			n, err := r.store.Counts()
			must(t, err)
			return n[store.Queued]+n[store.Retrying] >= *offlineFiles/share
		})
	}
	info, err := os.Stat(filepath.Join(r.dir, "state", "state.db"))
	must(t, err)
	grown := heap() - before
	t.Logf("%d files: %d pushes, %d probes; heap grown by %d KiB, database %d KiB", *offlineFiles, g.count("import"), g.count("oauth"), grown>>10, info.Size()>>10)
	if n := g.count("import"); n > pushesInAll {
		t.Errorf("%d pushes", n)
	}
	if grown > 32<<20 {
		t.Errorf("the heap has grown by %d MiB", grown>>20)
	}
	g.set(false)
	r.engine.Rescan("")
	for _, share := range []int{4, 2, 1} {
		r.until("they are delivered", func() bool { return len(r.api.Deliveries()) >= *offlineFiles/share })
	}
	r.stop()
	if n := len(r.api.Deliveries()); n != *offlineFiles {
		t.Errorf("%d deliveries of %d files", n, *offlineFiles)
	}
	if g.most > pushesInAll || len(g.ramp) < 2 || g.ramp[0] != 1 || g.ramp[1] > 2 {
		t.Errorf("%d pushes at a time, at first %v", g.most, g.ramp)
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
