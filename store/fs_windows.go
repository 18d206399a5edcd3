package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/windows"
)

// initialMmap is how many bytes of addresses the database takes at once, and here
// its file is made as large. bbolt takes more only when nobody reads: with its own
// 32 KiB all deliveries would soon wait for a backup whose reader hangs.
const initialMmap = 16 << 20

// Go maps neither to syscall.ENOSPC, which on Windows is an invented number.
var fullErrors = []error{windows.ERROR_DISK_FULL, windows.ERROR_HANDLE_DISK_FULL, windows.ERROR_DISK_QUOTA_EXCEEDED}

// serviceSID is that of NT SERVICE\digime-sync: S-1-5-80 and the SHA-1 of the
// name in capitals, UTF-16. An administrator's command must not shut the service out.
const serviceSID = "S-1-5-80-3880984399-4224153909-3063967482-1456502325-2997008171"

// Protect makes a folder, and what is made in it from now on, accessible to
// SYSTEM, Administrators, the service's virtual account and the present user
// only: the permission bits of files mean nothing here.
func Protect(dir string) error {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return fmt.Errorf("find the present user: %w", err)
	}
	// P: inherits nothing from above; OICI: files and folders inside inherit it; FA: full access.
	sddl := fmt.Sprintf("D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;%s)(A;OICI;FA;;;%s)", serviceSID, user.User.Sid)
	sd, err := windows.SecurityDescriptorFromString(sddl)
	if err != nil {
		return fmt.Errorf("make access list: %w", err)
	}
	dacl, _, err := sd.DACL()
	if err != nil {
		return fmt.Errorf("make access list: %w", err)
	}
	err = windows.SetNamedSecurityInfo(dir, windows.SE_FILE_OBJECT,
		windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, dacl, nil)
	if err != nil {
		return fmt.Errorf("set access list: %w", err)
	}
	return nil
}

// adopt does nothing: new files inherit their folder's access list.
func adopt(string) error { return nil }

// replace renames over an existing file and returns when that is on the disk.
// Virus scanners and indexers hold a new file for moments.
func replace(oldpath, newpath string) error {
	return moveFile(oldpath, newpath, windows.MOVEFILE_REPLACE_EXISTING|windows.MOVEFILE_WRITE_THROUGH)
}

func moveFile(oldpath, newpath string, flags uint32) error {
	from, err := windows.UTF16PtrFromString(longPath(oldpath))
	if err != nil {
		return err
	}
	to, err := windows.UTF16PtrFromString(longPath(newpath))
	if err != nil {
		return err
	}
	for wait := 5 * time.Millisecond; ; wait *= 2 {
		err := windows.MoveFileEx(from, to, flags)
		busy := errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_ACCESS_DENIED)
		if !busy || wait > time.Second {
			return err
		}
		time.Sleep(wait)
	}
}

// syncDir does nothing: there is no flushing of folders, MOVEFILE_WRITE_THROUGH stands for it.
func syncDir(string) error { return nil }

// longPath lets a path be longer than 259 characters, which the system's own
// calls allow only in this form, and only for absolute paths.
func longPath(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil || len(abs) < 240 || strings.HasPrefix(abs, `\\?\`) {
		return path
	}
	if rest, ok := strings.CutPrefix(abs, `\\`); ok {
		return `\\?\UNC\` + rest
	}
	return `\\?\` + abs
}

// renameNew renames unless the new name exists (fs.ErrExist) or is on another volume (errCrossDevice).
func renameNew(oldpath, newpath string) error {
	return moveFile(oldpath, newpath, windows.MOVEFILE_WRITE_THROUGH)
}

var errCrossDevice error = windows.ERROR_NOT_SAME_DEVICE
