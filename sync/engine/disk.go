package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/digime-sync/digime-sync/store"
)

// The state folder's disk may be full, read-only or failing, and somebody may
// remove files from it. All that is waited out, said by status and in the log,
// and mended where it can be.
const (
	guardEvery   = 15 * time.Second // how often the state folder's files are looked at
	mendedShown  = time.Hour        // how long status says what had to be mended
	faultOver    = 5 * time.Second  // without a fault: what fails on and off is one fault in the log
	diskPatience = 10 * time.Minute // of a disk that fails (EIO), until the service ends to be started anew
	lanePause    = 2 * time.Second  // of all lanes when the queue cannot be read
)

// trouble is what is the matter with the state folder, and with writing to the
// watched ones.
type trouble struct {
	shut     []string  // watched folders that could not be written to when the service began
	disk     string    // it cannot be written to: why
	last     time.Time // when it last could not
	said     bool      // that is logged, and its end not yet
	failing  time.Time // since when the disk has failed (EIO), without one success
	guard    string    // its files are not as they must be: what a person must do
	mended   string    // what was put right
	mendedAt time.Time
}

// words is what status says of it.
func (t *trouble) words(now time.Time) string {
	var all []string
	if t.disk != "" {
		all = append(all, "the state folder cannot be written to: "+t.disk)
	}
	if t.guard != "" {
		all = append(all, t.guard)
	}
	if t.mended != "" && now.Sub(t.mendedAt) < mendedShown {
		all = append(all, t.mendedAt.Local().Format("15:04")+": "+t.mended+"; find out how that came")
	}
	return strings.Join(all, "; ")
}

// storeFault tells what ends the engine from what it waits out: a disk that is
// full, fails or may not be written to now is said and tried again. One that has
// failed for long ends the engine after all, for a start that opens all files
// anew and mends what it finds damaged; but not while an answer of the service
// is held on to, which would be lost by that.
func (e *Engine) storeFault(err error) error {
	if err == nil || !passingDisk(err) {
		return err
	}
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	t := &e.trouble
	if !t.said {
		e.Log.Error("the state folder cannot be written to; nothing is lost, but nothing is pushed until it can", "err", err)
	}
	t.disk, t.last, t.said = err.Error(), now, true
	if !errors.Is(err, syscall.EIO) {
		return nil
	}
	if t.failing.IsZero() {
		t.failing = now
	}
	if now.Sub(t.failing) < diskPatience || e.answers.Load() > 0 {
		return nil
	}
	return fmt.Errorf("the disk of the state folder has failed for %s, the service ends to be started anew: %w", diskPatience, err)
}

// storeWorks is called after something was written.
func (e *Engine) storeWorks() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.trouble.disk, e.trouble.failing = "", time.Time{}
	e.sayWorks(time.Now())
}

// sayWorks logs the end of a fault, once it is one. The caller holds mu.
func (e *Engine) sayWorks(now time.Time) {
	t := &e.trouble
	if t.said && t.disk == "" && now.Sub(t.last) > faultOver {
		e.Log.Info("the state folder can be written to again")
		t.said = false
	}
}

