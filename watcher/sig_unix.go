//go:build linux || darwin

package watcher

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// stat reads the metadata of path, or of what the link at path leads to.
func stat(path string, follow bool) (meta, error) {
	var st unix.Stat_t
	for {
		var err error
		if follow {
			err = unix.Stat(path, &st)
		} else {
			err = unix.Lstat(path, &st)
		}
		if err == nil {
			return metaOf(path, &st), nil
		}
		if err != unix.EINTR {
			return meta{}, &fs.PathError{Op: "stat", Path: path, Err: err}
		}
	}
}

// Fstat gives the Sig of an open file, to be compared with that of its File.
func Fstat(f *os.File) (Sig, error) {
	var st unix.Stat_t
	conn, err := f.SyscallConn()
	if err != nil {
		return Sig{}, err
	}
	var statErr error
	err = conn.Control(func(fd uintptr) {
		statErr = ignoringEINTR(func() error { return unix.Fstat(int(fd), &st) })
	})
	if err == nil {
		err = statErr
	}
	if err != nil {
		return Sig{}, &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return metaOf(f.Name(), &st).sig, nil
}

func metaOf(path string, st *unix.Stat_t) meta {
	m := meta{mode: fileType(uint32(st.Mode))}
	m.sig = Sig{Size: st.Size, ModTime: st.Mtim.Nano(), ChangeTime: st.Ctim.Nano()}
	if m.mode.IsRegular() && stableIDs.of(uint64(st.Dev), path) {
		m.sig.ID = strconv.FormatUint(st.Ino, 10)
	}
	return m
}

func fileType(mode uint32) fs.FileMode {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return 0
	case unix.S_IFDIR:
		return fs.ModeDir
	case unix.S_IFLNK:
		return fs.ModeSymlink
	case unix.S_IFIFO:
		return fs.ModeNamedPipe
	case unix.S_IFSOCK:
		return fs.ModeSocket
	case unix.S_IFCHR, unix.S_IFBLK:
		return fs.ModeDevice
	}
	return fs.ModeIrregular
}

// stableIDs remembers for each device whether its inode numbers last. On FAT
// and FUSE they are made up when the kernel caches the inode, so that a file nobody touched may show another.
var stableIDs deviceCache

type deviceCache struct{ known sync.Map } // device number → bool

func (c *deviceCache) of(dev uint64, path string) bool {
	if stable, ok := c.known.Load(dev); ok {
		return stable.(bool)
	}
	volume, err := volumeOf(path)
	if err != nil {
		return true
	}
	stable := !volume.remote && !volume.renumbers
	c.known.Store(dev, stable)
	return stable
}

// identity is what tells a directory from another one later put in its place.
// A mount has its device differ from that of its parent. One that may be read but
// not entered is an error: nothing in it can be looked at.
func identity(path string) (id string, mount bool, err error) {
	var st, up unix.Stat_t
	if err = ignoringEINTR(func() error { return unix.Stat(path, &st) }); err == nil && fileType(uint32(st.Mode)) == fs.ModeDir {
		err = ignoringEINTR(func() error { return unix.Stat(path+"/.", &st) })
	}
	if err != nil {
		return "", false, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if fileType(uint32(st.Mode)) != fs.ModeDir {
		return "", false, &fs.PathError{Op: "stat", Path: path, Err: unix.ENOTDIR}
	}
	parent := filepath.Join(path, "..")
	if real, linkErr := filepath.EvalSymlinks(path); linkErr == nil {
		parent = filepath.Dir(real)
	}
	if upErr := unix.Stat(parent, &up); upErr == nil {
		mount = up.Dev != st.Dev
	}
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino), mount, nil
}

// openRegular opens a file for reading without ever waiting for it: what was a
// file a moment ago may be a FIFO now.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errNotRegular}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func ignoringEINTR(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
