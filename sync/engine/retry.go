package engine

import (
	"fmt"
	"time"

	"github.com/digime-sync/digime-sync/store"
)

// Retry tries files now that wait for another attempt, or for a person who has
// put things right: the file at this path, all below it, or all for "", of one
// library or of all for "". A refused file is examined anew. What a folder's
// hold keeps back stays back, and so does what is in doubt: it may have arrived.
// It returns what it had tried.
func (e *Engine) Retry(path, library string) ([]store.File, error) {
	if path == "" {
		e.watcher.Reexamine("") // also what could not be read a moment ago
	}
	var tried []store.File
	err := e.Store.Unfinished(func(f store.File) error {
		if !below(f.Path, path) || library != "" && f.Library != library {
			return nil
		}
		ok, err := e.retryOne(f)
		if ok {
			tried = append(tried, f)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, f := range tried {
		if err := e.Store.Audit("tried again by a person", f); err != nil {
			return nil, err
		}
	}
	return tried, nil
}

// retryOne says whether there was something to try.
func (e *Engine) retryOne(f store.File) (bool, error) {
	switch {
	case f.State == store.Held && f.Doubts > 0:
		return false, nil
	case f.State == store.Queued && f.Attempts == 0 && f.NextAttempt.After(time.Now()): // the folder's hold
		return false, nil
	case f.State == store.Refused || f.State == store.Waiting:
		if err := e.Store.Unsettle(f.Path); err != nil {
			return false, fmt.Errorf("retry file: %w", err)
		}
		e.watcher.Reexamine(f.Folder)
		return true, nil
	}
	return e.sendNow(f.Path)
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
	if err := try(e, f.Folder, path, func() error { e.unnote(f); return nil }); err != nil {
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
