//go:build unix

package engine

import (
	"errors"
	"syscall"

	"github.com/digime-sync/digime-sync/watcher"
)

// inUse says whether by this error another program has the file open, or a part
// of it locked, which passes: that of a lease, of a program that runs, of a
// network file system's lock, of a mount.
func inUse(err error) bool {
	for _, e := range []error{watcher.ErrInUse, syscall.EAGAIN, syscall.EBUSY, syscall.ETXTBSY} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
