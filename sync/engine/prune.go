package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/watcher"
)

const (
	// keepGone is how long status tells of a file that is gone: a quarter, since
	// people ask of this one and the last month. The audit log tells of it for good.
	keepGone = 90 * 24 * time.Hour

	pruneEvery = 24 * time.Hour // how often all records are gone through
	mostWaits  = 30             // sweeps in a row for which a pass waits for a folder that is away, or not looked at yet
)

// pruner is how far a pass through the records has come.
type pruner struct {
	began  time.Time
	todo   []string // folders still to be gone through
	folder string   // the one of these that is begun, and where to go on in it
	from   string
	waits  int
}

// prune drops the records of files that are gone, of which there has been nothing
// new for long: without that the database would grow with every file that ever
// came by. A call goes through one page of records, a pass through all, once a day;
// it returns whether there is more to go through now. Files in a folder that is
// away are not gone. A wrong clock costs no more than what status
// tells: a file of which the record was dropped too early is read again, and
// known by its content.
func (e *Engine) prune(p *pruner, now time.Time) (more bool, err error) {
	if now.Sub(p.began).Abs() >= pruneEvery {
		last, err := e.Store.Pruned()
		if err != nil || now.Sub(last).Abs() < pruneEvery {
			return false, err
		}
		*p = pruner{began: now, todo: slices.Sorted(maps.Keys(e.folders))}
	}
	if len(p.todo) == 0 {
		return false, nil
	}
	e.mu.Lock()
	running := e.running
	e.mu.Unlock()
	folder := p.todo[0]
	if running {
		i := slices.IndexFunc(p.todo, e.looksWhole)
		if i < 0 {
			p.waits++
			return p.waits < mostWaits, nil // it may come
		}
		folder = p.todo[i]
	}
	if folder != p.folder {
		p.folder, p.from = folder, ""
	}
	if p.from, err = e.prunePage(folder, p.from, now); err != nil || p.from != "" {
		return err == nil, err
	}
	p.todo = slices.DeleteFunc(p.todo, func(f string) bool { return f == folder })
	if len(p.todo) > 0 {
		return true, nil
	}
	return false, e.Store.SetPruned(now)
}

// pruneAll makes a whole pass, where one is due.
func (e *Engine) pruneAll(ctx context.Context) error {
	var p pruner
	for ctx.Err() == nil {
		if more, err := e.prune(&p, time.Now()); err != nil || !more {
			return err
		}
	}
	return nil
}

// looksWhole says whether the watcher has been through a folder, and has it before it.
func (e *Engine) looksWhole(folder string) bool {
	return slices.ContainsFunc(e.folderStatus(), func(s FolderStatus) bool {
		return s.Path == folder && s.State == watcher.StateOK && s.LastScan != nil
	})
}

// prunePage looks for the files of one page of a folder's records, and returns
// where the next begins, "" when this was the last or the folder is away.
func (e *Engine) prunePage(folder, from string, now time.Time) (next string, err error) {
	page, next, err := e.Store.Resting(folder, from)
	if err != nil {
		return "", fmt.Errorf("read records: %w", err)
	}
	old := slices.DeleteFunc(page, func(f store.File) bool { return now.Sub(f.UpdatedAt).Abs() < keepGone })
	mount := e.isMount(folder)
	gone, err := patiently(e, folder, folder, func(beat func()) ([]store.File, error) {
		gone := slices.DeleteFunc(old, func(f store.File) bool {
			beat()
			_, err := watcher.Lstat(f.Path)
			return !errors.Is(err, fs.ErrNotExist)
		})
		_, err := os.Stat(folder) // after that look: it may have been taken away under it
		if err == nil && mount && !watcher.Mounted(folder) {
			err = fs.ErrNotExist
		}
		return gone, err
	})
	if err != nil {
		return "", nil // what is away is not gone, the next pass sees
	}
	n, err := e.Store.Prune(gone)
	if err == nil && n > 0 {
		e.Log.Info("records of files that are gone for long were dropped; the audit log keeps what was delivered", "folder", folder, "records", n)
	}
	return next, err
}

// isMount says whether a folder is a mount point, or was when it was last seen.
func (e *Engine) isMount(folder string) bool {
	return e.folders[folder].Mounted || slices.ContainsFunc(e.watcher.Status(), func(s watcher.Status) bool {
		return s.Path == folder && s.Mounted
	})
}
