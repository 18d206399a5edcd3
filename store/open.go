package store

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/digime-sync/digime-sync/store/failpoint"
)

const (
	dbName      = "state.db"
	lockTimeout = time.Second
)

// Store is the open database with its audit log. All methods may be called
// from any goroutine; a function handed to one of them must not keep what it
// is doing waiting for another change of the Store.
type Store struct {
	dir, path string
	log       *slog.Logger
	lock      *dirLock

	// commitMu is held by whoever carries out changes, and guards what follows.
	// Where both are taken it comes before mu and dbMu.
	commitMu sync.Mutex
	audit    *auditLog
	upTo     int64 // up to here the database knows the audit log
	reopen   bool  // the database must be opened again before the next change
	suspect  bool  // and be checked before that: the disk failed to take something
	closed   bool
	newest   int // the transaction that was committed last
	commits  int

	// dbMu keeps the database open while it is read.
	dbMu sync.RWMutex
	db   *bbolt.DB
	file *os.File // db's, to let go of it when bbolt cannot

	mu      sync.Mutex // guards what follows, for moments
	pending []*change
	late    []late
	given   map[string]string // content to the path Next handed it out for
	damaged *DamagedError
	closing bool

	repaired string
	anew     bool // there was neither database nor audit log

	reserveMu sync.Mutex // held while the reserve is made

	pauseMu sync.RWMutex // guards pauses, also while they are written
	pauses  map[string]Pause
}

// Open opens the store in dir, making both when they are missing. A damaged
// database is set aside and rebuilt, see Repaired. Errors: *LockedError when
// another process has it open, ErrNewer, and those of the file system.
func Open(dir string, log *slog.Logger) (*Store, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Store{dir: dir, path: filepath.Join(dir, dbName), log: log, given: map[string]string{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	if err := Protect(dir); err != nil {
		return nil, fmt.Errorf("protect state folder: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s.lock = lock
	if err := s.openAll(); err != nil {
		return nil, errors.Join(err, s.closeFiles(), lock.release())
	}
	return s, nil
}

func (s *Store) openAll() (err error) {
	if err := s.refuseNewer(); err != nil {
		return err
	}
	stale := time.Now().Add(-staleTemp)
	if err := errors.Join(RemoveTemps(s.dir, stale), RemoveTemps(filepath.Join(s.dir, tokenDir), stale), os.RemoveAll(filepath.Join(s.dir, restoreDir))); err != nil {
		s.log.Warn("temporary files of a killed process could not be removed", "error", err)
	}
	s.readPauses()
	if s.audit, err = openAudit(s.dir, s.log); err != nil {
		return err
	}
	if err := failpoint.Hit("open.audit"); err != nil {
		return fmt.Errorf("open audit log: %w", err)
	}
	if err := s.prepare(); err != nil {
		return err
	}
	if err := failpoint.Hit("open.database"); err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	if err := os.Remove(filepath.Join(s.dir, cleanName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open database: %w", err)
	}
	if err = s.replayTail(); err == nil {
		err = s.compactIfWasteful()
	}
	if damaged := new(DamagedError); errors.As(err, &damaged) {
		return s.rebuild(damaged) // the quick check had not seen it
	}
	return err
}

func (s *Store) handle() *bbolt.DB {
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	return s.db
}

// Repaired says in words what Open had to set aside and rebuild, "" if nothing.
func (s *Store) Repaired() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.repaired
}

// New says whether Open found neither database nor audit log, and made both.
func (s *Store) New() bool { return s.anew }

// Close finishes what rides on the next commit and lets go of the files.
func (s *Store) Close() error {
	s.mu.Lock()
	again := s.closing
	s.closing = true
	s.mu.Unlock()
	if again {
		return nil
	}
	// A last look: what was deleted since the one before would be forgotten now.
	if _, err := s.Mend(); err != nil {
		s.log.Error("the state folder is not as it must be", "err", err)
	}
	err := s.commit(func(*txn) error { return nil })
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	s.closed = true
	err = errors.Join(err, s.closeFiles())
	if err == nil {
		err = failpoint.Hit("store.closed")
	}
	if err == nil {
		if err := s.markClean(); err != nil {
			s.log.Warn("database is closed, but will be checked when it is opened", "error", err)
		}
	}
	return errors.Join(err, s.lock.release())
}

func (s *Store) closeFiles() error {
	err := s.closeDB()
	if s.audit != nil {
		err = errors.Join(err, s.audit.close())
	}
	return err
}
