package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	pidName  = "state.pid"
	lockPoll = 50 * time.Millisecond
)

// dirLock is the lock on the state folder. bbolt's own is not enough: it goes
// with the file, and the file may have to be set aside and made anew.
type dirLock struct{ f *os.File }

// lockDir waits a second for the lock at most, then returns a *LockedError.
func lockDir(dir string) (*dirLock, error) {
	path := filepath.Join(dir, pidName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	if err := adopt(path); err != nil {
		return nil, errors.Join(fmt.Errorf("open lock file: %w", err), f.Close())
	}
	for deadline := time.Now().Add(lockTimeout); ; time.Sleep(lockPoll) {
		err = tryLock(f)
		if err == nil {
			break
		}
		if !errors.Is(err, errLocked) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(&LockedError{Path: filepath.Join(dir, dbName), PID: readPID(f)}, f.Close())
		}
	}
	// The number only tells people who it is; a full disk must not keep the store shut.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return &dirLock{f: f}, nil
}

// InUse is a *LockedError when a process has the state folder open, and nil when
// none has, or that cannot be seen. It makes and changes nothing.
func InUse(dir string) error {
	f, err := os.Open(filepath.Join(dir, pidName))
	if err != nil {
		return nil
	}
	defer f.Close() // and with it the lock
	if errors.Is(tryLock(f), errLocked) {
		return &LockedError{Path: filepath.Join(dir, dbName), PID: readPID(f)}
	}
	return nil
}

func readPID(f *os.File) int {
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	return pid
}

func (l *dirLock) release() error { return l.f.Close() }
