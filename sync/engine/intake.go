package engine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/digime-sync/digime-sync/sidecar"
	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/store/failpoint"
	"github.com/digime-sync/digime-sync/watcher"
)

// hashersPerFolder is how many files of a folder are read at a time. A share
// that hangs in a read stops nobody else's files by that.
const hashersPerFolder = 2

// errMoved says that a file is not any more what the watcher saw: it will come
// again by itself.
var errMoved = errors.New("the file changed while it was read")

// intake takes a folder's settled files until ctx ends.
func (e *Engine) intake(ctx context.Context, files <-chan watcher.File) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case f := <-files:
			if err := e.take(ctx, f); err != nil {
				return err
			}
		}
	}
}

// take brings one settled file to rest in the store: queued, or with the
// reason why not. While the store's disk is full it waits, and the files behind
// it with it. Only a fault of the store is returned.
func (e *Engine) take(ctx context.Context, f watcher.File) error {
	for n := 1; ; n++ {
		err := e.takeOnce(ctx, f)
		if fault := e.storeFault(err); fault != nil || err == nil {
			return fault
		}
		select {
		case <-ctx.Done():
			return nil // the next start finds it
		case <-time.After(min(backoff(n), 4*time.Second)):
		}
	}
}

func (e *Engine) takeOnce(ctx context.Context, f watcher.File) error {
	rec, err := e.record(f)
	if err != nil {
		return err
	}
	if late, err := e.sidecarLate(rec); late || err != nil {
		return err
	}
	rec, err = e.examined(ctx, f)
	var v *verdict
	switch {
	case errors.As(err, &v):
		return e.settleVerdict(rec, v)
	case errors.Is(err, errMoved), errors.Is(err, watcher.ErrInUse), errors.Is(err, fs.ErrNotExist):
		// The folder may have been away for this moment alone, of which no event would tell.
		e.watcher.Again(f)
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, errHangs):
		return nil // the next scan brings it again
	case err != nil:
		return err
	}
	if hold := e.folders[rec.Folder].Hold; hold > 0 {
		rec.NextAttempt = time.Now().Add(hold)
	}
	return e.enqueue(rec)
}

// sidecarLate says, once, that the sidecar of a delivered file was changed: that
// changes nothing about the delivery. It returns false if rec is no such file.
func (e *Engine) sidecarLate(rec store.File) (bool, error) {
	rec.Reason = "its sidecar was changed after the delivery, which changes nothing about that"
	rec.Hint = "to send it as the sidecar says now: digime-sync push --again " + rec.Path
	late, err := e.Store.SetSidecar(rec)
	if err != nil {
		return false, fmt.Errorf("note changed sidecar: %w", err)
	}
	if !late {
		return false, nil
	}
	e.Log.Info("the sidecar of a delivered file was changed, which changes nothing about the delivery", e.file(rec.Path))
	if err := e.Store.Audit("sidecar changed after the delivery", rec); err != nil {
		return true, fmt.Errorf("record changed sidecar: %w", err)
	}
	return true, nil
}

// record starts from what the store already knows of the path, so that the
// time since when something is wrong, and its note, survive.
func (e *Engine) record(f watcher.File) (store.File, error) {
	old, known, err := e.Store.Get(f.Path)
	if err != nil {
		return store.File{}, fmt.Errorf("look up file: %w", err)
	}
	rec := store.File{
		Path: f.Path, Folder: f.Folder, Sig: store.Sig(f.Sig), SidecarSig: store.Sig(f.SidecarSig), Since: time.Now(),
	}
	if f.Sidecar != "" {
		rec.Sidecar = filepath.Base(f.Sidecar)
	}
	if known {
		rec.Note, rec.Library = old.Note, old.Library
		if old.State == store.Waiting || old.State == store.Refused || isUnread(old) {
			rec.Since = old.Since
		}
	}
	return rec, nil
}

// examined is the file's record, with what examine finds. It keeps nobody
// waiting for a folder that does not answer.
func (e *Engine) examined(ctx context.Context, f watcher.File) (store.File, error) {
	rec, err := e.record(f)
	if err != nil {
		return rec, err
	}
	found, err := patiently(e, f.Folder, f.Path, func(beat func()) (store.File, error) {
		own := rec
		err := e.examine(ctx, f, &own, beat)
		return own, err
	})
	if errors.Is(err, errHangs) {
		return rec, err
	}
	return found, err
}

// examine describes and hashes the file into rec; beat is told of progress.
func (e *Engine) examine(ctx context.Context, f watcher.File, rec *store.File, beat func()) error {
	folder := e.folders[f.Folder]
	if f.Orphan {
		return &verdict{state: store.Waiting, reason: "there is no file beside this sidecar yet",
			hint: "put the file " + strings.TrimSuffix(filepath.Base(f.Path), sidecar.Suffix) + " beside it, or remove the sidecar"}
	}
	if f.Err != nil {
		return watchVerdict(f.Err)
	}
	if f.Sidecar == "" && !folder.Optional {
		return waitingForSidecar(f.Path)
	}
	d, err := e.describe(folder, f.Path, f.Sidecar, store.Sig(f.SidecarSig))
	if d.library.Name != "" {
		rec.Library = d.library.Name
	}
	if err != nil {
		return unreadable(err)
	}
	rec.Dest = d.dest
	if f.Sig.Size == 0 && !folder.AllowEmpty {
		return refused("save the file again with its content; if empty files are meant, set allow_empty: true for this folder", "the file is empty")
	}
	if err := checkContent(folder, f.Path); err != nil {
		return unreadable(err)
	}
	rec.SHA256, err = hash(ctx, f, beat)
	return unreadable(err)
}

