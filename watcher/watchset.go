package watcher

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/fsnotify/fsnotify"
)

// Buffer sizes of a Windows watch: beyond 64 KiB it fails on network shares
// (ReadDirectoryChangesW); elsewhere they mean nothing.
const (
	localBuffer  = 256 << 10
	remoteBuffer = 64 << 10
)

// errTooMany is why a large folder is polled on macOS.
var errTooMany = fmt.Errorf("it holds more than %d files and subfolders, too many to watch one by one", eventsLimit)

// watchset is one fsnotify.Watcher and the directories it watches. It calls
// them by the folder's configured path; fsnotify is given the path without
// links, since on some systems it reports under that one anyway.
type watchset struct {
	fsw        *fsnotify.Watcher
	root, real string
	buffer     int
	dirs       map[string]watched
	paths      map[string]string // identity → directory
	entries    int               // of all dirs, counted where eventsLimit holds
}

type watched struct {
	id      string
	entries int
}

func newWatchset(root, real string, remote bool) (*watchset, error) {
	fsw, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	w := &watchset{fsw: fsw, root: root, real: real, buffer: localBuffer, dirs: map[string]watched{}, paths: map[string]string{}}
	if remote {
		w.buffer = remoteBuffer
	}
	return w, nil
}

// name is what dir is called here when fsnotify calls it by its real path.
func (w *watchset) name(real string) string { return w.root + strings.TrimPrefix(real, w.real) }

func (w *watchset) realName(dir string) string { return w.real + strings.TrimPrefix(dir, w.root) }

// add watches a directory, which must be done before it is listed. A watch that
// stands is left alone, unless an event told of the directory: it may be
// another one by now. The watch of a directory that was moved keeps reporting
// under the old path, so that one is taken away first.
func (w *watchset) add(dir string, anew bool) error {
	id, _, err := identity(dir)
	if err != nil {
		return err
	}
	if w.dirs[dir].id == id && !anew {
		return nil
	}
	if old, ok := w.paths[id]; ok && old != dir {
		w.drop(old)
	}
	w.drop(dir)
	entries := 0
	if eventsLimit > 0 {
		if entries, err = countEntries(dir); err != nil {
			return err
		}
		if w.entries+entries > eventsLimit {
			return errTooMany
		}
	}
	if err := w.fsw.AddWith(w.realName(dir), fsnotify.WithBufferSize(w.buffer)); err != nil {
		return err
	}
	w.dirs[dir], w.paths[id] = watched{id, entries}, dir
	w.entries += entries
	return nil
}

// countEntries counts up to just beyond eventsLimit.
func countEntries(dir string) (int, error) {
	f, err := os.Open(dir)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	names, err := f.Readdirnames(eventsLimit + 1)
	if err == io.EOF {
		err = nil
	}
	return len(names), err
}

// has says whether dir is watched.
func (w *watchset) has(dir string) bool {
	_, ok := w.dirs[dir]
	return ok
}

// drop ends the watches of a directory and of all below it.
func (w *watchset) drop(dir string) {
	below := dir + string(filepath.Separator)
	for path, was := range w.dirs {
		if path != dir && !strings.HasPrefix(path, below) {
			continue
		}
		_ = w.fsw.Remove(w.realName(path)) // it may have ended by itself
		w.entries -= was.entries
		delete(w.dirs, path)
		if w.paths[was.id] == path {
			delete(w.paths, was.id)
		}
	}
}

// keep drops the directories for which found says no.
func (w *watchset) keep(found map[string]bool) {
	for path := range w.dirs {
		if !found[path] {
			w.drop(path)
		}
	}
}

// shrunk says whether watches ended that we did not end: their directories were
// removed, renamed or unmounted, the last of which no event tells (fsnotify issue 774).
func (w *watchset) shrunk() bool { return len(w.fsw.WatchList()) < len(w.dirs) }

// exhausted says whether err means that this folder cannot be watched by events
// at all, and says so in words.
func exhausted(err error) (reason string, yes bool) {
	switch {
	case err == nil, absent(err), errors.Is(err, fs.ErrPermission):
		return "", false
	case errors.Is(err, errTooMany):
		return errTooMany.Error(), true
	case errors.Is(err, syscall.ENOSPC):
		return "the system has no more watches to give (on Linux see fs.inotify.max_user_watches)", true
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "the system has no more watchers to give (on Linux see fs.inotify.max_user_instances, else the limit of open files)", true
	}
	return fmt.Sprintf("the system refuses to watch it: %v", cause(err)), true
}
