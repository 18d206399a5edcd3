package store

import (
	"errors"
	"fmt"
	"os"

	"go.etcd.io/bbolt"

	"github.com/digime-sync/digime-sync/store/failpoint"
)

const (
	wastefulBytes = 16 << 20 // of free pages, if they are
	wastefulPart  = 3        // a third of the file; or so many
	slowBytes     = 64 << 20 // that to write their list takes milliseconds
	compactTx     = 64 << 20 // bytes in one transaction of the copy
)

// compactIfWasteful copies the database when much of it is free pages, as after
// a rebuild: bbolt never gives them back, and writes their list with every
// commit. A copy that fails is no loss.
func (s *Store) compactIfWasteful() error {
	db := s.handle()
	info, err := os.Stat(s.path)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	free := int64(db.Stats().FreePageN) * int64(db.Info().PageSize)
	if free < slowBytes && (free < wastefulBytes || free < info.Size()/wastefulPart) {
		return nil
	}
	temp := s.path + ".new"
	err = failpoint.Hit("compact.copy")
	if err == nil {
		err = s.guard(func() error { return copyDB(temp, db) })
	}
	if damaged := s.damage(); damaged != nil {
		return damaged
	}
	if err != nil {
		s.log.Warn("database could not be made smaller", "path", s.path, "error", errors.Join(err, os.Remove(temp)))
		return nil
	}
	if err := s.closeDB(); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	err = failpoint.Hit("compact.replace")
	if err == nil {
		err = replace(temp, s.path)
	}
	if err == nil {
		err = failpoint.Hit("compact.replaced")
	}
	if err != nil {
		return fmt.Errorf("put the smaller database in place: %w", err)
	}
	if err := syncDir(s.dir); err != nil {
		return err
	}
	s.log.Info("database made smaller", "path", s.path, "was", info.Size(), "free", free)
	s.newest = 0 // the copy counts anew
	return s.openDB(s.path)
}

// copyDB copies every key and value to a new database file. Its commits are
// flushed like all others.
func copyDB(path string, db *bbolt.DB) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	to, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	return errors.Join(bbolt.Compact(to, db, compactTx), to.Close(), adopt(path))
}
