package engine

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/digime-sync/digime-sync/watcher"
)

// A network share that hangs holds whoever asks it in a system call, for hours,
// and no signal ends that. So whatever touches a watched folder is done by a
// goroutine that can be left behind; few are, and while they hang nobody else
// is sent after them.

const (
	hangAfter   = 30 * time.Second // without any progress
	leaveGrace  = time.Second      // for what is under way when the service stops
	mostHanging = 6                // calls left behind in one folder before it is not touched any more
)

// errHangs says that a folder, or one of its files, does not answer. What was to
// be done is done when it answers again.
var errHangs = errors.New("the folder does not answer")

// hanging is what the process has left behind in one folder.
type hanging struct {
	mu    sync.Mutex
	calls map[*call]bool
}

// hangings outlive an engine: after a reload the calls of the one before still hang.
var hangings sync.Map // folder → *hanging

func hangingOf(folder string) *hanging {
	h, _ := hangings.LoadOrStore(folder, &hanging{calls: map[*call]bool{}})
	return h.(*hanging)
}

// closed says whether nobody may be sent after path.
func (h *hanging) closed(path string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.calls {
		if c.path == path {
			return true
		}
	}
	return len(h.calls) >= mostHanging
}

// since is when the folder ceased to answer, zero if it does.
func (h *hanging) since() (oldest time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.calls) < mostHanging {
		return time.Time{}
	}
	for c := range h.calls {
		if oldest.IsZero() || c.began.Before(oldest) {
			oldest = c.began
		}
	}
	return oldest
}

// leave notes that a call is left behind; false if it came back at this moment.
func (h *hanging) leave(c *call) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !c.back {
		h.calls[c] = true
	}
	return !c.back
}

func (h *hanging) back(c *call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.back = true
	delete(h.calls, c)
}

// answer is what a call came back with.
type answer[T any] struct {
	value T
	err   error
}

// call is one under way.
type call struct {
	path  string
	began time.Time
	beats atomic.Int64 // signs of progress
	back  bool         // guarded by hanging.mu
}

// patiently does something with a file of a folder. It answers errHangs when that
// makes no progress, of which beat tells, or when the engine stops meanwhile;
// do may then still be under way, and must share nothing with its caller.
func patiently[T any](e *Engine, folder, path string, do func(beat func()) (T, error)) (T, error) {
	var none T
	h := hangingOf(folder)
	if h.closed(path) || e.watcher.Hangs(folder) || e.hangsNow(folder) {
		return none, errHangs
	}
	c, done := &call{path: path, began: time.Now()}, make(chan answer[T], 1)
	go func() {
		v, err := do(func() { c.beats.Add(1) })
		done <- answer[T]{v, err}
		h.back(c)
	}()
	timer := time.NewTimer(e.hangAfter)
	defer timer.Stop()
	leave := e.leave
	for seen := int64(0); ; {
		select {
		case a := <-done:
			return a.value, a.err
		case <-leave:
			leave = nil
			timer.Reset(leaveGrace)
			seen = -1
		case <-timer.C:
			if now := c.beats.Load(); now != seen && seen >= 0 {
				seen = now
				timer.Reset(e.hangAfter)
				continue
			}
			if h.leave(c) {
				return none, errHangs
			}
			a := <-done
			return a.value, a.err
		}
	}
}

// noteHanging remembers which folders did not answer the scan of a single pass:
// nothing else in it waits for them.
func (e *Engine) noteHanging(scan error) {
	var all []error
	if joined, ok := scan.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hung = map[string]bool{}
	for _, err := range all {
		var folder *watcher.FolderError
		if errors.As(err, &folder) && folder.Status.State == watcher.StateHanging {
			e.hung[folder.Status.Path] = true
		}
	}
}

func (e *Engine) hangsNow(folder string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.hung[folder]
}

// try is patiently for what has no result but its error.
func try(e *Engine, folder, path string, do func() error) error {
	_, err := patiently(e, folder, path, func(func()) (struct{}, error) { return struct{}{}, do() })
	return err
}

// patientFile is a file of a folder that may cease to answer while it is read.
type patientFile struct {
	engine       *Engine
	folder, path string
	file         *os.File
	own          []byte      // what is read into: a Read that is left behind must not write to its caller's
	left         atomic.Bool // a Read was left behind; a transport may close while it still reads
}

// openPatiently opens a file to be sent, or compared with what was.
func (e *Engine) openPatiently(folder, path string) (io.ReadSeekCloser, error) {
	f, err := patiently(e, folder, path, func(func()) (*os.File, error) { return watcher.Open(path) })
	if err != nil {
		return nil, err
	}
	return &patientFile{engine: e, folder: folder, path: path, file: f}, nil
}

// Read answers errHangs when the file does not answer.
func (p *patientFile) Read(into []byte) (int, error) {
	if p.left.Load() {
		return 0, errHangs
	}
	if len(p.own) < len(into) {
		p.own = make([]byte, len(into))
	}
	own := p.own[:len(into)]
	n, err := patiently(p.engine, p.folder, p.path, func(func()) (int, error) { return p.file.Read(own) })
	p.left.Store(errors.Is(err, errHangs))
	return copy(into, own[:n]), err
}

// Seek sets where Read goes on; of a plain file that asks nobody.
func (p *patientFile) Seek(offset int64, whence int) (int64, error) {
	if p.left.Load() {
		return 0, errHangs
	}
	return p.file.Seek(offset, whence)
}

// Close closes the file, unless it is still being read.
func (p *patientFile) Close() error {
	if p.left.Load() {
		return nil // the process has few of these, and they end with it
	}
	return p.file.Close()
}

// folderHangs tells a person who asked for something in such a folder.
func folderHangs(path string) error {
	return &UsageError{Reason: "the folder of " + path + " does not answer", Hint: "look whether its network share or disk works"}
}

// leaveWith has what hangs left behind once ctx ends.
func (e *Engine) leaveWith(ctx context.Context) (undo func() bool) {
	return context.AfterFunc(ctx, func() { close(e.leave) })
}
