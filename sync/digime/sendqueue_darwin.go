package digime

import (
	"net"

	"golang.org/x/sys/unix"
)

// sendBuffer is left to the system, which tells how much is in it.
const sendBuffer = 0

// soNWrite is SO_NWRITE of <sys/socket.h>: the bytes in the send buffer.
const soNWrite = 0x1024

// sendQueue is how many bytes the system holds that the other side has not
// confirmed.
func sendQueue(conn net.Conn) int64 {
	return ofSocket(conn, func(fd int) (int, error) { return unix.GetsockoptInt(fd, unix.SOL_SOCKET, soNWrite) })
}
