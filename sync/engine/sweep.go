package engine

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/watcher"
)

// sweepEvery is how often notes and after-actions are looked at; it is
// stretched where a sweep takes long.
const sweepEvery = 15 * time.Second

// sweep keeps what people see true while time passes.
func (e *Engine) sweep(ctx context.Context) error {
	var p pruner
	for {
		began := time.Now()
		if err := e.storeFault(e.sweepOnce(began)); err != nil {
			return err
		}
		more, err := e.prune(&p, began)
		if err := e.storeFault(err); err != nil {
			return err
		}
		if err := e.storeFault(e.probe()); err != nil {
			return err
		}
		wait := sweepEvery
		if more { // one pass through the records is to end within a working day
			wait = time.Second
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(wait, 20*time.Since(began))):
		}
	}
}

// sweepOnce finishes what a crash or a full disk left over, writes the notes
// that are due, and drops what was noted of files that were taken away.
func (e *Engine) sweepOnce(now time.Time) error {
	e.keepMounts()
	e.lookAtShut()
	e.lookAtOpen(now)
	if err := e.Store.AfterPending(func(f store.File) error { return e.finish(f.Path) }); err != nil {
		return err
	}
	holds, err := e.Store.Holds()
	if err != nil {
		return err
	}
	outage := e.host.outage()
	shown := func(f store.File) store.File {
		if isUnread(f) {
			return f
		}
		f = waitsForHost(f, outage, now)
		if hold, held := holds[f.Library]; held && f.State != store.Waiting && f.State != store.Refused {
			f = withHold(f, hold)
		}
		return e.withPause(f)
	}
	err = e.Store.Unfinished(func(f store.File) error {
		err := try(e, f.Folder, f.Path, func() error { return e.sweepFile(f, shown, now) })
		if errors.Is(err, errHangs) {
			return nil // it is there again when the folder answers
		}
		if err != nil {
			return err
		}
		return e.finish(f.Path) // it may have been delivered meanwhile
	})
	if err == nil {
		e.swept.Store(now.UnixNano())
	}
	return err
}

// sweepFile does that for one file. What is known of it may have changed since
// it was listed, and changes on, but what comes after a delivery waits.
func (e *Engine) sweepFile(f store.File, shown func(store.File) store.File, now time.Time) error {
	if !e.takenAway(f) && !e.outdated(f, now) && !noteDue(shown(f), now) {
		return nil
	}
	if _, busy := finishing.LoadOrStore(f.Path, true); busy {
		return nil
	}
	defer finishing.Delete(f.Path)
	f, ok, err := e.Store.Get(f.Path)
	if err != nil || !ok {
		return err
	}
	switch {
	case e.takenAway(f):
		if e.unnote(f) != nil {
			return nil // it says why, and is tried again
		}
		return e.Store.Forget(f.Path)
	case e.outdated(f, now):
		return e.examineAnew(f)
	case noteDue(shown(f), now):
		return e.writeNote(shown(f))
	}
	return nil
}

// takenAway says whether a person removed a file that rested, waiting or
// refused, instead of correcting it. One that is queued is the drain's, one in
// a folder that is missing is not gone.
func (e *Engine) takenAway(f store.File) bool {
	if f.State != store.Waiting && f.State != store.Refused && f.State != store.Held && !isUnread(f) {
		return false
	}
	_, err := watcher.Lstat(f.Path)
	return errors.Is(err, fs.ErrNotExist) && !e.missing(f.Folder)
}

// withHold shows a file as its library stands: held files stay in their queue
// and only the library's record says so.
func withHold(f store.File, h store.Hold) store.File {
	if f.State == store.Queued || f.State == store.Retrying || f.State == store.Held {
		f.State, f.Reason, f.Hint, f.Code, f.Message = store.Held, h.Reason, h.Hint, h.Code, h.Message
		f.Since, f.NextAttempt = h.Since, h.Until
	}
	return f
}
