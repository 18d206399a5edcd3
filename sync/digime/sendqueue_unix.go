//go:build linux || darwin

package digime

import (
	"net"
	"syscall"
)

// ofSocket asks a connection's socket for a number, 0 where it gives none.
func ofSocket(conn net.Conn, ask func(fd int) (int, error)) int64 {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	n := 0
	err = raw.Control(func(fd uintptr) {
		if asked, err := ask(int(fd)); err == nil {
			n = asked
		}
	})
	if err != nil {
		return 0
	}
	return int64(n)
}
