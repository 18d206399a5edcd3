package watcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// ChangingError lists files that did not settle while Once was waiting.
type ChangingError struct {
	Folder string
	Paths  []string
}

// Error counts the files; their names are patient data.
func (e *ChangingError) Error() string {
	return fmt.Sprintf("folder %s: %d files are still being written, or are open in another program", e.Folder, len(e.Paths))
}

// FolderError says that a folder could not be scanned.
type FolderError struct{ Status Status }

// Error says what is the matter with the folder.
func (e *FolderError) Error() string {
	return fmt.Sprintf("folder %s is %s: %s", e.Status.Path, e.Status.State, e.Status.Reason)
}

// patience is how long Once waits for files that keep changing.
func patience(settle time.Duration) time.Duration { return 3*settle + 10*time.Second }

// Once scans every folder and calls emit with each file that settles, one at a
// time. It waits a while for files that are changing, and for a folder that does
// not answer no longer than half a minute: that is left out. An error of emit ends it;
// else the errors are joined, each a *FolderError or a *ChangingError.
func Once(ctx context.Context, folders []Folder, known func(File) bool, log *slog.Logger, emit func(File) error) error {
	w := New(folders, known, log)
	var wg sync.WaitGroup
	defer w.waitFor(&wg)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results, files := make(chan passed, len(w.trees)), make(chan File)
	under := map[*tree]bool{}
	for _, t := range w.trees {
		t.out = files
		t.Mode, t.settler.once = ModePoll, true
		under[t] = true
		wg.Go(func() { results <- passed{t, t.pass(ctx)} })
	}
	var errs []error
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for len(under) > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case f := <-files:
			if err := emit(f); err != nil {
				return err
			}
		case r := <-results:
			if under[r.tree] {
				errs = append(errs, r.err)
				delete(under, r.tree)
			}
		case <-look.C:
			for t := range under {
				if since := t.hang.since(); !since.IsZero() {
					errs = append(errs, &FolderError{Status{Path: t.Path, State: StateHanging, Reason: HangReason(since)}})
					delete(under, t)
				}
			}
		}
	}
	return errors.Join(errs...)
}

// passed is what a folder's pass ended with.
type passed struct {
	tree *tree
	err  error
}

// pass runs until the folder is scanned and all of it has settled and is handed over.
func (t *tree) pass(ctx context.Context) error {
	var deadline time.Time
	var result error
	t.loop(ctx, func(now time.Time) bool {
		status := t.snapshot()
		switch {
		case t.id == "":
			result = &FolderError{status}
			return true
		case !t.swept:
			return false
		case deadline.IsZero():
			deadline = now.Add(patience(t.Settle))
		}
		if status.Settling > 0 && now.After(deadline) {
			result = &ChangingError{t.Path, t.unsettled()}
			return true
		}
		return status.Settling == 0
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return result
}

// unsettled lists the files that are not handed over yet.
func (t *tree) unsettled() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var paths []string
	for path := range t.settler.items {
		if t.settler.waits(path) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}
