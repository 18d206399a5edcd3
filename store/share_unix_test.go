//go:build unix

package store

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What root's commands make in the state folder belongs to the service's user.
func TestWhatRootMakesIsTheOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	const service = 4711
	dir := t.TempDir()
	if err := os.Chown(dir, service, service); err != nil {
		t.Fatal(err)
	}
	sub := filepath.Join(dir, "fleet")
	for range 2 { // made, and there already
		if err := MakeDir(sub); err != nil {
			t.Fatal(err)
		}
	}
	unlock, err := LockFile(filepath.Join(sub, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	for _, path := range []string{sub, filepath.Join(sub, "lock")} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if uid := info.Sys().(*syscall.Stat_t).Uid; uid != service {
			t.Errorf("%s belongs to %d", path, uid)
		}
	}
}
