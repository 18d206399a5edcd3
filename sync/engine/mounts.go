package engine

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/watcher"
)

// A folder that is a disk's or share's mount point is an empty folder while that
// is not mounted, as it may be when the service starts. Which folders were mount
// points is therefore remembered, in the state folder, as a JSON list of paths.
// Lost, it is made anew; a folder that leaves the configuration leaves the list.

func (e *Engine) mountsFile() string { return filepath.Join(e.StateDir, "mounts.json") }

// readMounts reads which of the configured folders were mount points.
func (e *Engine) readMounts() map[string]bool {
	var paths []string
	data, err := os.ReadFile(e.mountsFile())
	if err == nil {
		err = json.Unmarshal(data, &paths)
	}
	if err != nil && !os.IsNotExist(err) {
		e.Log.Warn("it is not known which folders were mount points", "err", pathless(err))
	}
	mounts := map[string]bool{}
	for _, path := range paths {
		if e.folders[path] != nil {
			mounts[path] = true
		}
	}
	return mounts
}

// keepMounts writes down which folders are mount points, where that is news.
func (e *Engine) keepMounts() {
	now := map[string]bool{}
	paths := []string{}
	for _, s := range e.watcher.Status() {
		if s.Mounted {
			now[s.Path] = true
			paths = append(paths, s.Path)
		}
	}
	if maps.Equal(now, e.mounts) {
		return
	}
	data, err := json.Marshal(paths)
	if err == nil {
		err = store.WriteFile(e.mountsFile(), data, 0o600)
	}
	if err != nil {
		e.Log.Warn("mount points could not be remembered, it is tried again", "err", pathless(err))
		return
	}
	e.mounts = now
}

// unmounted says that a folder that was a mount point is none now.
func (e *Engine) unmounted(path string) bool {
	return e.folders[path].Mounted && !watcher.Mounted(path)
}
