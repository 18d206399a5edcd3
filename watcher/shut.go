package watcher

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"
)

// cannotSee notes that something in a directory cannot be looked at. It is said
// at once, and looked at again soon: that it can be by now is often told by no event.
func (t *tree) cannotSee(dir string, err error, now time.Time) {
	if t.sweep != nil {
		t.sweep.shut[dir] = err
		return // said when it is done
	}
	t.shut[dir] = err
	t.sayShut(now)
}

// sayShut says which part of the folder cannot be read, and when it is tried again.
func (t *tree) sayShut(now time.Time) {
	if len(t.shut) == 0 {
		t.plan.again = time.Time{}
	} else if t.plan.again.IsZero() {
		t.plan.again = now.Add(t.plan.jitter(shutEvery))
	}
	partial, err := t.shutWords()
	t.mu.Lock()
	news := t.partial != partial
	t.partial = partial
	t.mu.Unlock()
	if news && err != nil {
		t.log.Warn("subfolders cannot be read", "count", len(t.shut), "err", err)
	}
}

func (t *tree) shutWords() (string, error) {
	if len(t.shut) == 0 {
		return "", nil
	}
	dir := slices.Min(slices.Collect(maps.Keys(t.shut)))
	err := cause(t.shut[dir])
	rel, relErr := filepath.Rel(t.Path, dir)
	if relErr != nil || rel == "." {
		return fmt.Sprintf("not all that lies in it can be looked at: %v", err), err
	}
	return fmt.Sprintf("%d of its subfolders cannot be read, or not all of their files, %q for one: %v", len(t.shut), rel[:min(len(rel), 200)], err), err
}

// tryShut goes through the directories again that could not be read.
func (t *tree) tryShut() {
	t.plan.again = time.Time{}
	for dir := range t.shut {
		t.sweepAlso(dir)
	}
}
