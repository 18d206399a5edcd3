package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const (
	reserveName = "state.reserve"
	reserveSize = 256 << 10 // bytes: the audit log's lines of some hundred pushes
)

// reserve sees to it that there is room for the line of a push that is about to
// begin: a file of real bytes, given up where the disk is full when the answer
// comes. As long as it cannot be made, nothing may be sent that could not be
// written down; the intent alone may fit into pages the database has already.
func (s *Store) reserve() error {
	path := filepath.Join(s.dir, reserveName)
	if info, err := os.Stat(path); err == nil && info.Size() == reserveSize {
		return nil
	}
	s.reserveMu.Lock()
	defer s.reserveMu.Unlock()
	bytes := make([]byte, reserveSize)
	rand.Read(bytes) // a file system that compresses must not make nothing of it
	if err := WriteFile(path, bytes, 0o600); err != nil {
		return fmt.Errorf("keep room for the answer: %w", err)
	}
	return nil
}

// spend gives the reserve up for an answer that found the disk full, and says
// whether there is room to try again.
func (s *Store) spend(err error) bool {
	if !errors.Is(err, syscall.ENOSPC) {
		return false
	}
	return os.Remove(filepath.Join(s.dir, reserveName)) == nil
}
