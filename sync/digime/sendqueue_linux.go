package digime

import (
	"net"

	"golang.org/x/sys/unix"
)

// sendBuffer is left to the system, which tells how much is in it.
const sendBuffer = 0

// sendQueue is how many bytes the system holds that the other side has not
// confirmed: SIOCOUTQ of tcp(7).
func sendQueue(conn net.Conn) int64 {
	return ofSocket(conn, func(fd int) (int, error) { return unix.IoctlGetInt(fd, unix.SIOCOUTQ) })
}
