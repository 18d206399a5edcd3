package engine

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
	"github.com/digime-sync/digime-sync/watcher"
)

var (
	hostileSeconds = flag.Int("hostile.seconds", 8, "how long TestHostileFolders disturbs, in seconds")
	hostileSeed    = flag.Uint64("hostile.seed", 601, "the seed of TestHostileFolders; 0: one is chosen and printed")
)

const (
	hostileSettle  = 300 * time.Millisecond
	hostileWriters = 6
)

// hostile is people and programs at work in folders that are pulled away
// under them, and what they know of their files.
type hostile struct {
	*rig
	seed    uint64
	disk    string       // a disk of its own, mounted where mounted says
	mounted string       // "" where mounts are not to be had
	ground  sync.RWMutex // held for writing while folders are pulled away
	writers []*writer

	mu    sync.Mutex
	pairs map[pair]time.Duration // how long a content and a person's sidecar stood together at most
	ops   map[string]int
}

// pair is a content for a person.
type pair struct{ sum, user string }

// TestHostileFolders: people and programs create, append, truncate, rename,
// replace, swap and delete at random, folders go away and come back, the
// service is restarted and the destination fails now and then. Afterwards every
// settled file with a good sidecar is in its own library, and no library holds
// what never lay there, whole and settled, for its owner.
func TestHostileFolders(t *testing.T) {
	long(t)
	mounts := asRootOfMounts(t)
	if os.Geteuid() == 0 && !mounts {
		return // it ran in a namespace of its own
	}
	seed := *hostileSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("go test ./sync/engine -run TestHostileFolders -hostile.seconds=%d -hostile.seed=%d", *hostileSeconds, seed)
	h := newHostile(t, seed, mounts)
	h.start()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, w := range h.writers {
		wg.Go(func() { w.run(stop) })
	}
	wg.Go(func() { h.upheave(stop) })
	<-time.After(time.Duration(*hostileSeconds) * time.Second)
	close(stop)
	wg.Wait()
	h.api.ClearFaults()
	expected := h.expected()
	_, err := h.engine.Retry("", "") // for what would be due within minutes by itself
	must(t, err)
	defer func() {
		for p, path := range h.lacking(expected) {
			f, _, err := h.store.Get(path)
			now, _ := watcher.Lstat(path)
			side, _ := os.ReadFile(path + ".meta.json")
			t.Errorf("%s did not arrive for %s: %+v, %v; there lies now %+v, %s", p.sum, p.user, f, err, now, side)
		}
	}()
	h.until("every settled file with a good sidecar has arrived", func() bool { return len(h.lacking(expected)) == 0 })
	h.expected() // all that lies there has stood as it is until now
	h.judge()
	h.mu.Lock()
	defer h.mu.Unlock()
	t.Logf("%d files expected, %d deliveries, operations: %v", len(expected), len(h.api.Deliveries()), h.ops)
}

// asRootOfMounts runs the calling test again in a namespace where it may mount,
// and says whether this is that second run.
func asRootOfMounts(t *testing.T) bool {
	t.Helper()
	const mark = "ENGINE_TEST_NAMESPACE"
	if os.Getenv(mark) == t.Name() {
		must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		return true
	}
	if os.Geteuid() != 0 {
		return false
	}
	args := []string{"-test.run=^" + t.Name() + "$", "-test.v", fmt.Sprintf("-test.timeout=%ds", *hostileSeconds+400)}
	flag.Visit(func(f *flag.Flag) {
		if strings.HasPrefix(f.Name, "hostile.") {
			args = append(args, "-"+f.Name+"="+f.Value.String())
		}
	})
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	t.Logf("in a namespace: %s", out)
	if err != nil {
		t.Error(err)
	}
	return false
}

// newHostile makes folders of all kinds: one person's own ones, where what is
// delivered stays, is moved or is deleted, and one where the sidecar alone says whose it is.
func newHostile(t *testing.T, seed uint64, mounts bool) *hostile {
	h := &hostile{seed: seed, pairs: map[pair]time.Duration{}, ops: map[string]int{}}
	people := []string{"alice", "bob", "carol", "desk", "disk"}
	h.rig = newRig(t, func(f *Folder) {
		f.Settle, f.Recursive, f.Hold = hostileSettle, true, 0
		switch filepath.Base(f.Path) {
		case "bob":
			f.After, f.OnFailure = "move", "move"
		case "carol":
			f.After = "delete"
		case "desk", "disk":
			f.Library = ByAccount
		}
	}, people...)
	if mounts {
		h.disk, h.mounted = filepath.Join(h.dir, "medium"), filepath.Join(h.dir, "disk")
		must(t, os.Mkdir(h.disk, 0o755))
		must(t, unix.Mount("tmpfs", h.disk, "tmpfs", 0, ""))
		must(t, unix.Mount(h.disk, h.mounted, "", unix.MS_BIND, ""))
		t.Cleanup(func() {
			_ = unix.Unmount(h.mounted, unix.MNT_DETACH)
			_ = unix.Unmount(h.disk, unix.MNT_DETACH)
		})
	}
	for i := range hostileWriters {
		folder := people[i%len(people)]
		w := &writer{h: h, rnd: rand.New(rand.NewPCG(seed, uint64(i))), folder: filepath.Join(h.dir, folder), files: map[string]*held{}}
		w.people = []string{folder}
		if folder == "desk" || folder == "disk" {
			w.people = []string{"alice", "bob", "carol"}
		}
		w.name = func(n int) string { return fmt.Sprintf("w%d-%d.txt", i, n) }
		h.writers = append(h.writers, w)
	}
	return h
}

