package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
)

// largestLog is the size, in bytes, from which a log file is set aside.
const largestLog = 10 << 20

// logFile is the log of a service that has no standard error. When it grows
// large it is kept as digime-sync.log.1, and begun anew.
type logFile struct {
	path string

	mu   sync.Mutex
	file *os.File
	size int64
}

// logToFile has what is said from now on written to a log in this folder, a
// panic's words too.
func (a *app) logToFile(stateDir string) error {
	path := filepath.Join(stateDir, "digime-sync.log")
	if now, ok := a.err.(*logFile); ok && now.path == path {
		return nil
	}
	if err := makeDataFolder(stateDir); err != nil {
		return err
	}
	l := &logFile{path: path}
	if err := l.open(); err != nil {
		return err
	}
	a.err = l
	return nil
}

func (l *logFile) open() error {
	if info, err := os.Stat(l.path); err == nil && info.Size() > largestLog {
		if err := os.Rename(l.path, l.path+".1"); err != nil {
			return fmt.Errorf("set log aside: %w", err)
		}
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	l.file, l.size = f, info.Size()
	// Without it a crash would leave no trace: there is no standard error. It
	// fails only where the system gives no second handle, and then nothing helps.
	_ = debug.SetCrashOutput(f, debug.CrashOptions{})
	return nil
}

// Write appends a line.
func (l *logFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > largestLog {
		// While it is open, Windows lets nobody rename it; the crash output's
		// handle is the second one.
		_ = debug.SetCrashOutput(nil, debug.CrashOptions{})
		_ = l.file.Close() // what was written is in the file
		if err := l.open(); err != nil {
			return 0, err
		}
	}
	n, err := l.file.Write(line)
	l.size += int64(n)
	return n, err
}
