package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// PauseIfLost pauses all libraries where a state folder was made anew although
// receipts in the watched folders tell of deliveries: its disk may not be mounted,
// or it was lost, and every file that lies there would be sent again. A person
// knows which. It is called once a state folder was opened; the receipts prove
// nothing, so that no single file is passed over because of one.
func (e *Engine) PauseIfLost() error {
	if !e.Store.New() {
		return nil
	}
	for i := range e.Folders {
		folder := &e.Folders[i]
		receipt, err := patiently(e, folder.Path, folder.Path, func(func()) (string, error) { return FirstReceipt(folder) })
		if err != nil {
			e.Log.Warn("it could not be looked for receipts of earlier deliveries", "folder", folder.Path, "err", pathless(err))
		}
		if receipt == "" {
			continue
		}
		reason := fmt.Sprintf("the state folder %s is new, but %s tells of a delivery. Was it lost, or is its disk not mounted? "+
			"Then stop the service and bring it back: mount it, or digime-sync state restore FILE. "+
			"If it is meant to be new: digime-sync resume sends what lies in the folders, also what was sent before", e.StateDir, receipt)
		e.Log.Error("the state folder is new, but there are receipts of deliveries; nothing is pushed until a person says so", "folder", folder.Path)
		return e.Pause("", reason)
	}
	return nil
}

// FirstReceipt returns a receipt in the folder beside which its file lies still;
// "" if there is none. It waits for a folder that does not answer.
func FirstReceipt(folder *Folder) (found string, err error) {
	err = filepath.WalkDir(folder.Path, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // what cannot be read, the watcher says
		case d.IsDir() && path != folder.Path && (!folder.Recursive || d.Name() == sentFolder || d.Name() == failedFolder):
			return fs.SkipDir
		}
		if file, is := strings.CutSuffix(path, ReceiptSuffix); is && !d.IsDir() {
			if _, err := os.Lstat(file); err == nil {
				found = path
				return fs.SkipAll
			}
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return found, err
}
