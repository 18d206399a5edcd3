package watcher

import (
	"path/filepath"
	"time"
)

// Again tells that a file that was handed over could not be taken in: it has
// changed or gone since, or the folder was away for a moment. It is looked at
// soon, and handed over again when it has settled. It never blocks.
func (w *Watcher) Again(f File) { w.ask(f.Folder, f.Path, true) }

// Look has one path looked at soon, as if an event had told of it: for whoever
// finds a file other than it was handed over, of which the event may be lost.
// It never blocks.
func (w *Watcher) Look(folder, path string) { w.ask(folder, path, false) }

func (w *Watcher) ask(folder, path string, again bool) {
	for _, t := range w.trees {
		if t.Path != filepath.Clean(folder) {
			continue
		}
		t.mu.Lock()
		if t.asked == nil {
			t.asked = map[string]bool{}
		}
		t.asked[path] = t.asked[path] || again
		t.mu.Unlock()
		t.inbox.call()
	}
}

// takeAsked gives the paths to be looked at, after those of them that were
// handed over in vain have begun to settle anew.
func (t *tree) takeAsked(now time.Time) (paths []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for path, again := range t.asked {
		if again {
			t.settler.again(path, now)
		}
		paths = append(paths, path)
	}
	t.asked = nil
	return paths
}
