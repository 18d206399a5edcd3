package engine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/digime-sync/digime-sync/sidecar"
	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/watcher"
)

// unrecorded says of a path of which the store knows nothing what can be said all
// the same: why it is left out, as a file of the status, or where it stands, as
// the status's reason and hint. Of a watched folder, or one above or below that is
// only empty, there is nothing to say.
func (s *Status) unrecorded(e *Engine, path string) {
	for _, f := range s.Folders {
		if below(f.Path, path) {
			return
		}
	}
	folder := e.configured(path)
	if folder == nil {
		s.Reason, s.Hint = "it lies in none of the watched folders", e.watchedFolders()
		return
	}
	for _, place := range []string{sentFolder, failedFolder} {
		if f, ok := e.finishedAt(folder, place, path); ok {
			s.Files = append(s.Files, NewFileStatus(f))
			s.Counts[f.State]++
			return
		}
	}
	look, err := patiently(e, folder.Path, path, func(func()) (lying, error) { return lookAround(folder, path) })
	switch {
	case err == nil && look.leftOut != "":
		s.Files = append(s.Files, FileStatus{Path: path, Folder: folder.Path, State: store.Ignored, Reason: look.leftOut, Hint: look.hint})
		s.Counts[store.Ignored]++
	case err == nil && look.folder:
	case err == nil:
		s.Reason, s.Hint = "it has not been looked at yet", e.untilLookedAt(path)
	default:
		s.Reason, s.Hint = s.whyNot(folder.Path, err), "digime-sync check"
		if s.Reason == "" {
			s.Reason, s.Hint = "there is no such file", "check the path; what was delivered from there: digime-sync audit "+path
		}
	}
}

// whyNot says why what lies in a folder cannot be seen, "" when it is just not
// there.
func (s *Status) whyNot(folder string, err error) string {
	for _, f := range s.Folders {
		if f.Path == folder && f.State != watcher.StateOK && f.State != watcher.StateUnseen {
			return "its folder is " + f.State + ": " + f.Reason
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return err.Error()
}

func (e *Engine) untilLookedAt(path string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running {
		return "wait some seconds and ask again, or send it now: digime-sync push " + path
	}
	return "no daemon runs that would: digime-sync service start; or send it now: digime-sync push " + path
}

// watchedFolders is the hint for a path outside: a few folders are named.
func (e *Engine) watchedFolders() string {
	const few = 3
	var names []string
	for _, f := range e.Folders {
		names = append(names, f.Path)
	}
	switch {
	case len(names) == 0:
		return "no folder is watched: add one under folders: in the configuration"
	case len(names) > few:
		return "check the path; digime-sync status lists the folders that are watched"
	}
	return "check the path; what is watched: " + strings.Join(names, ", ")
}

// finishedAt finds what is known of a file under the name that it has or had in
// the folder itself, if it was moved to Sent or Failed: asked for is the one place
// or the other.
func (e *Engine) finishedAt(folder *Folder, place, path string) (f store.File, ok bool) {
	if rel, err := filepath.Rel(filepath.Join(folder.Path, place), path); err == nil && filepath.IsLocal(rel) {
		f, ok, err = e.Store.Get(filepath.Join(folder.Path, rel))
		return f, ok && err == nil && f.MovedTo == path
	}
	if place != failedFolder {
		return f, false // what was delivered is known under its own name
	}
	f, ok, err := e.Store.Get(failedPath(folder, path))
	return f, ok && err == nil
}

// lying is what lies at a path.
type lying struct {
	folder        bool
	leftOut, hint string // why it is not picked up, and what to do about it
}

func lookAround(folder *Folder, path string) (lying, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return lying{}, err
	}
	look := lying{folder: info.IsDir(), hint: leftOutHint(folder, path)}
	if !look.folder {
		look.leftOut = watcher.Excluded(folder.Folder, path)
		return look, nil
	}
	why, left := strings.CutPrefix(watcher.Excluded(folder.Folder, filepath.Join(path, "any")), "its folder is left out: ")
	if left {
		look.leftOut = why
	}
	return look, nil
}

// leftOutHint says what to do about a file that is not picked up.
func leftOutHint(folder *Folder, path string) string {
	if file := aboutFile(path); file != "" {
		return "nothing; how that file stands: digime-sync status " + file
	}
	if rel, err := filepath.Rel(folder.Path, path); err == nil {
		switch top, _, _ := strings.Cut(filepath.ToSlash(rel), "/"); {
		case strings.EqualFold(top, sentFolder):
			return "nothing; digime-sync audit tells of each delivery"
		case strings.EqualFold(top, failedFolder):
			return "correct what the note beside it says, then move it and its sidecar back to " + folder.Path
		}
	}
	return "if it is meant to be pushed, rename it, move it, or change the folder's configuration (recursive:, include:, exclude:)"
}

// aboutFile is the file that a sidecar, a note or a receipt is about, "" for what
// is none of these or of which that cannot be told.
func aboutFile(path string) string {
	dir, name := filepath.Split(path)
	for _, suffix := range []string{ReceiptSuffix, NoteSuffix} {
		if cut := len(name) - len(suffix); cut > 0 && strings.EqualFold(name[cut:], suffix) {
			return dir + name[:cut]
		}
	}
	if !sidecar.Is(name) {
		return ""
	}
	entries, _ := os.ReadDir(dir) // a part of them may be enough
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if files := sidecar.NewIndex(names).Files(name); len(files) > 0 {
		return dir + files[0]
	}
	return ""
}
