package engine

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/store/failpoint"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/watcher"
)

const (
	answerGrace  = 4 * time.Second  // for an answer that is on its way when the service stops
	diskGrace    = time.Minute      // for a disk to take an answer in a single pass
	heldRetry    = time.Hour        // for a file held because the service calls it malformed
	fileRetry    = 5 * time.Minute  // for a file held because of its account at a provider
	laneRetry    = 2 * time.Minute  // for a lane held for a reason that may be mended at the service
	shutRetry    = 15 * time.Second // for a lane whose token cannot be written or read
	pendingRetry = 15 * time.Minute // for a postbox that calls all pending: each try costs a refresh
)

// errStopping breaks off a push that has not let go of its last chunk when the
// service stops.
var errStopping = errors.New("the service is stopping")

// carry brings one queued file to its next state: steps 6 to 8 of its way.
// What becomes of it is written down before carry returns; moved is called at
// each progress on the network.
func (e *Engine) carry(ctx context.Context, f store.File, moved func()) outcome {
	o := outcome{path: f.Path, lane: f.Library}
	folder := e.folders[f.Folder]
	if folder == nil {
		o.fault = e.holdQueued(f, "its folder is not in the configuration any more", "add the folder to the configuration again, or remove the file")
		return o
	}
	stop, err := e.doubtAfterCrash(folder, &f)
	if stop || err != nil {
		o.fault = err
		return o
	}
	d, err := e.look(folder, f)
	if err != nil {
		o.fault = e.lookFailed(folder, f, err)
		return o
	}
	if d.library.Name != f.Library {
		o.fault = e.holdQueued(f, fmt.Sprintf("it was dropped for library %q, and by the configuration, as it is now, it would go to %q", f.Library, d.library.Name),
			"if it is for "+d.library.Name+": digime-sync push "+f.Path+"; else move it to the right person's folder")
		return o
	}
	if d.dest != f.Dest {
		o.fault = e.moveDest(f, d)
		return o
	}
	p := &push{engine: e, folder: folder, file: f, desc: d, stop: ctx.Done(), moved: moved, outcome: o}
	if f.Doubts > 0 && !f.Again && p.settleDoubt(ctx) {
		return p.outcome
	}
	p.run(ctx)
	return p.outcome
}

// look describes the file as it is now: what lies there must be what was
// queued, and the sidecar is used as it is at this moment.
func (e *Engine) look(folder *Folder, f store.File) (description, error) {
	return patiently(e, folder.Path, f.Path, func(func()) (description, error) {
		now, err := watcher.Lstat(f.Path)
		if err != nil {
			return description{}, err
		}
		if store.Sig(now) != f.Sig {
			return description{}, errMoved
		}
		return e.describe(folder, f.Path, sidecarPath(f), f.SidecarSig)
	})
}

// lookFailed records why a queued file cannot be pushed as it lies there.
func (e *Engine) lookFailed(folder *Folder, f store.File, err error) error {
	var v *verdict
	switch err = unreadable(err); {
	case errors.As(err, &v) && v.depends == dependsOnAccess:
		return e.notReadable(f, v)
	case errors.As(err, &v):
		return e.settleVerdict(f, v)
	case errors.Is(err, fs.ErrNotExist):
		return e.vanished(folder, f)
	default: // it is being written to: the watcher will bring it when it is still
		e.watcher.Look(f.Folder, f.Path)
		f.State = store.Queued
		if inUse(err) {
			f.State, f.Reason, f.Hint = store.Retrying, openElsewhere, closeIt
		}
		return e.Store.Defer(f, time.Now().Add(folder.Settle+time.Second))
	}
}

const folderAway = "its folder is missing (unmounted, renamed or deleted) or does not answer"

// isAway says whether a folder in that state can tell nothing of its files.
func isAway(state string) bool {
	return state == watcher.StateMissing || state == watcher.StateHanging || state == watcher.StateUnseen
}

// vanished tells a file that was taken away from a folder that is away.
func (e *Engine) vanished(folder *Folder, f store.File) error {
	if e.missing(folder.Path) {
		f.State = store.Queued
		return e.Store.Defer(f, time.Now().Add(lookEvery))
	}
	err := try(e, f.Folder, f.Path, func() error { _, err := watcher.Lstat(f.Path); return err })
	if errors.Is(err, errHangs) {
		f.State = store.Queued
		return e.Store.Defer(f, time.Now().Add(lookEvery))
	}
	if err == nil { // only the sidecar went
		f.Sidecar, f.SidecarSig = "", store.Sig{}
		return e.settleVerdict(f, waitingForSidecar(f.Path))
	}
	e.Log.Info("file was taken away before it was pushed", e.file(f.Path), "library", f.Library)
	if err := e.keepNote(f, time.Time{}); err != nil { // none is due at that time
		return err
	}
	f.State, f.Reason, f.Hint, f.Note = store.Ignored, "it was taken away before it was pushed", "", ""
	f.UpdatedAt = time.Now()
	return e.Store.Put(f)
}

