package main

import (
	"bufio"
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/digime-sync/digime-sync/sync/engine"
	"github.com/digime-sync/digime-sync/watcher"
)

// shutOut says that the unit's sandbox keeps the service from writing to a
// folder, or from seeing it; "" when it does not, or there is none. It does not
// touch the folder, which may be a share that hangs.
func shutOut(f engine.FolderStatus) string {
	if !underSystemd() {
		return ""
	}
	if f.State == watcher.StateMissing && hidden(f.Path) {
		return "is not there, or the service's sandbox hides it"
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || f.Notes == "" || !shutMount(mounts, f.Path) {
		return ""
	}
	return "cannot be written to: the service's sandbox does not know of it"
}

// shutMount says whether a path lies on a mount that is read-only though its file
// system is not: that is how a sandbox shuts it. mounts is mountinfo as in
// proc_pid_mountinfo(5).
func shutMount(mounts []byte, path string) bool {
	shut, longest := false, -1
	lines := bufio.NewScanner(bytes.NewReader(mounts))
	for lines.Scan() {
		// 36 35 98:0 /root /mount/point rw,noatime shared:1 - ext4 /dev/root rw,errors=continue
		mount, super, found := strings.Cut(lines.Text(), " - ")
		fields, whole := strings.Fields(mount), strings.Fields(super)
		if !found || len(fields) < 6 || len(whole) < 3 {
			continue
		}
		at := unescapeMount(fields[4])
		if at != "/" && path != at && !strings.HasPrefix(path, at+"/") || len(at) < longest {
			continue // a later one at the same place lies over it
		}
		longest = len(at)
		shut = slices.Contains(strings.Split(fields[5], ","), "ro") && slices.Contains(strings.Split(whole[2], ","), "rw")
	}
	return shut
}

// unescapeMount undoes the octal writing of blanks in mountinfo.
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
