//go:build !linux && !darwin

package digime

import "net"

// sendBuffer bounds what is on its way unseen, in bytes: at 1 kB/s it has left
// before a stall is over. The wait for an answer takes it into account.
const sendBuffer = 128 << 10

// sendQueue is not known here.
func sendQueue(net.Conn) int64 { return 0 }