// awayFolders are the folders that can tell nothing of their files.
func (e *Engine) awayFolders() map[string]bool {
	away := map[string]bool{}
	for _, s := range e.folderStatus() {
		if isAway(s.State) {
			away[s.Path] = true
		}
	}
	return away
}

// missing says whether a folder is away, with all that is in it.
func (e *Engine) missing(folder string) bool {
	for _, s := range e.folderStatus() {
		if s.Path == folder && isAway(s.State) {
			return true
		}
	}
	return false
}

// push is one file on its way to its library.
type push struct {
	engine  *Engine
	folder  *Folder
	file    store.File
	desc    description
	postbox digime.PostboxAddress // for PushPostbox
	stop    <-chan struct{}       // closed when the service stops; nil: nothing was sent by this push
	moved   func()
	outcome outcome
}

func (p *push) run(ctx context.Context) {
	e := p.engine
	p.outcome.stamp, _ = e.Vault.Changed(p.desc.library.Name)
	rejected := ""
	for try := 1; ; try++ {
		access, err := e.access(ctx, p.desc.library, rejected)
		if err == nil {
			err = ctx.Err() // a stop that waited for a refresh sends nothing more
		}
		if err == nil {
			err = p.address(ctx, access)
		}
		var api *digime.Error
		if try == 1 && errors.As(err, &api) && api.Class == digime.TokenExpired {
			rejected = access
			continue
		}
		if err != nil {
			p.tokenFailed(ctx, err)
			return
		}
		sent, err := p.attempt(ctx, access)
		if !sent {
			p.outcome.fault = err
			return
		}
		api = nil
		errors.As(err, &api)
		switch {
		case err == nil:
			p.delivered(p.file.Doubts > 0 || p.file.Doubtful, "")
			return
		case try == 1 && api != nil && api.Class == digime.TokenExpired:
			rejected = access
		case try == 1 && api != nil && api.Class == digime.Malformed: // a reused nonce, or a clock just set
		default:
			p.failed(err, api)
			return
		}
	}
}

// begin writes the intent down; released says that the whole body may leave
// without a further step. ok is false when there is nothing to push (delivered
// meanwhile) or the store failed with err.
func (p *push) begin(released bool) (ok bool, err error) {
	e := p.engine
	if err := failpoint.Hit("push.begin"); err != nil {
		return false, fmt.Errorf("write intent: %w", err)
	}
	f, proceed, err := e.Store.Begin(p.file.Path, time.Now(), released)
	if err == nil {
		err = failpoint.Hit("push.begun")
	}
	switch {
	case errors.Is(err, store.ErrSameContent):
		return false, nil // its turn comes when the other's outcome is known
	case err != nil:
		return false, fmt.Errorf("write intent: %w", err)
	case !proceed:
		return false, e.finish(p.file.Path)
	case f.SHA256 != p.file.SHA256 || f.Dest != p.file.Dest: // intake was faster
		f.State, f.Begun, f.Released = store.Queued, false, false
		return false, e.Store.Defer(f, time.Now())
	}
	p.file = f
	return true, nil
}

// attempt pushes, once the intent is written down; ok and err are begin's, or
// err is what became of the push.
func (p *push) attempt(ctx context.Context, access string) (ok bool, err error) {
	small := p.file.Sig.Size <= digime.LastChunk // nothing leaves before the last chunk
	if ok, err := p.begin(small); !ok {
		return false, err
	}
	e, f := p.engine, p.file
	upload := digime.Upload{Descriptor: p.desc.descriptor, Size: f.Sig.Size, Moved: p.moved, Open: func() (io.ReadCloser, error) { return e.openPatiently(f.Folder, f.Path) }}
	if _, err := hex.Decode(upload.SHA256[:], []byte(f.SHA256)); err != nil {
		return false, fmt.Errorf("record of the file: %w", err)
	}
	pushCtx, release, done := untilLeft(ctx, answerGrace, func() {})
	defer done()
	upload.Release = func() error {
		if !small {
			if err := failpoint.Hit("push.release"); err != nil {
				return fmt.Errorf("write release: %w", err)
			}
			if err := e.Store.Released(f.Path); err != nil {
				return fmt.Errorf("write release: %w", err)
			}
		}
		if err := failpoint.Hit("push.released"); err != nil {
			return fmt.Errorf("write release: %w", err)
		}
		return release()
	}
	err = p.send(pushCtx, access, upload)
	if lost := failpoint.Hit("push.answered"); lost != nil {
		return true, fmt.Errorf("send: %w", lost)
	}
	return true, err
}

