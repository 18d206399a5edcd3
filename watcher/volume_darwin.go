package watcher

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// eventsLimit is the number of files and directories up to which a folder is
// watched by events: kqueue holds a descriptor for each of them, and a process
// has 256 by default (fsnotify issue 129).
const eventsLimit = 200

// volume is what the file system of a folder means for watching it.
type volume struct {
	name      string
	remote    bool // changes may be made where this kernel does not see them
	renumbers bool // inode numbers do not last
}

func volumeOf(path string) (volume, error) {
	var st unix.Statfs_t
	err := ignoringEINTR(func() error { return unix.Statfs(path, &st) })
	if err != nil {
		return volume{}, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	name := unix.ByteSliceToString(st.Fstypename[:])
	return volume{
		name:      name,
		remote:    st.Flags&unix.MNT_LOCAL == 0,
		renumbers: name == "msdos" || name == "exfat" || name == "macfuse",
	}, nil
}

// spelled says whether the entry at path has exactly this name, which only a
// listing tells. Where it is asked, eventsLimit keeps folders small.
func spelled(path string) bool {
	f, err := os.Open(filepath.Dir(path))
	if err != nil {
		return true // nothing is known against it
	}
	defer func() { _ = f.Close() }()
	names, err := f.Readdirnames(-1)
	return err != nil || slices.Contains(names, filepath.Base(path))
}

// Open opens a file for reading. Darwin cannot tell whether somebody is still
// writing to it, so ErrInUse is never answered here.
func Open(path string) (*os.File, error) { return openRegular(path) }
