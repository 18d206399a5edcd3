package store

import (
	"errors"
	"fmt"
	"os"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// MakeDir makes a folder in an existing one, if it is not there, for the owner
// of that one alone: what root's commands make, the service must be able to use.
func MakeDir(path string) error {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err == nil {
		err = adopt(path)
	}
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	return nil
}

// LockFile keeps every other process and goroutine from the same lock until
// unlock is called. It waits as long as that takes. The file is made where it is
// missing, as the folder owner's.
func LockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(adopt(path), f.Close()); err != nil {
		return nil, err
	}
	return lockedfile.MutexAt(path).Lock()
}