func waitingForSidecar(path string) *verdict {
	name := filepath.Base(path) + sidecar.Suffix
	if len(name) > longestName {
		return &verdict{state: store.Waiting, reason: "the file has no sidecar, and its name is too long for one",
			hint: fmt.Sprintf("shorten the file's name to %d bytes at most, then put a sidecar beside it", longestName-len(sidecar.Suffix))}
	}
	return &verdict{state: store.Waiting, reason: "the file has no sidecar yet", hint: "put " + name + " beside it, which says whose file it is"}
}

func watchVerdict(err error) error {
	var ambiguous *sidecar.AmbiguousError
	if errors.As(err, &ambiguous) {
		return refused("give each file a sidecar of its own, named like the whole file with "+sidecar.Suffix+" behind", "%s", err)
	}
	return unreadable(err)
}

// hash returns the content's SHA-256 in hex. A file that is not the one the
// watcher saw, before or after, is errMoved.
func hash(ctx context.Context, f watcher.File, beat func()) (string, error) {
	file, err := watcher.Open(f.Path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	h := sha256.New()
	n, err := io.CopyBuffer(h, &readerWithContext{ctx, file, beat}, make([]byte, 256<<10))
	if err != nil {
		return "", err
	}
	if now, err := watcher.Fstat(file); err != nil || now != f.Sig || n != f.Sig.Size {
		return "", errMoved
	}
	if now, err := watcher.Lstat(f.Path); err != nil || now != f.Sig { // another file may lie there by now
		return "", errMoved
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// readerWithContext ends a long read soon after ctx does.
type readerWithContext struct {
	ctx  context.Context
	r    io.Reader
	beat func() // called before each read
}

func (r *readerWithContext) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	r.beat()
	return r.r.Read(p)
}

// enqueue hands a described and hashed file to the drain.
func (e *Engine) enqueue(rec store.File) error {
	if err := e.forgetOrphan(rec); err != nil {
		return err
	}
	rec.After = e.folders[rec.Folder].After
	state, err := store.State(""), failpoint.Hit("intake.queue")
	if err == nil {
		state, err = e.Store.Enqueue(rec, time.Now())
	}
	if err == nil {
		err = failpoint.Hit("intake.queued")
	}
	if err != nil {
		return fmt.Errorf("queue file: %w", err)
	}
	e.storeWorks()
	switch state {
	case store.Queued, store.Retrying, store.Held, store.Pushing:
		e.Log.Info("queued", e.file(rec.Path), "library", rec.Library, "size", rec.Sig.Size)
		e.wake(rec.Library, false)
	case store.Duplicate:
		e.Log.Info("already delivered under another name", e.file(rec.Path), "library", rec.Library)
		return e.finish(rec.Path)
	case store.Delivered: // this very file, dropped again
		return e.finish(rec.Path)
	}
	return nil
}

// forgetOrphan removes what was noted of a sidecar that waited for its file.
func (e *Engine) forgetOrphan(rec store.File) error {
	if rec.Sidecar == "" {
		return nil
	}
	path := filepath.Join(filepath.Dir(rec.Path), rec.Sidecar)
	orphan, known, err := e.Store.Get(path)
	if err != nil || !known {
		return err
	}
	if err := try(e, rec.Folder, rec.Path, func() error { return e.unnote(orphan) }); err != nil && !inUse(err) {
		return err
	}
	return e.Store.Forget(path)
}

// settleVerdict writes down why a file rests, and tells its owner.
func (e *Engine) settleVerdict(rec store.File, v *verdict) error {
	old, _, err := e.Store.Get(rec.Path)
	if err != nil {
		return fmt.Errorf("look up file: %w", err)
	}
	rec.State, rec.Reason, rec.Hint, rec.Code, rec.Message = v.state, v.reason, v.hint, v.code, v.message
	rec.UpdatedAt, rec.Depends = time.Now(), cmp.Or(v.depends, e.stamps[rec.Folder])
	if isUnread(rec) && !isUnread(old) && !refusedUnread(old) {
		rec.Since = rec.UpdatedAt
	}
	if err := e.forgetOrphan(rec); err != nil {
		return err
	}
	if err := failpoint.Hit("intake.verdict"); err != nil {
		return fmt.Errorf("record %s: %w", v.state, err)
	}
	if err := e.Store.Put(rec); err != nil {
		return fmt.Errorf("record %s: %w", v.state, err)
	}
	e.storeWorks()
	if v.state == store.Refused && (old.State != store.Refused || old.Reason != v.reason) {
		if err := e.Store.Audit("refused", rec); err != nil {
			return fmt.Errorf("record refusal: %w", err)
		}
		e.Log.Warn("refused", e.file(rec.Path), "reason", e.patientSafe(v))
	}
	if isUnread(rec) && !isUnread(old) {
		e.Log.Warn("a file or its sidecar cannot be read; it is tried again", e.file(rec.Path), "reason", e.patientSafe(v))
	}
	return e.keepNote(rec, time.Now())
}

// patientSafe is a verdict for the log: reasons quote sidecars and names.
func (e *Engine) patientSafe(v *verdict) string {
	switch {
	case e.FullNames:
		return v.reason
	case v.code != "":
		return v.code
	default:
		return "see status or the error note"
	}
}
