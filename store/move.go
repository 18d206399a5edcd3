package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Move renames a file durably and never overwrites one: errors.Is(err,
// fs.ErrExist) if the new name is taken. To another file system it copies,
// reads the copy back, and only then removes the original.
func Move(oldpath, newpath string) error {
	err := renameNew(oldpath, newpath)
	if errors.Is(err, errCrossDevice) {
		err = copyAcross(oldpath, newpath)
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

func copyAcross(oldpath, newpath string) (err error) {
	src, err := os.Open(oldpath)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("only a regular file can be copied")
	}
	temp, err := copyTemp(src, newpath)
	if err != nil {
		return err
	}
	if err := errors.Join(os.Chmod(temp, info.Mode().Perm()), os.Chtimes(temp, info.ModTime(), info.ModTime())); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := renameNew(temp, newpath); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := syncDir(filepath.Dir(newpath)); err != nil {
		return err
	}
	return step("remove the original", os.Remove(oldpath))
}

// copyTemp makes a flushed copy of src beside newpath and checks it by reading it.
func copyTemp(src *os.File, newpath string) (temp string, err error) {
	f, err := os.CreateTemp(filepath.Dir(newpath), ".digime-*.tmp")
	if err != nil {
		return "", err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	want, got := sha256.New(), sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, want), src); err != nil {
		return "", step("copy", err)
	}
	if err := f.Sync(); err != nil {
		return "", step("flush the copy", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	if _, err := io.Copy(got, f); err != nil {
		return "", step("read the copy", err)
	}
	if string(want.Sum(nil)) != string(got.Sum(nil)) {
		return "", errors.New("the copy differs from the original")
	}
	return f.Name(), nil
}
