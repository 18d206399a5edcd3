package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// cannotRead says why a file that was named cannot be read, in the same words on
// every system; the error names the step.
func cannotRead(step, path string, err error) error {
	info, statErr := os.Stat(path)
	switch {
	case statErr == nil && info.IsDir():
		return failure(exitError, "name a file in it", "%s: %s is a folder", step, plain(path))
	case errors.Is(err, fs.ErrNotExist):
		return failure(exitError, "check the path", "%s: %s: there is no such file", step, plain(path))
	}
	return fmt.Errorf("%s: %w", step, err)
}

// cannotMake says why a new file cannot be made where it was named.
func cannotMake(step, path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrExist):
		return failure(exitError, "name a file that does not exist yet", "%s: %s exists", step, plain(path))
	case errors.Is(err, fs.ErrNotExist):
		return failure(exitError, "make that folder, or name another", "%s: there is no folder %s", step, plain(filepath.Dir(path)))
	}
	return fmt.Errorf("%s: %w", step, err)
}