// address finds out where a postbox or a provider's account is, before anything
// is sent.
func (p *push) address(ctx context.Context, access string) (err error) {
	switch {
	case p.folder.Push == PushPostbox:
		p.postbox, err = p.engine.postbox(p.desc.library)
	case p.folder.Push == PushProvider && p.desc.provider.AccountID == "":
		p.desc.provider.AccountID, err = p.engine.accountID(ctx, p.desc.library, access, p.desc.reference)
	}
	return err
}

// send pushes to where the folder says.
func (p *push) send(ctx context.Context, access string, u digime.Upload) error {
	client, lib := p.engine.Client, p.desc.library
	switch p.folder.Push {
	case PushProvider:
		return client.PushProvider(ctx, lib.Contract, access, p.desc.provider, u)
	case PushPostbox:
		return client.PushPostbox(ctx, lib.Contract, access, p.postbox, filepath.Base(p.file.Path), u)
	default:
		return client.Push(ctx, lib.Contract, access, u)
	}
}

// untilLeft returns a context for something that leaves at one moment: the stop
// of the service ends it at once before left was called, and a grace later
// after: an answer may be on its way that must not be missed. waits is called
// when a stop begins to wait for that.
func untilLeft(ctx context.Context, grace time.Duration, waits func()) (_ context.Context, left func() error, done func()) {
	graced, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	var state atomic.Int32 // 0 here, 1 left, 2 stopped
	undo := context.AfterFunc(ctx, func() {
		if state.CompareAndSwap(0, 2) {
			cancel(errStopping)
			return
		}
		waits()
		time.AfterFunc(grace, func() { cancel(errStopping) })
	})
	left = func() error {
		if !state.CompareAndSwap(0, 1) && state.Load() == 2 {
			return errStopping
		}
		return nil
	}
	return graced, left, func() { undo(); cancel(nil) }
}

// delivered records the success, then does what comes after. doubtful says that
// the file may have arrived twice, reason what is special about the delivery.
func (p *push) delivered(doubtful bool, reason string) {
	e, f, now := p.engine, p.file, time.Now()
	p.outcome.answers = true
	f.State, f.DeliveredAt, f.UpdatedAt, f.Doubtful = store.Delivered, now, now, doubtful
	f.Reason, f.Hint, f.Code, f.Message, f.NextAttempt = reason, "", "", "", time.Time{}
	if f.Doubtful {
		f.Reason = "an earlier attempt's answer was lost: it may have arrived twice"
	}
	f.After = p.folder.After
	if err := e.recordDelivery(f, now, p.stop); err != nil {
		p.outcome.fault = fmt.Errorf("record delivery: %w", err)
		return
	}
	e.Log.Info("delivered", e.file(f.Path), "library", f.Library, "size", f.Sig.Size, "attempts", f.Attempts, "may_be_double", f.Doubtful)
	p.outcome.fault = e.finish(f.Path)
}

// recordDelivery writes the delivery down.
func (e *Engine) recordDelivery(f store.File, now time.Time, stop <-chan struct{}) error {
	return e.holdOn(f, stop, func() error {
		err := failpoint.Hit("push.record")
		if err == nil {
			err = e.Store.Delivered(f, now)
		}
		if err == nil {
			err = failpoint.Hit("push.recorded")
		}
		return err
	})
}

// holdOn records what the service has answered about a file. While the disk is
// full it holds on to the answer: forgotten, it would put the file in doubt. A
// stop ends that after one more try, and in a single pass so does a minute.
func (e *Engine) holdOn(f store.File, stop <-chan struct{}, record func() error) error {
	e.answers.Add(1)
	defer e.answers.Add(-1)
	var enough <-chan time.Time
	if e.single.Load() {
		enough = time.After(diskGrace)
	}
	for n, last := 1, false; ; n++ {
		err := record()
		if err == nil {
			e.storeWorks()
		}
		if err != nil && last {
			e.Log.Error("an answer could not be recorded before the stop: the file is in doubt", e.file(f.Path), "library", f.Library, "err", err)
		}
		if err == nil || last || !passingDisk(err) {
			return err
		}
		_ = e.storeFault(err) // says it; a full disk is never a fault
		select {
		case <-stop:
			last = true
		case <-enough:
			last = true
		case <-time.After(min(backoff(n), 2*time.Second)):
		}
	}
}
