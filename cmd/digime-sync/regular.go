package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// maxLocalFile bounds a file of conf.d or policy.d, in bytes.
const maxLocalFile = 64 << 20

var errNotRegular = errors.New("it is no file, but a folder, a pipe or a device")

// openRegular opens a file for reading and waits for nobody: opening a FIFO
// waits for its writer, perhaps for ever. What was a file a moment ago may be one
// now, so the opened one counts. flags go with O_RDONLY. The error wraps
// errNotRegular where it is no file.
func openRegular(path string, flags int) (*os.File, error) {
	info, err := os.Stat(path) // opening alone may do something to a device
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errNotRegular}
	}
	f, err := os.OpenFile(path, os.O_RDONLY|openAtOnce|flags, 0)
	if err != nil {
		return nil, err
	}
	info, err = f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errNotRegular}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// readRegular reads a file of at most limit bytes, and waits for nobody.
func readRegular(path string, flags int, limit int64) ([]byte, error) {
	f, err := openRegular(path, flags)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("it has more than %d bytes", limit)}
	}
	return data, err
}
