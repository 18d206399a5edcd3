//go:build unix

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// initialMmap is how many bytes of addresses the database takes at once. Without
// it bbolt maps a growing file anew again and again, and waits for every reader
// to end before: a backup would hold up all pushes. It takes no memory.
const initialMmap = 1 << 30

var fullErrors = []error{syscall.ENOSPC, syscall.EDQUOT}

// Protect makes a folder accessible to its owner only.
func Protect(dir string) error { return os.Chmod(dir, 0o700) }

// adopt gives a new file to the owner of its folder. Only root can and needs to:
// what an administrator's command makes, the service must be able to read.
func adopt(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode()&os.ModeSticky != 0 {
		return nil
	}
	return os.Lchown(path, int(owner.Uid), int(owner.Gid))
}

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
