package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/digime-sync/digime-sync/store/failpoint"
)

// tempPattern is hidden, and what scans for files to push leaves out.
const tempPattern = ".digime-*.tmp"

// staleTemp is the age from which a temporary file of the state folder is one
// that a killed process left: another one that writes a token is not disturbed.
const staleTemp = time.Hour

// RemoveTemps removes the temporary files of this program that are in a folder
// since before a time: those that killed processes left. A folder that is not
// there is no error.
func RemoveTemps(dir string, before time.Time) error {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	var removed error
	for {
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			if !isTemp(name) {
				continue
			}
			path := filepath.Join(dir, name)
			if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.ModTime().Before(before) {
				removed = errors.Join(removed, os.Remove(path))
			}
		}
		if err == io.EOF {
			return removed
		}
		if err != nil {
			return errors.Join(removed, err)
		}
	}
}

// isTemp says whether os.CreateTemp makes such names of the pattern.
func isTemp(name string) bool {
	begin, end, _ := strings.Cut(tempPattern, "*")
	number, ok := strings.CutPrefix(name, begin)
	number, ends := strings.CutSuffix(number, end)
	_, err := strconv.ParseUint(number, 10, 64)
	return ok && ends && err == nil
}

// CanWrite proves that a file can be made and written in a folder, by a hidden one
// that is removed at once. Errors are the file system's; a full disk's wraps
// syscall.ENOSPC.
func CanWrite(dir string) error {
	f, err := os.CreateTemp(dir, tempPattern)
	if err != nil {
		return diskFull(err)
	}
	_, err = f.Write(make([]byte, 1<<10)) // an empty file fits on a full disk
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(diskFull(err), f.Close(), os.Remove(f.Name()))
}

// WriteFile replaces a file durably: readers see the old content or the new,
// and after return a power cut does not change that. The folder must exist.
// Errors name the step.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	temp, err := writeTemp(path, data, perm)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, diskFull(err))
	}
	err = failpoint.Hit("file.rename")
	if err == nil {
		err = replace(temp, path)
	}
	if err != nil {
		return fmt.Errorf("write %s: rename: %w", path, errors.Join(diskFull(err), os.Remove(temp)))
	}
	err = failpoint.Hit("file.renamed")
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, diskFull(err))
	}
	return nil
}

// writeTemp makes a flushed, hidden file beside path.
func writeTemp(path string, data []byte, perm fs.FileMode) (temp string, err error) {
	if err := failpoint.Hit("file.create"); err != nil {
		return "", fmt.Errorf("create: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), tempPattern)
	if err != nil {
		return "", fmt.Errorf("create: %w", err)
	}
	err = step("set permissions", errors.Join(f.Chmod(perm), adopt(f.Name())))
	if err == nil {
		err = step("write", failpoint.Hit("file.write"))
	}
	if err == nil {
		_, err = f.Write(data)
		err = step("write", err)
	}
	if err == nil {
		err = step("flush", failpoint.Hit("file.flush"))
	}
	if err == nil {
		err = step("flush", f.Sync())
	}
	if closeErr := step("close", f.Close()); err == nil {
		err = closeErr
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

func step(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}
