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
	repaired  string

	// commitMu is held by whoever carries out changes, and guards what follows.
	// Where both are taken it comes before mu and dbMu.
	commitMu sync.Mutex
	audit    *auditLog
	reopen   bool // the database must be opened again before the next change
	closed   bool
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
	if s.audit, err = openAudit(s.dir, s.log); err != nil {
		return err
	}
	if err := s.prepare(); err != nil {
		return err
	}
	if err := s.reopenDB(); err != nil {
		return err
	}
	return s.replayTail()
}

// prepare sees to it that there is a database that can be opened.
func (s *Store) prepare() error {
	info, err := os.Stat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && info.Size() == 0:
		return s.build("")
	case err != nil:
		return fmt.Errorf("open database: %w", err)
	}
	return nil
}

// build makes a new database, from the audit log if that has entries. It gets
// its name only when it is whole.
func (s *Store) build(damaged string) (err error) {
	temp := s.path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("make database: %w", err)
	}
	db, _, err := openBolt(temp)
	if err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make database: %w", diskFull(err)), os.Remove(temp))
		}
	}()
	if err := errors.Join(db.Update(migrate), db.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, s.path); err != nil {
		return err
	}
	return syncDir(s.dir)
}

// openBolt opens a database, with the safe options only, and returns its file too.
func openBolt(path string) (db *bbolt.DB, file *os.File, err error) {
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:      lockTimeout,
		FreelistType: bbolt.FreelistMapType,
		OpenFile: func(name string, flag int, perm os.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag, perm)
			file = f
			return f, err
		},
	})
	return db, file, err
}

// reopenDB opens the database, again if it was open.
func (s *Store) reopenDB() error {
	s.dbMu.Lock()
	defer s.dbMu.Unlock()
	if s.db != nil {
		_ = s.db.Close() // whatever it says, the file is what counts
		s.db = nil
	}
	db, file, err := openBolt(s.path)
	if errors.Is(err, bbolt.ErrTimeout) {
		return &LockedError{Path: s.path}
	}
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	s.db, s.file = db, file
	return nil
}

func (s *Store) handle() *bbolt.DB {
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	return s.db
}

// replayTail brings the database up to the end of the audit log.
func (s *Store) replayTail() error {
	const batch = 1000
	var from int64
	err := s.view(func(t *txn) error {
		from = int64(t.number(auditKey))
		return nil
	})
	if err != nil {
		return err
	}
	if !s.audit.at(from) {
		s.log.Warn("audit log is not the one the database knows: read from its beginning", "path", s.audit.path, "offset", from)
		from = 0
	}
	var entries []Entry
	flush := func() error {
		err := s.update(func(t *txn) error {
			for i := range entries {
				if err := t.replay(&entries[i]); err != nil {
					return err
				}
			}
			return nil
		})
		entries = entries[:0]
		return err
	}
	damaged, err := s.audit.scan(from, func(e Entry, _ int64) error {
		entries = append(entries, e)
		if len(entries) < batch {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if damaged > 0 {
		s.log.Warn("audit log: damaged lines left out", "path", s.audit.path, "lines", damaged)
	}
	if err != nil {
		return fmt.Errorf("replay audit log: %w", err)
	}
	return nil
}

// Repaired says in words what Open had to set aside and rebuild, "" if nothing.
func (s *Store) Repaired() string { return s.repaired }

// Close finishes what rides on the next commit and lets go of the files.
func (s *Store) Close() error {
	s.mu.Lock()
	again := s.closing
	s.closing = true
	s.mu.Unlock()
	if again {
		return nil
	}
	err := s.commit(func(*txn) error { return nil })
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	s.closed = true
	return errors.Join(err, s.closeFiles(), s.lock.release())
}

func (s *Store) closeFiles() (err error) {
	s.dbMu.Lock()
	defer s.dbMu.Unlock()
	if s.db != nil {
		err = s.db.Close()
		s.db = nil
	}
	if s.audit != nil {
		err = errors.Join(err, s.audit.close())
	}
	return err
}
