package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/digime-sync/digime-sync/store"
)

// Retry tries files now that wait for another attempt, or for a person who has
// put things right: the file at this path, all below it, or all for "", of one
// library or of all for "". A refused file is examined anew. What a folder's
// hold keeps back stays back, and so does what is in doubt: it may have arrived.
// It returns what it had tried, each with the reason why it waits all the same;
// no reason where its turn is now.
func (e *Engine) Retry(path, library string) ([]store.File, error) {
	if path == "" {
		e.watcher.Reexamine("") // also what could not be read a moment ago
	}
	var tried []store.File
	err := e.Store.Unfinished(func(f store.File) error {
		if !below(f.Path, path) || library != "" && f.Library != library {
			return nil
		}
		f, ok, err := e.retryOne(f)
		if ok {
			tried = append(tried, f)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	away := e.awayFolders()
	for i, f := range tried {
		if err := e.Store.Audit("tried again by a person", f); err != nil {
			return nil, err
		}
		tried[i] = e.keptBack(f, away)
	}
	return tried, nil
}

// retryOne says whether there was something to try.
func (e *Engine) retryOne(f store.File) (store.File, bool, error) {
	switch {
	case f.State == store.Held && f.Doubts > 0 && f.NextAttempt.IsZero(): // a person decides
		return f, false, nil
	case f.State == store.Queued && f.Attempts == 0 && f.NextAttempt.After(time.Now()): // the folder's hold
		return f, false, nil
	case f.State == store.Refused, f.State == store.Waiting, isUnread(f):
		if err := e.Store.Unsettle(f.Path); err != nil {
			return f, false, fmt.Errorf("retry file: %w", err)
		}
		e.watcher.Reexamine(f.Folder)
		return f, true, nil
	}
	return e.sendNow(f.Path)
}

// keptBack gives a file that is due the reason why it waits all the same, none
// where nothing but its turn is in the way.
func (e *Engine) keptBack(f store.File, away map[string]bool) store.File {
	f.Reason, f.Hint = "", ""
	e.mu.Lock()
	silent, running := e.silences, e.running
	e.mu.Unlock()
	silent.asked = nil // which a person's word has ended
	o := e.host.outage()
	switch {
	case !running:
		f.Reason, f.Hint = "no daemon is running", "digime-sync run, or digime-sync sync for one pass"
	case away[f.Folder]:
		f.Reason, f.Hint = folderAway, "bring the folder back, or what it lies on; the file is pushed then"
	case o != nil:
		f.Reason, f.Hint = o.lasts()+"; it is asked now whether it is back", "nothing to do: the file goes by itself then"
	case silent.full || silent.stuck[f.Library]:
		f = silent.waits(f, f.NextAttempt)
	}
	return e.withPause(f)
}

// Forget drops what is known of the file at a path, and returns that. Its
// content, where it was delivered, stays known.
func (e *Engine) Forget(path string) (store.File, error) {
	f, ok, err := e.Store.Get(path)
	switch {
	case err != nil:
		return f, fmt.Errorf("look up file: %w", err)
	case !ok:
		return f, &UsageError{Reason: "nothing is known of " + path, Hint: "digime-sync status lists what is known"}
	case f.State == store.Pushing:
		return f, &UsageError{Reason: path + " is being pushed", Hint: "wait for its outcome: digime-sync status " + path}
	}
	if err := try(e, f.Folder, path, func() error { return e.unnote(f) }); errors.Is(err, errHangs) {
		return f, folderHangs(path)
	}
	if err := e.Store.Forget(path); err != nil {
		return f, fmt.Errorf("forget file: %w", err)
	}
	if err := e.Store.Audit("forgotten by a person", f); err != nil {
		return f, fmt.Errorf("record it: %w", err)
	}
	return f, nil
}

// RescanAt has a configured folder looked at now, or all of them for "".
func (e *Engine) RescanAt(folder string) error {
	if folder != "" && e.folders[folder] == nil {
		return &UsageError{Reason: folder + " is none of the configured folders", Hint: "digime-sync status lists them"}
	}
	e.Rescan(folder)
	return nil
}
