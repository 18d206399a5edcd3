package watcher

import (
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// maxHints bounds the names an inbox holds; beyond it a scan is cheaper.
const maxHints = 100_000

// hints are the names that events spoke of since the last take.
type hints struct {
	names   map[string]map[string]fsnotify.Op // directory → base name → all that was said of it
	root    fsnotify.Op                       // what was said of the watched folder itself
	trouble error                             // events were lost, or may have been
}

// inbox gathers what fsnotify says. Whoever reads fsnotify's channels does
// nothing but put names in here: what is slower loses events.
type inbox struct {
	wake chan struct{} // has a value when there is something to take

	mu    sync.Mutex // guards all below
	fsw   *fsnotify.Watcher
	hints hints
	count int
}

func newInbox() *inbox {
	return &inbox{wake: make(chan struct{}, 1)}
}

// reset drops all hints; from now on only those of fsw count.
func (b *inbox) reset(fsw *fsnotify.Watcher) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fsw, b.hints, b.count = fsw, hints{}, 0
}

// gather reads both channels of fsw until it is closed. Both must be read: a
// full Errors blocks Events for good. root is the path the folder is watched by.
func (b *inbox) gather(fsw *fsnotify.Watcher, root string) {
	for {
		select {
		case event, ok := <-fsw.Events:
			if !ok {
				return
			}
			b.put(fsw, func() { b.note(event, root) })
		case err, ok := <-fsw.Errors:
			if !ok {
				return
			}
			b.put(fsw, func() { b.hints.trouble = err })
		}
	}
}

func (b *inbox) put(from *fsnotify.Watcher, change func()) {
	b.mu.Lock()
	if b.fsw == from {
		change()
	}
	b.mu.Unlock()
	b.call()
}

// call has the loop look at what there is soon.
func (b *inbox) call() {
	select {
	case b.wake <- struct{}{}:
	default: // woken already
	}
}

// note must be called with b.mu held.
func (b *inbox) note(event fsnotify.Event, root string) {
	if event.Name == root {
		b.hints.root |= event.Op
		return
	}
	b.hints.add(filepath.Dir(event.Name), filepath.Base(event.Name), event.Op)
	if b.count++; b.count > maxHints {
		b.hints.names, b.hints.trouble, b.count = nil, fsnotify.ErrEventOverflow, 0
	}
}

// add puts a name in; op 0 has it looked at without any event.
func (h *hints) add(dir, name string, op fsnotify.Op) {
	if h.names == nil {
		h.names = map[string]map[string]fsnotify.Op{}
	}
	if h.names[dir] == nil {
		h.names[dir] = map[string]fsnotify.Op{}
	}
	h.names[dir][name] |= op
}

// take empties the inbox.
func (b *inbox) take() hints {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.hints
	b.hints, b.count = hints{}, 0
	return taken
}