// passingDisk says whether a fault of the state folder may end without a new
// start: also that we may not write to it, which somebody has brought about and
// puts right.
func passingDisk(err error) bool {
	for _, e := range []error{store.ErrUnavailable, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EFBIG, syscall.EIO, fs.ErrPermission} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// probe finds out whether a store that could not be written to can be, when
// nothing else does.
func (e *Engine) probe() error {
	e.mu.Lock()
	works := e.trouble.disk == ""
	e.mu.Unlock()
	if works {
		return nil
	}
	if err := e.Store.Audit("state folder works again", store.File{}); err != nil {
		return err
	}
	e.storeWorks()
	return nil
}

// guard looks after the files of the state folder until ctx ends.
func (e *Engine) guard(ctx context.Context) error {
	for {
		if err := e.guardOnce(time.Now()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(guardEvery):
		}
	}
}

// guardOnce has store and vault put back what was deleted or damaged under
// them. Its error is one that only a new start mends.
func (e *Engine) guardOnce(now time.Time) error {
	did, err := e.Store.Mend()
	tokens, tokenErr := e.Vault.Mend()
	did = append(did, tokens...)
	var damaged *store.DamagedError
	var locked *store.LockedError
	if errors.As(err, &damaged) || errors.As(err, &locked) {
		return err
	}
	said := ""
	if fault := errors.Join(err, tokenErr); fault != nil {
		said = "the state folder is not as it must be: " + strings.ReplaceAll(fault.Error(), "\n", "; ")
	}
	e.mu.Lock()
	e.sayWorks(now)
	t := &e.trouble
	if said != t.guard && said != "" {
		e.Log.Error("the state folder is not as it must be", "err", said)
	}
	if said == "" && t.guard != "" {
		e.Log.Info("the state folder is as it must be again")
	}
	t.guard = said
	if len(did) > 0 {
		t.mended, t.mendedAt = strings.Join(did, "; "), now
	}
	e.mu.Unlock()
	for _, what := range did {
		e.Log.Error("something in the state folder was deleted or damaged, and was put back", "what", what)
		if err := e.Store.Audit("state mended", store.File{Reason: what}); err != nil {
			return e.storeFault(err)
		}
	}
	return nil
}

// lastLook has what was deleted under the service, and is still known, put back
// before it ends: a key of the vault is known to it alone.
func (e *Engine) lastLook() {
	if err := e.guardOnce(time.Now()); err != nil {
		e.Log.Error("the state folder could not be mended before the stop", "err", err)
	}
}

// forgive passes over what the disk will mend, with a pause for all lanes.
func (d *drainer) forgive(err error, now time.Time) error {
	if err == nil || d.once {
		return err
	}
	if fault := d.engine.storeFault(err); fault != nil {
		return fault
	}
	for _, l := range d.lanes {
		if until := now.Add(lanePause); l.paused.Before(until) {
			l.paused = until
		}
	}
	return nil
}

// begin recovers the queues, again and again while they cannot be read.
func (d *drainer) begin(ctx context.Context) error {
	for {
		err := d.recover()
		if err == nil {
			return nil
		}
		if err := d.forgive(err, time.Now()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lanePause):
		}
	}
}

// cannotRead makes of a status that could not be read one that says why.
func (e *Engine) cannotRead(s Status, err error) (Status, error) {
	if fault := e.storeFault(err); fault != nil {
		return s, err
	}
	s.Trouble, s.Folders = e.troubled(), e.folderStatus()
	return s, nil
}

// keepsOut says whether by this error a folder cannot be written to at present.
func keepsOut(err error) bool { return passingDisk(err) }

// lookAtShut finds the folders that can be written to by now, also where no note
// is due that would show it.
func (e *Engine) lookAtShut() {
	e.mu.Lock()
	folders := slices.Clone(e.trouble.shut)
	e.mu.Unlock()
	for _, folder := range folders {
		if try(e, folder, folder, func() error { return store.CanWrite(folder) }) != nil {
			continue
		}
		e.divert(folder, false)
		e.mu.Lock()
		e.trouble.shut = slices.DeleteFunc(e.trouble.shut, func(f string) bool { return f == folder })
		e.mu.Unlock()
	}
}

// tidy looks whether the watched folders can be written to, and removes what a
// killed process left of its own there, each in its own time: a share that hangs
// holds up nothing, and is not waited for when ctx ends.
func (e *Engine) tidy(ctx context.Context, folder *Folder) {
	done, before := make(chan struct{}), time.Now().Add(-clockGrain)
	go func() {
		defer close(done)
		e.tidyBelow(ctx, folder, before)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// clockGrain is by how much the time of a new file may lie before its making.
const clockGrain = 100 * time.Millisecond

func (e *Engine) tidyBelow(ctx context.Context, folder *Folder, before time.Time) {
	if keepsOut(store.CanWrite(folder.Path)) {
		e.divert(folder.Path, true) // said before the first note that does not come
		e.mu.Lock()
		e.trouble.shut = append(e.trouble.shut, folder.Path)
		e.mu.Unlock()
	}
	top, err := filepath.EvalSymlinks(folder.Path)
	if err != nil {
		return // what is not there, the watcher says
	}
	err = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil || !d.IsDir():
			return nil // what cannot be read, the watcher says
		}
		own := d.Name() == sentFolder || d.Name() == failedFolder
		if path != top && !folder.Recursive && !own {
			return fs.SkipDir
		}
		if err := store.RemoveTemps(path, before); err != nil {
			e.Log.Warn("temporary files of a killed process could not be removed", "folder", folder.Path, "err", pathless(err))
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		e.Log.Warn("temporary files of a killed process could not be looked for", "folder", folder.Path, "err", pathless(err))
	}
}
