package digime

import "golang.org/x/sys/windows"
import "syscall"

// The numbers of package syscall with the familiar names are invented there;
// Winsock answers with its own.
var (
	refusedErrnos     = []syscall.Errno{windows.WSAECONNREFUSED}
	unreachableErrnos = []syscall.Errno{windows.WSAENETUNREACH, windows.WSAEHOSTUNREACH, windows.WSAENETDOWN}
	resetErrnos       = []syscall.Errno{windows.WSAECONNRESET, windows.WSAECONNABORTED, windows.ERROR_NETNAME_DELETED}
)
