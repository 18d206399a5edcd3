package engine

import (
	"time"

	"github.com/digime-sync/digime-sync/sidecar"
	"github.com/digime-sync/digime-sync/watcher"
)

// What another program has open, or a part of which it has locked, is neither
// refused nor given up, however long that takes: it is tried again, and after a
// while it is said.
const (
	openElsewhere = "another program has the file or its sidecar open"
	closeIt       = "close it there, or wait; it is tried again by itself"
	mostOpened    = 100 // files that a sweep looks into for that
)

// lookAtOpen finds those of the files that still settle that do so because another
// program has them open for long.
func (e *Engine) lookAtOpen(now time.Time) {
	since, open := map[string]time.Time{}, map[string]time.Time{}
	looks := 0
	e.mu.Lock()
	before := e.settleFrom
	e.mu.Unlock()
	for _, path := range e.watcher.Settling() {
		first, known := before[path]
		if !known {
			first = now
		}
		since[path] = first
		if now.Sub(first) < patience || looks == mostOpened {
			continue
		}
		looks++
		folder := e.folderPath(path)
		for _, one := range []string{path, path + sidecar.Suffix} {
			err := try(e, folder, one, func() error {
				f, err := watcher.Open(one)
				if err == nil {
					f.Close()
				}
				return err
			})
			if inUse(err) {
				open[path] = first
			}
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.settleFrom = since
	for path, first := range open {
		if e.openLong[path].IsZero() {
			e.Log.Warn("a file is not taken yet: "+openElsewhere, e.file(path), "since", first)
		}
	}
	e.openLong = open
}

// whySettling says why a file has not been taken yet, and what to do.
func (e *Engine) whySettling(path string) (reason, hint string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if since := e.openLong[path]; !since.IsZero() {
		return openElsewhere + ", since " + since.Local().Format(time.DateTime) + " or longer", closeIt
	}
	return "it is still changing, open in another program, or waits for its turn", "nothing to do"
}
