//go:build unix

package store

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

var fullErrors = []error{syscall.ENOSPC, syscall.EDQUOT}

// Protect makes a folder accessible to its owner only.
func Protect(dir string) error { return os.Chmod(dir, 0o700) }

func replace(oldpath, newpath string) error { return os.Rename(oldpath, newpath) }

// syncDir makes renames in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("flush folder: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("flush folder: %w", err)
	}
	return nil
}
