//go:build linux

package main

import "testing"

func TestShutMount(t *testing.T) {
	const mounts = `1 0 8:1 / / ro,relatime shared:1 - ext4 /dev/sda1 rw
2 1 8:1 /srv/in /srv/in rw,relatime shared:2 - ext4 /dev/sda1 rw
3 1 8:2 / /mnt/two\040words ro - ext4 /dev/sdb1 ro
4 1 8:3 / /media rw - vfat /dev/sdc1 rw
`
	for path, want := range map[string]bool{
		"/srv/other":         true,  // the sandbox has it so
		"/srv/in":            false, // opened
		"/srv/in/below":      false,
		"/srv/inside":        true,
		"/mnt/two words/sub": false, // the disk itself is read-only
		"/media/stick":       false,
	} {
		if got := shutMount([]byte(mounts), path); got != want {
			t.Errorf("%s: %t, want %t", path, got, want)
		}
	}
}
