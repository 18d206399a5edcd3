package engine

import (
	"errors"

	"golang.org/x/sys/windows"

	"github.com/digime-sync/digime-sync/watcher"
)

// inUse says whether by this error another program has the file open, or a part
// of it locked, which passes.
func inUse(err error) bool {
	for _, e := range []error{watcher.ErrInUse, windows.ERROR_SHARING_VIOLATION, windows.ERROR_LOCK_VIOLATION, windows.ERROR_USER_MAPPED_FILE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
