package main

import (
	"os"
	"syscall"
)

// end ends a process. Nobody but its console can ask a program of Windows to
// stop, and the tests have none: it is cut off, which loses nothing either, and
// counts as done. That a service stops when it is asked packaging/test sees.
func end(p *os.Process) error {
	h, err := syscall.OpenProcess(syscall.PROCESS_TERMINATE, false, uint32(p.Pid))
	if err != nil {
		return os.NewSyscallError("OpenProcess", err)
	}
	defer syscall.CloseHandle(h)
	return os.NewSyscallError("TerminateProcess", syscall.TerminateProcess(h, exitDone))
}
