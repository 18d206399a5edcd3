package store

import (
	"errors"
	"strings"
	"syscall"
)

// fullError is an error that means a full disk, whatever the system calls it.
type fullError struct{ err error }

func (e *fullError) Error() string   { return e.err.Error() }
func (e *fullError) Unwrap() []error { return []error{e.err, syscall.ENOSPC} }

// diskFull makes errors.Is(err, syscall.ENOSPC) true of every error that means
// a full disk or a used-up quota. bbolt 1.5 passes on only the text of an error
// when growing its file ("file resize error: %s", "mmap allocate error: %s").
func diskFull(err error) error {
	if err == nil || errors.Is(err, syscall.ENOSPC) {
		return err
	}
	for _, full := range fullErrors {
		if errors.Is(err, full) || strings.HasSuffix(err.Error(), full.Error()) {
			return &fullError{err}
		}
	}
	return err
}
