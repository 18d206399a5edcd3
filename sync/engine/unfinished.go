package engine

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/digime-sync/digime-sync/store"
)

// sayUnfinished logs an after-action that fails once, and once that it is done;
// status shows it in between.
func (e *Engine) sayUnfinished(f store.File, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, was := e.unfinished[f.Path]
	switch {
	case err != nil:
		why := "delivered, but it could not be finished: "
		if inUse(err) {
			why += "another program has the file, or what belongs to it, open: "
		}
		e.unfinished[f.Path] = why + strings.ReplaceAll(err.Error(), "\n", "; ") + "\n" + finishHint(err)
		if !was {
			e.Log.Warn("delivered, but what comes after could not be done yet", e.file(f.Path), "after", f.After, "err", pathless(err))
		}
	case was:
		delete(e.unfinished, f.Path)
		e.Log.Info("what comes after a delivery is done now", e.file(f.Path), "after", f.After)
	}
}

// finishHint says what to do where a delivered file cannot be finished.
func finishHint(err error) string {
	switch {
	case inUse(err):
		return closeIt
	case errors.Is(err, errFileInTheWay):
		return "rename that file, or take it away; it is tried again by itself"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "make room on the disk it lies on; it is tried again by itself"
	case keepsOut(err):
		return "let the service write to the folder; it is tried again by itself"
	}
	return "it is tried again by itself; if it stays so, put right what it says"
}

// errFileInTheWay: no folder can be made where a file lies.
var errFileInTheWay = errors.New("a file lies where that folder has to be")

// firstFile is what of a path is no folder, though folders are to lie below it.
func firstFile(path string) string {
	for dir := filepath.Dir(path); dir != filepath.Dir(dir); path, dir = dir, filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			break
		}
	}
	return path
}
