package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/digime-sync/digime-sync/store/failpoint"
)

// Move renames a file durably and never overwrites one: errors.Is(err,
// fs.ErrExist) if the new name is taken. To another file system it copies,
// reads the copy back, and removes the original only if it has not changed
// meanwhile.
func Move(oldpath, newpath string) error {
	err := failpoint.Hit("move.rename")
	if err == nil {
		err = renameNew(oldpath, newpath)
	}
	if errors.Is(err, errCrossDevice) {
		err = moveAcross(oldpath, newpath)
	}
	if err == nil {
		err = failpoint.Hit("move.renamed")
	}
	if err != nil {
		return fmt.Errorf("move %s to %s: %w", oldpath, newpath, diskFull(err))
	}
	for _, dir := range []string{filepath.Dir(newpath), filepath.Dir(oldpath)} {
		if err := syncDir(dir); err != nil {
			return fmt.Errorf("move %s to %s: %w", oldpath, newpath, err)
		}
	}
	return nil
}

func moveAcross(oldpath, newpath string) error {
	before, err := os.Lstat(oldpath)
	if err != nil {
		return err
	}
	if !before.Mode().IsRegular() {
		return errors.New("only a regular file can be copied to another file system")
	}
	temp, err := copyBeside(oldpath, newpath, before)
	if err != nil {
		return err
	}
	err = failpoint.Hit("across.place")
	if err == nil {
		err = renameNew(temp, newpath)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := failpoint.Hit("across.placed"); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(newpath)); err != nil {
		return err
	}
	return removeOriginal(oldpath, newpath, before)
}

// removeOriginal ends a move by copying. A file that changed meanwhile stays and
// its copy goes; one that is not there any more leaves its copy as the only one.
func removeOriginal(oldpath, newpath string, before fs.FileInfo) error {
	after, err := os.Lstat(oldpath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && (after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime())) {
		err = errors.New("it changed while it was copied")
	}
	if err != nil {
		return errors.Join(err, os.Remove(newpath))
	}
	if err := failpoint.Hit("across.remove"); err != nil {
		return step("remove the original", err)
	}
	return step("remove the original", os.Remove(oldpath))
}

// copyBeside makes a flushed copy with the same permissions and time in the
// folder of newpath, and checks it by reading it back.
func copyBeside(oldpath, newpath string, info fs.FileInfo) (temp string, err error) {
	src, err := os.Open(oldpath)
	if err != nil {
		return "", err
	}
	defer src.Close()
	f, err := os.CreateTemp(filepath.Dir(newpath), tempPattern)
	if err != nil {
		return "", step("create", err)
	}
	err = copyChecked(f, src)
	err = errors.Join(err, step("close", f.Close()))
	if err == nil {
		err = step("set time", os.Chtimes(f.Name(), info.ModTime(), info.ModTime()))
	}
	if err == nil {
		err = step("set permissions", os.Chmod(f.Name(), info.Mode().Perm()))
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

func copyChecked(f *os.File, src io.Reader) error {
	want, got := sha256.New(), sha256.New()
	if err := failpoint.Hit("across.copy"); err != nil {
		return step("copy", err)
	}
	if _, err := io.Copy(io.MultiWriter(f, want), src); err != nil {
		return step("copy", err)
	}
	if err := failpoint.Hit("across.flush"); err != nil {
		return step("flush the copy", err)
	}
	if err := f.Sync(); err != nil {
		return step("flush the copy", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return step("read the copy", err)
	}
	if _, err := io.Copy(got, f); err != nil {
		return step("read the copy", err)
	}
	if !bytes.Equal(want.Sum(nil), got.Sum(nil)) {
		return errors.New("the copy differs from the original")
	}
	return nil
}
