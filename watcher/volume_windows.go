package watcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/windows"
)

// eventsLimit is the number of files and directories up to which a folder is
// watched by events; 0 is no limit.
const eventsLimit = 0

// volume is what the file system of a folder means for watching it.
type volume struct {
	name   string
	remote bool // changes may be made where this kernel does not see them
}

// volumeOf knows UNC paths by their look and mapped drives by GetDriveTypeW.
func volumeOf(path string) (volume, error) {
	name := filepath.VolumeName(path)
	if strings.HasPrefix(name, `\\`) && !strings.HasPrefix(name, `\\?\`) && !strings.HasPrefix(name, `\\.\`) {
		return volume{name: "SMB", remote: true}, nil
	}
	if strings.HasPrefix(strings.ToUpper(name), `\\?\UNC\`) {
		return volume{name: "SMB", remote: true}, nil
	}
	given, err := windows.UTF16PtrFromString(extended(path))
	if err != nil {
		return volume{}, &fs.PathError{Op: "volume", Path: path, Err: err}
	}
	root := make([]uint16, windows.MAX_LONG_PATH)
	if err := windows.GetVolumePathName(given, &root[0], uint32(len(root))); err != nil {
		return volume{}, &fs.PathError{Op: "volume", Path: path, Err: err}
	}
	if windows.GetDriveType(&root[0]) == windows.DRIVE_REMOTE {
		return volume{name: "SMB", remote: true}, nil
	}
	return volume{}, nil
}

// stat reads the metadata of path, or of what the link at path leads to. No
// file index is asked for: that would open every file of every scan.
func stat(path string, follow bool) (meta, error) {
	call := os.Lstat
	if follow {
		call = os.Stat
	}
	info, err := call(path)
	if err != nil {
		return meta{}, err
	}
	m := meta{mode: info.Mode().Type(), sig: sigOf(info)}
	if data, ok := info.Sys().(*syscall.Win32FileAttributeData); ok {
		m.ignored = attributeReason(data.FileAttributes)
	}
	return m, nil
}

func sigOf(info fs.FileInfo) Sig {
	return Sig{Size: info.Size(), ModTime: info.ModTime().UnixNano()}
}

// attributeReason: a placeholder's content is elsewhere (OneDrive), and opening it would fetch it.
func attributeReason(attributes uint32) string {
	const recall = windows.FILE_ATTRIBUTE_OFFLINE | windows.FILE_ATTRIBUTE_RECALL_ON_OPEN | windows.FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS
	switch {
	case attributes&recall != 0:
		return "it is only a placeholder, its content is in the cloud"
	case attributes&windows.FILE_ATTRIBUTE_SYSTEM != 0:
		return "it is marked as a system file"
	case attributes&windows.FILE_ATTRIBUTE_HIDDEN != 0:
		return "it is marked as hidden"
	}
	return ""
}

// Fstat gives the Sig of an open file, to be compared with that of its File.
func Fstat(f *os.File) (Sig, error) {
	info, err := f.Stat()
	if err != nil {
		return Sig{}, err
	}
	return sigOf(info), nil
}

// identity is what tells a directory from another one later put in its place:
// the volume's serial number and the file index. A drive that goes away takes its path with it, so mount is always false.
func identity(path string) (id string, mount bool, err error) {
	h, err := create(path, 0, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE, windows.FILE_FLAG_BACKUP_SEMANTICS)
	if err != nil {
		return "", false, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = windows.CloseHandle(h) }()
	var info windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(h, &info); err != nil {
		return "", false, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if info.FileAttributes&windows.FILE_ATTRIBUTE_DIRECTORY == 0 {
		return "", false, &fs.PathError{Op: "stat", Path: path, Err: errNoFolder}
	}
	return fmt.Sprintf("%x:%x:%x", info.VolumeSerialNumber, info.FileIndexHigh, info.FileIndexLow), false, nil
}

// errNoFolder is not syscall.ENOTDIR, which is ERROR_PATH_NOT_FOUND here.
var errNoFolder = errors.New("it is not a folder")

// spelled says whether the entry at path has exactly this name: a path that
// differs in case leads to it too.
func spelled(path string) bool {
	name, err := windows.UTF16PtrFromString(extended(path))
	if err != nil {
		return true // nothing is known against it
	}
	var found windows.Win32finddata
	h, err := windows.FindFirstFile(name, &found)
	if err != nil {
		return true
	}
	_ = windows.FindClose(h)
	return windows.UTF16ToString(found.FileName[:]) == filepath.Base(path)
}

// Open opens a file for reading so that others may rename and delete but not
// write it. It answers ErrInUse while another program has the file open for writing.
// Without FILE_FLAG_BACKUP_SEMANTICS a directory would look like a file that is not to be read.
func Open(path string) (*os.File, error) {
	h, err := create(path, windows.GENERIC_READ, windows.FILE_SHARE_READ|windows.FILE_SHARE_DELETE, windows.FILE_FLAG_BACKUP_SEMANTICS)
	if errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		err = ErrInUse
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(h), path)
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

func create(path string, access, share, flags uint32) (windows.Handle, error) {
	name, err := windows.UTF16PtrFromString(extended(path))
	if err != nil {
		return 0, err
	}
	return windows.CreateFile(name, access, share, nil, windows.OPEN_EXISTING, flags, 0)
}

// extended gives a long path the prefix without which Windows cuts at 260 characters.
func extended(path string) string {
	switch {
	case len(path) < windows.MAX_PATH-12 || strings.HasPrefix(path, `\\?\`):
		return path
	case strings.HasPrefix(path, `\\`):
		return `\\?\UNC\` + path[2:]
	}
	return `\\?\` + path
}
