package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/windows"

	"github.com/digime-sync/digime-sync/store"
)

// dataFolder is the folder whose access list protects a state folder: its own,
// or the one of ours below ProgramData, where any user may make folders and so
// could have made it before us.
func dataFolder(stateDir string) string {
	shared := os.Getenv("ProgramData")
	rest, err := filepath.Rel(shared, stateDir)
	if shared == "" || err != nil || !filepath.IsLocal(rest) || rest == "." {
		return stateDir
	}
	first, _, _ := strings.Cut(rest, string(filepath.Separator))
	return filepath.Join(shared, first)
}

// makeDataFolder makes the state folder where it is missing, protected before
// anything is in it, and refuses one that somebody else has made.
func makeDataFolder(stateDir string) error {
	top := dataFolder(stateDir)
	if err := checkDataFolder(stateDir); err != nil {
		return err
	}
	if _, err := os.Lstat(top); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(top, 0o700); err != nil {
			return fmt.Errorf("make state folder: %w", err)
		}
		if err := store.Protect(top); err != nil {
			return fmt.Errorf("protect %s: %w", top, err)
		}
	}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return fmt.Errorf("make state folder: %w", err)
	}
	return nil
}

// checkDataFolder refuses a data folder that belongs to somebody who is neither
// the system, nor an administrator, nor the service, nor this user: he could read
// and change what is in it, tokens too. One that is missing is fine.
func checkDataFolder(stateDir string) error {
	top := dataFolder(stateDir)
	info, err := os.Lstat(top)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at %s: %w", top, err)
	}
	if !info.IsDir() {
		return failure(exitError, "look at where it leads and who made it, then remove it", "%s is no folder of its own, but leads elsewhere", top)
	}
	sd, err := windows.GetNamedSecurityInfo(top, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION)
	if err != nil {
		return fmt.Errorf("ask who owns %s: %w", top, err)
	}
	owner, _, err := sd.Owner()
	if err != nil {
		return fmt.Errorf("ask who owns %s: %w", top, err)
	}
	if ourOwner(owner) {
		return nil
	}
	name := owner.String()
	if account, domain, _, err := owner.LookupAccount(""); err == nil {
		name = domain + `\` + account
	}
	return failure(exitError, fmt.Sprintf(`look at what is in it; then, as an administrator: takeown /F "%s" /A /R /D Y && icacls "%s" /reset /T`, top, top),
		"%s belongs to %s, who could read and change what is kept there", top, name)
}

// ourOwner says whether an owner of the data folder may be trusted.
func ourOwner(owner *windows.SID) bool {
	if owner.IsWellKnown(windows.WinLocalSystemSid) || owner.IsWellKnown(windows.WinBuiltinAdministratorsSid) {
		return true
	}
	if account, _, _, err := windows.LookupSID("", serviceAccount); err == nil && owner.Equals(account) {
		return true
	}
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	return err == nil && owner.Equals(user.User.Sid)
}
