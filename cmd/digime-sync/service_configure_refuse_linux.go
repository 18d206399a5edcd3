package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// systemTrees are not opened to the service because a fleet's configuration
// names them, or what is in them, or a folder around them: the machine's own
// configuration must. The service's user may do nothing there as it is; this
// keeps it so where somebody has been generous with rights.
var systemTrees = []string{
	"/bin", "/boot", "/dev", "/efi", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/usr",
	"/var/backups", "/var/cache", "/var/db", "/var/lib", "/var/lock", "/var/log", "/var/mail", "/var/run",
	"/var/spool/anacron", "/var/spool/at", "/var/spool/cron", "/var/spool/mail",
}

// systemFolder says whether a path is not for a fleet to open. So are all home
// folders at once, and what is hidden in one, as .ssh.
func systemFolder(path string) bool {
	path = filepath.Clean(path)
	if inside, found := strings.CutPrefix(path+"/", "/home/"); found && (inside == "" || strings.Contains("/"+inside, "/.")) {
		return true
	}
	around := strings.TrimSuffix(path, "/") + "/"
	return slices.ContainsFunc(systemTrees, func(tree string) bool {
		return strings.HasPrefix(tree+"/", around) || strings.HasPrefix(around, tree+"/")
	})
}

// credentialForm are names that mean nothing more to systemd.
var credentialForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)

// refuse takes out what only the fleet names and is the system's. own is what
// the machine's own configuration names.
func (r *footprint) refuse(own footprint, resolve func(string) string) {
	without := func(list, trusted []string, bad func(string) bool) []string {
		return slices.DeleteFunc(list, func(item string) bool {
			drop := !slices.Contains(trusted, item) && bad(item)
			if drop {
				r.refused = append(r.refused, item)
			}
			return drop
		})
	}
	r.write = without(r.write, own.write, func(path string) bool { return systemFolder(path) || systemFolder(resolve(path)) })
	r.read = without(r.read, own.read, func(path string) bool { // what is not hidden needs no opening
		real := resolve(path)
		return hidden(path) && systemFolder(path) || hidden(real) && systemFolder(real)
	})
	r.credentials = without(r.credentials, own.credentials, func(name string) bool { return !credentialForm.MatchString(name) })
	r.refused = distinct(r.refused)
}

// refusal says what was refused; nil when nothing was.
func (r footprint) refusal() error {
	if len(r.refused) == 0 {
		return nil
	}
	return failure(exitHeld, "name it in the machine's own configuration ("+filepath.Dir(r.config)+"/conf.d), or correct the fleet's",
		"not opened to the service, as the fleet's configuration alone names what is the system's: %q", r.refused)
}

// notRoots says which file of the configuration somebody else than root could
// have written; "" when none is.
func notRoots(config string) string {
	confD := filepath.Join(filepath.Dir(config), "conf.d")
	files, _ := filepath.Glob(filepath.Join(confD, "*.yaml")) // the pattern is a good one but for odd folders
	for _, path := range append([]string{filepath.Dir(config), config, confD}, files...) {
		info, err := os.Stat(path)
		if err != nil {
			continue // what is not there says nothing; what cannot be read is a fault of its own
		}
		if s, ok := info.Sys().(*syscall.Stat_t); !ok || s.Uid != policyOwner || info.Mode().Perm()&0o022 != 0 {
			return fmt.Sprintf("others than root can write %s", path)
		}
	}
	return ""
}
