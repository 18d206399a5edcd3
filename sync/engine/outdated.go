package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/watcher"
)

// A file that is refused, or waits, comes back by itself when it or its sidecar
// changes. What else it may depend on is looked after by sweep: a configuration
// that has been corrected since, and a file that can be read by now (see unread.go).
// Nothing has a file sent again that the service has refused.
const dependsOnService = "service"

// stampsOf tells for each folder one state of the configuration from another, as
// far as files can be refused because of it.
func stampsOf(folders []Folder, libraries map[string]Library) map[string]string {
	names := []string{}
	for name, l := range libraries {
		names = append(names, fmt.Sprintf("%q %q", name, l.Accounts))
	}
	slices.Sort(names)
	stamps := map[string]string{}
	for i := range folders {
		f := folders[i]
		text := fmt.Sprintf("%q %v %q %v %q %v %+v %v %q", f.Library, f.Contract != nil, f.Push, f.Provider, f.AccountReference, f.Optional, f.Defaults, f.AllowEmpty, names)
		sum := sha256.Sum256([]byte(text))
		stamps[f.Path] = hex.EncodeToString(sum[:8])
	}
	return stamps
}

// outdated says whether a file that is refused, or waits, may not be so any more.
// One that a folder's library was found for before is not examined for another
// one: whose it is was said by the folder when it was dropped.
func (e *Engine) outdated(f store.File, now time.Time) bool {
	folder := e.folders[f.Folder]
	switch {
	case folder == nil, f.Sig == store.Sig{}:
		return false
	case isUnread(f), refusedUnread(f):
		return !nextLook(f.Since, time.Unix(0, e.swept.Load())).After(now) && canRead(f)
	case f.Depends == "":
		return false
	case f.State == store.Waiting:
		return folder.Optional && f.Depends != e.stamps[f.Folder]
	case f.State != store.Refused, f.Depends == dependsOnService:
		return false
	case folder.Library != BySubfolder && folder.Library != ByAccount && f.Library != "" && f.Library != folder.Library:
		return false
	}
	return f.Depends != e.stamps[f.Folder]
}

// examineOutdated does so with a file that may not rest any more, if its folder answers.
func (e *Engine) examineOutdated(f store.File, now time.Time) error {
	err := try(e, f.Folder, f.Path, func() error {
		if !e.outdated(f, now) {
			return nil
		}
		return e.examineAnew(f)
	})
	if errors.Is(err, errHangs) {
		return nil
	}
	return err
}

// examineAnew has the watcher bring a file again.
func (e *Engine) examineAnew(f store.File) error {
	if err := e.Store.Unsettle(f.Path); err != nil {
		return fmt.Errorf("examine file anew: %w", err)
	}
	e.watcher.Again(watcher.File{Folder: f.Folder, Path: f.Path})
	return nil
}

// holdQueued holds a file by what the configuration says, in its place in the
// queue: with the next start, or a changed configuration, it is looked at anew.
func (e *Engine) holdQueued(f store.File, reason, hint string) error {
	f.State, f.Reason, f.Hint, f.UpdatedAt = store.Held, reason, hint, time.Now()
	if err := e.Store.Defer(f, time.Now().Add(heldRetry)); err != nil {
		return fmt.Errorf("hold file: %w", err)
	}
	return e.noteOf(f.Path)
}

// moveDest queues a file anew that by the configuration, as it is now, goes to
// the same library in another way.
func (e *Engine) moveDest(f store.File, d description) error {
	f.Dest, f.Attempts, f.Doubts, f.Doubtful = d.dest, 0, 0, false
	return e.enqueue(f)
}
