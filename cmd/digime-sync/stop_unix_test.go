//go:build !windows

package main

import "os"

// end asks a process to stop, as Ctrl-C does.
func end(p *os.Process) error { return p.Signal(os.Interrupt) }
