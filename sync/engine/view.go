package engine

import (
	"maps"
	"path/filepath"
	"strings"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/watcher"
)

// view is what makes of a record how its file stands now.
type view struct {
	engine     *Engine
	now        time.Time
	holds      map[string]store.Hold
	outage     *Outage
	silent     silences
	unfinished map[string]string
	away       map[string]bool // folders
}

func (e *Engine) viewOf(s *Status, holds map[string]store.Hold) *view {
	v := &view{engine: e, now: time.Now(), holds: holds, outage: s.Outage, away: map[string]bool{}}
	e.mu.Lock()
	v.unfinished, v.silent = maps.Clone(e.unfinished), e.silences
	e.mu.Unlock()
	for _, folder := range s.Folders {
		v.away[folder.Path] = isAway(folder.State) && folder.State != watcher.StateUnseen
	}
	return v
}

func (v *view) of(f store.File) store.File {
	if isUnread(f) {
		f.NextAttempt = nextLook(f.Since, v.now)
		return f
	}
	f = waitsForHost(v.silent.waits(f, v.now), v.outage, v.now)
	if h, held := v.holds[f.Library]; held {
		f = withHold(f, h)
	}
	f = v.engine.withPause(f)
	if v.away[f.Folder] && (f.State == store.Queued || f.State == store.Retrying) {
		f.Reason, f.Hint = folderAway, "bring the folder back, or what it lies on; the file is pushed then"
	}
	if why := v.unfinished[f.Path]; why != "" {
		f.Reason, f.Hint, _ = strings.Cut(why, "\n")
	}
	return f
}

// receiptElsewhere says of a single file that its receipt could not be written
// beside it, and where it lies.
func (e *Engine) receiptElsewhere(f *FileStatus) {
	if f.State != store.Delivered && f.State != store.Duplicate {
		return
	}
	path := filepath.Join(e.notesFolder(f.Folder), flat(f.Folder, beside(f.Path, ReceiptSuffix)))
	if !exists(path) {
		return
	}
	words := "its receipt could not be written beside it, and lies in " + path
	if f.Reason != "" {
		words = f.Reason + "; " + words
	}
	f.Reason = words
}

// settlings are the files that still settle, as long as no record tells of them.
type settlings struct {
	paths []string
	open  map[string]bool
}

func (e *Engine) settling(prefix string) *settlings {
	s := &settlings{open: map[string]bool{}}
	for _, path := range e.watcher.Settling() {
		if below(path, prefix) {
			s.paths, s.open[path] = append(s.paths, path), true
		}
	}
	return s
}

// recorded leaves out a file that is in the store. Over a delivered one a new
// content may settle.
func (s *settlings) recorded(path string, state store.State) {
	if state != store.Delivered {
		delete(s.open, path)
	}
}

func (s *settlings) rest(e *Engine) []store.File {
	var list []store.File
	for _, path := range s.paths {
		if s.open[path] {
			f := store.File{Path: path, Folder: e.folderPath(path), State: store.Settling}
			f.Reason, f.Hint = e.whySettling(path)
			list = append(list, f)
		}
	}
	return list
}
