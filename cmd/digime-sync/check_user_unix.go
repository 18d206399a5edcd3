//go:build unix

package main

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// checkAsOwner has root give up its rights for those of the state folder's owner,
// whom the service runs as: root reads and writes what the service cannot. There
// is no way back, so it is for a command that only checks.
func checkAsOwner(stateDir string) []finding {
	if os.Geteuid() != 0 {
		return nil
	}
	f := finding{Check: "user", Subject: "root", State: checkOK, Message: "checked as root; what another user could not read or write is not seen"}
	info, err := os.Stat(stateDir)
	if err != nil {
		f.Message = "checked as root: there is no state folder yet, as whose owner the service runs"
		return []finding{f}
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return []finding{f}
	}
	name, err := become(int(owner.Uid), int(owner.Gid))
	f.Subject, f.Message = name, "checked as this user, who owns the state folder"
	if err != nil {
		f.Subject, f.State = "root", checkWarn
		f.Message = fmt.Sprintf("checked as root; the service runs as %s, and what it may do cannot be tried: %v", name, err)
		f.Hint = "sudo -u " + name + " digime-sync check"
	}
	return []finding{f}
}

// become makes this process one of the user's, with all groups, and returns the
// user's name.
func become(uid, gid int) (string, error) {
	name, groups := strconv.Itoa(uid), []int{gid}
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
		ids, err := u.GroupIds()
		if err != nil {
			return name, err
		}
		for _, id := range ids {
			if n, err := strconv.Atoi(id); err == nil {
				groups = append(groups, n)
			}
		}
	}
	// Without it the places stay the system's (systemPaths), as they are the service's.
	if err := os.Unsetenv("HOME"); err != nil {
		return name, err
	}
	if err := syscall.Setgroups(groups); err != nil {
		return name, err
	}
	if err := syscall.Setgid(gid); err != nil {
		return name, err
	}
	return name, syscall.Setuid(uid)
}