// upheave pulls the ground away under everybody, time and again.
func (h *hostile) upheave(stop chan struct{}) {
	rnd := rand.New(rand.NewPCG(h.seed, 1000))
	moves := []struct {
		name string
		do   func(*rand.Rand)
	}{
		{"folder renamed and back", h.renameAway}, {"folder deleted", h.deleteFolder}, {"service restarted", func(*rand.Rand) { h.restart(); h.start() }},
		{"destination fails", h.failPushes}, {"disk unmounted and back", h.unmount}, {"rescan", func(*rand.Rand) { h.engine.Rescan("") }},
	}
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(200+rnd.IntN(1500)) * time.Millisecond):
		}
		m := moves[rnd.IntN(len(moves))]
		h.ground.Lock()
		m.do(rnd)
		h.ground.Unlock()
		h.count(m.name)
	}
}

func (h *hostile) count(op string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops[op]++
}

func (h *hostile) renameAway(rnd *rand.Rand) {
	folder := h.writers[rnd.IntN(4)].folder
	must(h.t, os.Rename(folder, folder+"-away"))
	<-time.After(time.Duration(rnd.IntN(4000)) * time.Millisecond)
	must(h.t, os.Rename(folder+"-away", folder))
}

// deleteFolder deletes a folder with all that is in it, and makes it again.
func (h *hostile) deleteFolder(rnd *rand.Rand) {
	folder := h.writers[rnd.IntN(4)].folder
	for _, w := range h.writers {
		if w.folder == folder {
			w.loseAll()
		}
	}
	for os.RemoveAll(folder) != nil { // the service may put a note there just now
	}
	<-time.After(time.Duration(rnd.IntN(2000)) * time.Millisecond)
	must(h.t, os.Mkdir(folder, 0o755))
}

func (h *hostile) failPushes(rnd *rand.Rand) {
	h.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 503, Count: 1 + rnd.IntN(5)})
}

func (h *hostile) unmount(rnd *rand.Rand) {
	if h.mounted == "" {
		return
	}
	must(h.t, unix.Unmount(h.mounted, unix.MNT_DETACH))
	if rnd.IntN(2) == 0 { // the service starts while the disk is away
		h.restart()
		h.start()
	}
	<-time.After(time.Duration(rnd.IntN(4000)) * time.Millisecond)
	must(h.t, unix.Mount(h.disk, h.mounted, "", unix.MS_BIND, ""))
}

// expected is what lies in the folders, whole and described, at the end, and where.
func (h *hostile) expected() map[pair]string {
	list := map[pair]string{}
	for _, w := range h.writers {
		for _, f := range w.files {
			f.stand(time.Now())
			p, good := f.pair()
			if !good || !exist(f.path+".meta.json") {
				continue
			}
			now, err := os.ReadFile(f.path)
			if err != nil {
				continue // what the service took, it has delivered
			}
			if sumOf(now) != p.sum {
				h.t.Errorf("%s: another content than was written", f.path)
			}
			list[p] = f.path
		}
	}
	return list
}

func (h *hostile) delivered() map[pair]int {
	got := map[pair]int{}
	for _, d := range h.api.Deliveries() {
		got[pair{d.SHA256, d.User}]++
	}
	return got
}

// lacking is what has not arrived of it. A content that has for one person is
// not sent to another when its sidecar is changed after that.
func (h *hostile) lacking(expected map[pair]string) map[pair]string {
	got := map[string]bool{}
	for p := range h.delivered() {
		got[p.sum] = true
	}
	lacking := map[pair]string{}
	for p, path := range expected {
		if !got[p.sum] {
			lacking[p] = path
		}
	}
	return lacking
}

// judge compares what arrived with what may have: contents that lay there
// whole, beside a sidecar for that person, for as long as settling takes.
func (h *hostile) judge() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for p, n := range h.delivered() {
		stood, ever := h.pairs[p]
		switch {
		case !ever:
			h.t.Errorf("%s arrived for %s: that content never lay there for that person", p.sum, p.user)
		case stood < hostileSettle:
			h.t.Errorf("%s arrived for %s, though it was so for %v only", p.sum, p.user, stood)
		case n > 1:
			h.t.Errorf("%s arrived %d times for %s", p.sum, n, p.user)
		}
	}
}

// isGone says whether an error means that the file is not there any more.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}
