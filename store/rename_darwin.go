package store

import (
	"errors"

	"golang.org/x/sys/unix"
)

// renameNew renames unless the new name exists (fs.ErrExist) or is on another
// file system (errCrossDevice).
func renameNew(oldpath, newpath string) error {
	err := unix.RenamexNp(oldpath, newpath, unix.RENAME_EXCL)
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EINVAL) {
		return linkNew(oldpath, newpath) // the file system does not know the flag
	}
	return err
}
