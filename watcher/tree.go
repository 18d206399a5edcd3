package watcher

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// hangAfter is how long one step may take before the folder is said to hang.
const hangAfter = 30 * time.Second

// tree watches one folder. Its goroutine alone touches the fields above mu.
type tree struct {
	Folder
	filter *filter
	known  func(File) bool
	out    chan File
	log    *slog.Logger

	real      string // Path without symbolic links; of the folder found last
	id        string // its identity, "" while it is missing
	mount     bool   // it was a mount point when it was found
	watches   *watchset
	gatherers sync.WaitGroup
	shrank    bool // watches had ended by themselves at the last check
	plan      schedule
	sweep     *sweep
	swept     bool             // the folder was scanned to the end at least once
	shut      map[string]error // directories that cannot be read, or not all that is in them
	offered   offer
	lossSaid  bool      // the log says that the folder is not there
	began     time.Time // the step under way

	rescan chan struct{}
	anew   atomic.Bool // with the next rescan, files handed over but unknown are offered again
	inbox  *inbox
	hang   hang

	mu      sync.Mutex // guards all below; never held during I/O
	settler *settler
	status  Status          // with the Reason of its State only
	polled  string          // why it is polled, "" when it is not
	partial string          // which part of it cannot be read
	asked   map[string]bool // paths to be looked at; true: handed over in vain
}

func newTree(f Folder, known func(File) bool, out chan File, log *slog.Logger) *tree {
	f.Path = filepath.Clean(f.Path)
	return &tree{
		Folder:  f,
		filter:  newFilter(f),
		known:   known,
		out:     out,
		log:     log.With("folder", f.Path),
		plan:    schedule{jitter: byAFifth},
		rescan:  make(chan struct{}, 1),
		inbox:   newInbox(),
		settler: newSettler(f.Settle),
		shut:    map[string]error{},
		status:  Status{Path: f.Path, State: StateUnseen, Reason: "not looked at yet", Mounted: f.Mounted},
		mount:   f.Mounted,
	}
}

func byAFifth(d time.Duration) time.Duration {
	return d - d/5 + rand.N(2*d/5+1)
}

func (t *tree) run(ctx context.Context) {
	t.loop(ctx, func(time.Time) bool { return false })
}

// loop does what is due, offers what has settled, and waits for more, until ctx
// ends or finished says so.
func (t *tree) loop(ctx context.Context, finished func(now time.Time) bool) {
	defer t.gatherers.Wait()
	defer t.closeWatches()
	t.plan.root = time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		t.began = time.Now()
		t.hang.enter(t.began)
		more := t.work(t.began)
		file, offering := t.head(time.Now())
		t.hang.leave()
		if !more && !offering && finished(time.Now()) {
			return
		}
		var out chan<- File
		if offering {
			out = t.out
		}
		timer.Reset(t.pause(more, time.Now()))
		select {
		case <-ctx.Done():
		case out <- file:
			t.handedOver(file, time.Now())
		case <-t.inbox.wake:
			t.plan.hinted(time.Now())
		case <-t.rescan:
			t.plan.root, t.plan.scan = time.Now(), time.Now() // both: it may be missing
			if t.anew.Swap(false) {
				t.askAnew()
			}
		case <-timer.C:
		}
	}
}

// work does a slice of what is due; more says that it left something for at once.
func (t *tree) work(now time.Time) (more bool) {
	if past(t.plan.root, now) {
		t.checkRoot(now)
	}
	if t.id == "" {
		t.plan.lost()
		return false
	}
	if past(t.plan.rebuild, now) {
		t.plan.rebuild = time.Time{}
		t.openWatches(now)
		t.plan.scan = now
	}
	if at, ok := t.wake(); ok && past(at, now) {
		t.plan.hinted(now)
	}
	if past(t.plan.look, now) {
		t.look(now)
	}
	if past(t.plan.scan, now) && (t.sweep == nil || !t.sweep.full) {
		t.beginScan()
	}
	if past(t.plan.again, now) {
		t.tryShut()
	}
	if t.sweep != nil {
		t.sweepSome(now)
	}
	return t.sweep != nil
}

// pause is how long to wait when nothing else happens.
func (t *tree) pause(more bool, now time.Time) time.Duration {
	if more || t.offered.undecided {
		return 0
	}
	at := t.plan.next()
	if due, ok := t.wake(); ok && t.id != "" && due.Before(at) && t.plan.look.IsZero() {
		at = due
	}
	if t.offered.path != "" {
		at = earlier(at, t.offered.checked.Add(offerStale))
	}
	return max(at.Sub(now), 0)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func (t *tree) wake() (time.Time, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.settler.wake()
}

// observe hands what a look found to the settler, unless it is known already.
func (t *tree) observe(f File, now time.Time) {
	t.mu.Lock()
	ask := t.settler.news(f, now)
	t.mu.Unlock()
	known := ask && t.isKnown(f)
	if ask && !t.began.IsZero() {
		// A slow share takes long over a look: stillness counts from when the
		// file was seen, and ends before it is seen again.
		now = now.Add(time.Since(t.began))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if known {
		t.settler.forget(f.Path)
		return
	}
	t.settler.observe(f, now)
}

func (t *tree) askAnew() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settler.askAnew()
}

func (t *tree) forget(path string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settler.forget(path)
}

// snapshot is the folder's status; one that hangs says so.
func (t *tree) snapshot() Status {
	t.mu.Lock()
	s := t.status
	s.Settling = t.settler.pending
	if s.State == StateOK {
		s.Reason = strings.Trim(t.polled+"; "+t.partial, "; ")
		s.Shut = t.partial != ""
	}
	t.mu.Unlock()
	if since := t.hang.since(); !since.IsZero() {
		s.State, s.Reason = StateHanging, HangReason(since)
	}
	return s
}

func (t *tree) update(change func(*Status)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.status)
}

// hang tells others that a step takes long: a network folder can hold a system call for hours.
type hang struct {
	began atomic.Pointer[time.Time] // nil between steps
	said  atomic.Bool
}

// enter notes that a step begins, or that one under way has come to its next file.
func (h *hang) enter(now time.Time) { h.began.Store(&now) }
func (h *hang) leave()              { h.began.Store(nil) }

// since is when the folder ceased to answer, zero when it has not. What has
// passed since then is measured, not read off a clock that may be set.
func (h *hang) since() time.Time {
	began := h.began.Load()
	if began == nil || time.Since(*began) < hangAfter {
		return time.Time{}
	}
	return *began
}
