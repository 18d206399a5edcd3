package watcher

import (
	"errors"
	"io/fs"
)

// ErrInUse is what Open answers while somebody has the file open for writing.
var ErrInUse = errors.New("in use by another program")

// errNotRegular is what Open answers for anything but a regular file.
var errNotRegular = errors.New("not a regular file")

// meta is what a stat tells.
type meta struct {
	sig     Sig
	mode    fs.FileMode // type bits only
	ignored string      // why the system's attributes exclude the file, "" when they do not (Windows)
}

// Lstat gives the Sig a File of this path would have. A symbolic link has the
// Sig of the file it leads to, for that is what is pushed and what can change.
// The error is an *fs.PathError.
func Lstat(path string) (Sig, error) {
	m, err := stat(path, false)
	if err == nil && m.mode&fs.ModeSymlink != 0 {
		m, err = stat(path, true)
	}
	return m.sig, err
}

// cause strips the path from an error of package os: paths are patient data and stay out of the log.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
