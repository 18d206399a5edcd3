//go:build unix

package store

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

var errCrossDevice error = syscall.EXDEV

// linkNew does the work of renameNew with a second name, and where there are no
// links either, as on FAT, by taking the new name with an empty file first.
func linkNew(oldpath, newpath string) error {
	err := os.Link(oldpath, newpath)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOTSUP) {
		f, err := os.OpenFile(newpath, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		return os.Rename(oldpath, newpath)
	}
	if err != nil {
		return err
	}
	if err := os.Remove(oldpath); err != nil {
		return fmt.Errorf("remove the old name: %w", err)
	}
	return nil
}
