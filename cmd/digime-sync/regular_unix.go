//go:build unix

package main

import "golang.org/x/sys/unix"

// openAtOnce has opening wait for nobody, and noLink keeps it from following a link.
const (
	openAtOnce = unix.O_NONBLOCK | unix.O_NOCTTY
	noLink     = unix.O_NOFOLLOW
)
