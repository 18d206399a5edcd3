//go:build unix

package main

import "golang.org/x/sys/unix"

// freeRoom is how many bytes may still be written below a folder.
func freeRoom(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}
