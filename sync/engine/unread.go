package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/digime-sync/digime-sync/sidecar"
	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/watcher"
)

// A file, or its sidecar, that the system does not let be read now is not at
// fault: a disk or share may have failed for a moment, the process may have too
// many files open, somebody may have taken its rights away. It is retrying, and
// is looked at again by itself, soon and then at growing intervals, for as long
// as it lies there. Refused is only what its content, or what lies there, is wrong about.
const (
	firstLook = 15 * time.Second // after it could not be read; twice as long each time
	lastLook  = 5 * time.Minute  // no interval is longer
)

// dependsOnAccess marks the record of a file that could not be read.
const dependsOnAccess = "access"

// unreadable turns what the file system says of one file into a verdict.
func unreadable(err error) error {
	var v *verdict
	switch {
	case inUse(err):
		return watcher.ErrInUse
	case err == nil, errors.As(err, &v), errors.Is(err, errMoved),
		errors.Is(err, fs.ErrNotExist), errors.Is(err, context.Canceled), errors.Is(err, errHangs):
		return err
	}
	what := "the file"
	var p *fs.PathError
	if errors.As(err, &p) && sidecar.Is(p.Path) {
		what = "the sidecar " + filepath.Base(p.Path)
	}
	switch {
	case !systemSays(err):
		return refused("put a plain file there in its place", "%s cannot be read: %v", what, pathless(err))
	case errors.Is(err, fs.ErrPermission):
		return unread("give the user that the service runs as the right to read it, and to enter its folder; it is tried again by itself", "%s cannot be read: permission denied", what)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM):
		return unread("nothing to do, it is tried again by itself; if it stays so, raise the limit on open files, or give the machine more memory", "%s cannot be read: %v", what, pathless(err))
	}
	return unread("check the disk or share it lies on; it is tried again by itself", "%s cannot be read: %v", what, pathless(err))
}

// systemSays tells an error of the system, which passes or can be mended without
// the file's doing, from one about what lies there.
func systemSays(err error) bool {
	for _, e := range []error{syscall.EISDIR, syscall.ELOOP, syscall.ENAMETOOLONG} {
		if errors.Is(err, e) {
			return false
		}
	}
	return errors.As(err, new(syscall.Errno))
}

func unread(hint, format string, args ...any) error {
	return &verdict{state: store.Retrying, reason: fmt.Sprintf(format, args...), hint: hint, depends: dependsOnAccess}
}

// isUnread says whether a file rests because it could not be read. It has no
// place in the queue.
func isUnread(f store.File) bool { return f.State == store.Retrying && f.Depends == dependsOnAccess }

// refusedUnread says whether a file was refused for that, as earlier versions
// did, which noted not what it depended on.
func refusedUnread(f store.File) bool {
	which, why, ok := strings.Cut(f.Reason, " cannot be read: ")
	return ok && why != "" && f.State == store.Refused && f.Code == "" && (f.Depends == "" || f.Depends == dependsOnAccess) &&
		(which == "the file" || strings.HasPrefix(which, "the sidecar ") && sidecar.Is(which))
}

// nextLook is when a file that could not be read since then is looked at again,
// next after a time: after 15 s, 30 s, 1, 2, 4 minutes, then every 5 minutes.
func nextLook(since, after time.Time) time.Time {
	age := after.Sub(since)
	if age < 0 { // nothing has been looked at yet, or the clock was set back
		return after
	}
	at := firstLook
	for at <= age && at < lastLook {
		at *= 2
	}
	if at > age && at < lastLook {
		return since.Add(at)
	}
	const doubled = 4 * time.Minute // from here on they are all the same
	return since.Add(doubled + (max(age-doubled, 0)/lastLook+1)*lastLook)
}

// notReadable keeps a file that was queued in its place, until it can be read again.
func (e *Engine) notReadable(f store.File, v *verdict) error {
	now := time.Now()
	if f.Reason != v.reason {
		f.Since = now
		e.Log.Warn("a queued file or its sidecar cannot be read; it is tried again", e.file(f.Path), "reason", e.patientSafe(v))
	}
	f.State, f.Reason, f.Hint, f.UpdatedAt = store.Retrying, v.reason, v.hint, now
	f.Code, f.Message = "", ""
	return e.Store.Defer(f, nextLook(f.Since, now))
}

// canRead says whether a file and its sidecar can be opened.
func canRead(f store.File) bool {
	for _, path := range []string{f.Path, sidecarPath(f)} {
		if path == "" {
			continue
		}
		file, err := watcher.Open(path)
		if err != nil {
			return false
		}
		file.Close()
	}
	return true
}
