package store

import (
	"errors"

	"golang.org/x/sys/unix"
)

// renameNew renames unless the new name exists (fs.ErrExist) or is on another
// file system (errCrossDevice).
func renameNew(oldpath, newpath string) error {
	err := unix.Renameat2(unix.AT_FDCWD, oldpath, unix.AT_FDCWD, newpath, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return linkNew(oldpath, newpath) // the file system, or the kernel, does not know the flag
	}
	return err
}
