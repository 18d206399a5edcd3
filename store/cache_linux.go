package store

import (
	"os"

	"golang.org/x/sys/unix"
)

// forget has the system drop what it keeps of a file in memory: after a flush
// that failed, that may never have reached the disk although it counts as
// written. It is advice, so there is nothing to do where it is not taken.
func forget(path string) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
