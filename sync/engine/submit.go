package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/digime-sync/digime-sync/sidecar"
	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/watcher"
)

// UsageError says that a file cannot be pushed by name as it was given.
type UsageError struct{ Reason, Hint string }

func (e *UsageError) Error() string { return e.Reason }

// Push pushes these files now, without waiting for them to settle, and without
// the daemon: it drains their queue itself. again sends what was delivered
// before. The result has one record for each path.
func (e *Engine) Push(ctx context.Context, paths []string, again bool) ([]store.File, error) {
	only := map[string]bool{}
	for _, path := range paths {
		if err := e.Submit(ctx, path, again); err != nil {
			return nil, err
		}
		only[path] = true
	}
	if err := e.drain(ctx, true, only); err != nil {
		return nil, err
	}
	var files []store.File
	for _, path := range paths {
		f, err := e.outcome(path)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// Submit queues one file now, and asks the drain to try its library at once.
// A file that cannot be queued as it lies there is recorded as such; the error
// is a *UsageError where the path is none of ours.
func (e *Engine) Submit(ctx context.Context, path string, again bool) error {
	f, err := patiently(e, e.folderPath(path), path, func(func()) (watcher.File, error) { return e.lookAt(path) })
	if errors.Is(err, errHangs) {
		return folderHangs(path)
	}
	if err != nil {
		return err
	}
	rec, err := e.examined(ctx, f)
	var v *verdict
	switch {
	case errors.As(err, &v):
		return e.settleVerdict(rec, v)
	case errors.Is(err, errMoved), errors.Is(err, watcher.ErrInUse):
		return &UsageError{Reason: path + " is still being written to", Hint: "wait until the program that writes it has closed it"}
	case errors.Is(err, errHangs):
		return folderHangs(path)
	case err != nil:
		return err
	}
	rec.Again = again
	if err := e.enqueue(rec); err != nil {
		return err
	}
	_, _, err = e.sendNow(path)
	return err
}

// sendNow makes a queued file due now, whatever it waits for; false if it is
// not queued, or is being pushed.
func (e *Engine) sendNow(path string) (store.File, bool, error) {
	f, ok, err := e.Store.Hasten(path, time.Now())
	if ok {
		e.wake(f.Library, true)
	}
	return f, ok, err
}

// Release sends files that are held back by their folder's hold now: the file
// at this path, or all below it. It returns those it released.
func (e *Engine) Release(path string) ([]store.File, error) {
	var held []store.File
	err := e.Store.Unfinished(func(f store.File) error {
		if below(f.Path, path) && f.State == store.Queued && f.NextAttempt.After(time.Now()) {
			held = append(held, f)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(held) == 0 {
		return nil, &UsageError{Reason: "nothing is held back at " + path, Hint: "digime-sync status " + path}
	}
	for _, f := range held {
		if _, _, err := e.sendNow(f.Path); err != nil {
			return nil, err
		}
		if err := e.Store.Audit("released", f); err != nil {
			return nil, err
		}
	}
	return held, nil
}

// lookAt makes of a path what the watcher would have sent for it.
func (e *Engine) lookAt(path string) (watcher.File, error) {
	folder := e.folderOf(path)
	if folder == nil {
		return watcher.File{}, &UsageError{Reason: path + " is in none of the configured folders",
			Hint: "move it into one, or add its folder to the configuration"}
	}
	if why := watcher.Excluded(folder.Folder, path); why != "" {
		return watcher.File{}, &UsageError{Reason: path + " is left out: " + why, Hint: "rename the file, or change include: and exclude: of its folder"}
	}
	sig, err := watcher.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist): // for which Windows has words of its own
		return watcher.File{}, &UsageError{Reason: path + ": there is no such file", Hint: "check the path"}
	case err != nil:
		return watcher.File{}, &UsageError{Reason: err.Error(), Hint: "check the path"}
	}
	f := watcher.File{Folder: folder.Path, Path: path, Sig: sig}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return f, fmt.Errorf("list folder: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return f, fmt.Errorf("list folder: %w", err)
	}
	side, err := sidecar.NewIndex(names).For(filepath.Base(path))
	if err != nil {
		f.Err = err
	}
	if side != "" {
		f.Sidecar = filepath.Join(filepath.Dir(path), side)
		f.SidecarSig, err = watcher.Lstat(f.Sidecar)
		if err != nil {
			return f, fmt.Errorf("look at sidecar: %w", err)
		}
	}
	return f, nil
}

// Outcome waits until a submitted file has come to rest, or its attempt has
// failed in passing. A file in a missing folder is not waited for, nor one whose
// host cannot be reached.
func (e *Engine) Outcome(ctx context.Context, path string) (store.File, error) {
	for {
		f, ok, err := e.Store.Get(path)
		if err != nil {
			return f, fmt.Errorf("look up file: %w", err)
		}
		waits := f.State == store.Queued || f.State == store.Pushing
		if ok && (!waits || e.missing(f.Folder) || f.State == store.Queued && (e.paused(f.Library) || e.host.settled(time.Now()) != nil)) {
			return e.outcome(path)
		}
		select {
		case <-ctx.Done():
			return f, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (e *Engine) outcome(path string) (store.File, error) {
	f, ok, err := e.Store.Get(path)
	if err != nil {
		return f, fmt.Errorf("look up file: %w", err)
	}
	if !ok {
		return store.File{Path: path, State: store.Settling}, nil
	}
	if isUnread(f) {
		return f, nil
	}
	holds, err := e.Store.Holds()
	if err != nil {
		return f, fmt.Errorf("read holds: %w", err)
	}
	f = waitsForHost(f, e.host.outage(), time.Now())
	if h, held := holds[f.Library]; held {
		f = withHold(f, h)
	}
	return e.withPause(f), nil
}
