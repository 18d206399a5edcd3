//go:build unix && !darwin

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// Where the policy lies and whose it must be; the tests have their own.
var (
	policyDir          = "/etc/digime-sync/policy.d"
	policyOwner uint32 = 0
)

// policyLayers reads the policy's files. One that somebody else than root could
// have written is refused, and the configuration with it.
func policyLayers() []*layer {
	list := folderLayers(layerPolicy, policyDir)
	if len(list) == 0 {
		return nil
	}
	if why := untrusted(policyDir); why != "" {
		return []*layer{badPolicy(policyDir, "chown root and chmod go-w it", "%s", why)}
	}
	for i, l := range list {
		if why := untrusted(l.file); why != "" {
			list[i] = badPolicy(l.file, "chown root and chmod go-w it", "%s", why)
		}
	}
	return list
}

// untrusted says why a file or folder is not root's word, or "".
func untrusted(path string) string {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrPermission) {
		return "" // that it cannot be read is said already
	}
	if err != nil {
		return unreadable(err).Text
	}
	if !info.Mode().IsRegular() && !info.IsDir() {
		return "a policy must be a file of its own, no link and no pipe"
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid != policyOwner {
		// Not who: to a service with users of its own, others have no number.
		return "the policy is not believed: it belongs to another user than root"
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Sprintf("the policy is not believed: others than root can write it (mode %04o)", info.Mode().Perm())
	}
	return ""
}

// policyClosed says that the policy, if there is one, is kept from this user, who
// is neither root nor the service: without it, nobody knows what holds here.
func policyClosed() error {
	if config, _ := systemPaths(runtime.GOOS, true, os.Getenv); DefaultConfigPath() == config {
		return nil // to the service it is a fault like others (policyLayers)
	}
	_, err := os.ReadDir(policyDir)
	files, _ := filepath.Glob(filepath.Join(policyDir, "*.yaml")) // the pattern is a good one
	for _, path := range files {
		f, openErr := openRegular(path, 0)
		if openErr == nil {
			openErr = f.Close()
		}
		err = errors.Join(err, openErr)
	}
	if !errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return failure(exitConfig, "sudo digime-sync …; a configuration of your own can only be looked at: digime-sync check --offline --config FILE",
		"%w: you cannot read %s", errRootsService, policyDir)
}

// policyStamp tells one state of the policy from another. Whether it is believed
// is part of that: a file that becomes writable by others keeps content and time.
func policyStamp() string {
	stamp := folderStamp(policyDir)
	for _, l := range policyLayers() {
		for _, f := range l.faults {
			stamp += l.file + ": " + f.Text + "\n"
		}
	}
	return stamp
}
