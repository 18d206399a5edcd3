package store

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"syscall"

	"go.etcd.io/bbolt"

	"github.com/digime-sync/digime-sync/store/failpoint"
)

// change is one mutation. apply checks first and then changes; it may run more
// than once, each time on a fresh transaction.
type change struct {
	apply func(t *txn) error
	done  bool
	err   error
}

// commit makes a change durable. Callers at the same time share one flush of
// the audit log and one transaction: whoever gets commitMu first carries out
// all that are waiting, the others find theirs done. A lone caller waits for nothing.
func (s *Store) commit(apply func(t *txn) error) error {
	c := &change{apply: apply}
	s.mu.Lock()
	s.pending = append(s.pending, c)
	s.mu.Unlock()

	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if c.done {
		return c.err
	}
	s.mu.Lock()
	batch := s.pending
	s.pending = nil
	s.mu.Unlock()
	s.run(batch)
	return c.err
}

// run carries out a batch, under commitMu. A change that fails by itself is
// taken out and the others are done again without it.
func (s *Store) run(batch []*change) {
	for len(batch) > 0 {
		bad, err := s.try(batch)
		if bad < 0 {
			for _, c := range batch {
				c.done, c.err = true, err
			}
			return
		}
		batch[bad].done, batch[bad].err = true, err
		batch = append(batch[:bad:bad], batch[bad+1:]...)
	}
}

// try does all changes in one transaction. It returns the index of a change
// that failed by itself, or -1 and what became of all.
func (s *Store) try(batch []*change) (bad int, err error) {
	if err := s.heal(); err != nil {
		return -1, err
	}
	late := s.lateDone()
	bad = -1
	err = s.update(func(t *txn) error {
		for _, l := range late {
			if err := t.afterDone(l); err != nil {
				return err
			}
		}
		for i, c := range batch {
			if err := c.apply(t); err != nil {
				bad = i
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.dropLate(len(late))
	}
	return bad, err
}

// errNothing rolls a transaction back that has changed nothing: no flush for it.
var errNothing = errors.New("nothing changed")

// update runs fn in a transaction: its audit lines are flushed, then it is
// committed together with the new end of the log.
func (s *Store) update(fn func(t *txn) error) (err error) {
	db := s.handle()
	if db == nil {
		return s.notOpen()
	}
	var own error // of fn or the log: the database is as it was
	id := 0
	err = s.guard(func() error {
		err := db.Update(func(tx *bbolt.Tx) error {
			t := &txn{tx: tx}
			if own = fn(t); own == nil {
				own = s.finish(t)
			}
			if own != nil {
				return own
			}
			id = tx.ID()
			if err := s.soundFreelist(); err != nil {
				return err
			}
			return failpoint.Hit("store.commit")
		})
		if err == nil {
			err = failpoint.Hit("store.committed")
		}
		return err
	})
	if errors.Is(err, errNothing) {
		return nil
	}
	if err == nil {
		s.newest = id
	}
	if err != nil && own == nil && s.damage() == nil {
		// It may be on the disk all the same, and after a failed flush or a lost
		// mapping the handle is not to be trusted: start again from the file.
		err = diskFull(err)
		s.reopen, s.suspect = true, s.suspect || errors.Is(err, syscall.EIO)
		return fmt.Errorf("commit to %s: %w", s.path, err)
	}
	return err
}

// finish flushes what a transaction adds to the audit log, right before its commit.
func (s *Store) finish(t *txn) error {
	if len(t.lines) > 0 {
		if err := s.audit.append(t.lines); err != nil {
			return err
		}
		s.upTo = s.audit.end
	}
	if !t.changed {
		return errNothing // the new end of the log rides on the next transaction
	}
	s.commits++
	return t.putNumber(auditKey, uint64(s.upTo))
}

// heal brings the database back after a commit that failed: opened again, and
// with the deliveries that are in the audit log already.
func (s *Store) heal() error {
	if s.closed {
		return ErrClosed
	}
	if err := s.damage(); err != nil {
		return err
	}
	if !s.reopen {
		return nil
	}
	if err := failpoint.Hit("store.reopen"); err != nil {
		return err
	}
	if err := s.recheck(); err != nil {
		return err
	}
	if err := s.reopenDB(); err != nil {
		return err
	}
	if err := s.recognise(); err != nil {
		return err
	}
	if err := s.replayTail(); err != nil {
		return err
	}
	s.reopen, s.suspect = false, false
	return nil
}

// recognise says whether the database that was opened again is the one that was
// open: where a disk was taken away, an old one may lie beneath. It waits then.
func (s *Store) recognise() error {
	id := 0
	err := s.view(func(t *txn) error {
		id = t.tx.ID()
		return nil
	})
	if err != nil || id >= s.newest {
		return err
	}
	return errors.Join(fmt.Errorf("%s is older than the database that was open: %w", s.path, ErrUnavailable), s.closeDB())
}

// recheck looks at the whole database after the disk failed to take something:
// what the system believes to have written is read back from the disk itself.
// A *DamagedError when that is not what it should be: the next Open rebuilds.
func (s *Store) recheck() error {
	if !s.suspect {
		return nil
	}
	_ = s.closeDB() // whatever it says, the file is what counts
	s.log.Warn("database is checked, since the disk failed to write", "path", s.path)
	forget(s.path)
	err := s.inspect()
	if errors.Is(err, syscall.EIO) || err == nil {
		return err // a disk that does not answer now may do so later
	}
	return s.setDamage(err)
}

// view runs fn in a read transaction, which must be short.
func (s *Store) view(fn func(t *txn) error) error {
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	if err := s.damage(); err != nil {
		return err
	}
	if s.db == nil {
		return s.notOpen()
	}
	return s.guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error { return fn(&txn{tx: tx}) })
	})
}

func (s *Store) notOpen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return ErrClosed
	}
	return fmt.Errorf("%s: %w", s.path, ErrUnavailable)
}

// guard turns what bbolt does about a damaged page, a panic or a fault in the
// mapped file, into an error, and has the next Open check the whole database.
func (s *Store) guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = s.setDamage(fmt.Errorf("%v", p))
		}
	}()
	err = fn()
	if bad := new(badRecordError); errors.As(err, &bad) {
		return s.setDamage(err)
	}
	return err
}

// soundFreelist looks at the list of free pages as it lies in the file. With each
// commit bbolt frees as many pages as the list's own header says it takes (tx.go,
// freelist/shared.go), one after the other: a damaged one fills the memory.
func (s *Store) soundFreelist() error {
	s.dbMu.RLock()
	file := s.file
	s.dbMu.RUnlock()
	im, err := openImage(file)
	if err == nil {
		err = im.checkFreelist(false)
	}
	if notRead := new(fs.PathError); err == nil || errors.As(err, &notRead) {
		return err
	}
	return &badRecordError{err}
}

// badRecordError is a record of the database that cannot be read.
type badRecordError struct{ err error }

func (e *badRecordError) Error() string { return e.err.Error() }
func (e *badRecordError) Unwrap() error { return e.err }

func (s *Store) setDamage(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.damaged == nil {
		s.damaged = &DamagedError{Path: s.path, Reason: "start again to have it rebuilt", Err: err}
		s.log.Error("database is damaged", "path", s.path, "error", err)
	}
	return s.damaged
}

func (s *Store) damage() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.damaged == nil {
		return nil
	}
	return s.damaged
}
