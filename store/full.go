package store

import (
	"errors"
	"strings"
	"syscall"
)

// diskError is an error of a disk, known as one of the kinds below whatever
// the system, or a library, calls it.
type diskError struct {
	err  error
	kind syscall.Errno
}

func (e *diskError) Error() string   { return e.err.Error() }
func (e *diskError) Unwrap() []error { return []error{e.err, e.kind} }

// diskFull makes errors.Is(err, syscall.ENOSPC) true of every error that means
// a full disk or a used-up quota, and leaves EIO, EROFS, EFBIG (a limit on the
// size of files), EPERM and EACCES recognisable. bbolt
// 1.5 passes on only the text of an error when growing its file ("file resize
// error: %s", "file sync error: %s", "mmap allocate error: %s").
func diskFull(err error) error {
	if err == nil || errors.Is(err, syscall.ENOSPC) {
		return err
	}
	for _, full := range fullErrors {
		if means(err, full) {
			return &diskError{err, syscall.ENOSPC}
		}
	}
	for _, kind := range []syscall.Errno{syscall.EIO, syscall.EROFS, syscall.EFBIG, syscall.EPERM, syscall.EACCES} {
		if !errors.Is(err, kind) && means(err, kind) {
			return &diskError{err, kind}
		}
	}
	return err
}

func means(err, kind error) bool {
	return errors.Is(err, kind) || strings.HasSuffix(err.Error(), kind.Error())
}
