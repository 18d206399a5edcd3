package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/digime-sync/digime-sync/store/failpoint"
)

// growBytes is by how much the file grows at a time.
const growBytes = 1 << 20

// openDB opens a database file as the store's, brought to the present schema.
func (s *Store) openDB(path string) error {
	var db *bbolt.DB
	var file *os.File
	err := s.guard(func() (err error) {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout:         lockTimeout,
			FreelistType:    bbolt.FreelistMapType,
			InitialMmapSize: initialMmap,
			OpenFile: func(name string, flag int, perm os.FileMode) (*os.File, error) {
				file, err = os.OpenFile(name, flag, perm)
				return file, err
			},
		})
		return err
	})
	if s.damage() != nil && file != nil {
		return errors.Join(err, file.Close()) // bbolt has left it locked
	}
	if errors.Is(err, bolterrors.ErrTimeout) {
		return &LockedError{Path: path}
	}
	if err != nil {
		return fmt.Errorf("open database: %w", diskFull(err))
	}
	db.AllocSize = growBytes
	s.dbMu.Lock()
	s.db, s.file = db, file
	s.dbMu.Unlock()
	return s.bringUp(db)
}

// bringUp migrates a database that is new or of an earlier schema.
func (s *Store) bringUp(db *bbolt.DB) error {
	err := s.guard(func() error {
		var schema uint64
		err := db.View(func(tx *bbolt.Tx) error {
			schema = (&txn{tx: tx}).schema()
			return nil
		})
		if err != nil || schema == uint64(len(migrations)) {
			return err
		}
		if err := failpoint.Hit("store.migrate"); err != nil {
			return err
		}
		if schema > 0 {
			if err := s.keepEarlier(db, schema); err != nil {
				return fmt.Errorf("keep a copy of the database before its schema changes: %w", err)
			}
		}
		return db.Update(func(tx *bbolt.Tx) error { return migrate(&txn{tx: tx}) })
	})
	return diskFull(err)
}

// keepEarlier writes a whole copy of a database of an earlier schema beside it,
// for the way back to the version of the program that made it.
func (s *Store) keepEarlier(db *bbolt.DB, schema uint64) error {
	temp, err := os.CreateTemp(s.dir, tempPattern)
	if err != nil {
		return err
	}
	err = db.View(func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(temp)
		return err
	})
	if err == nil {
		err = temp.Sync()
	}
	err = errors.Join(err, adopt(temp.Name()), temp.Close())
	name := ""
	if err == nil {
		name, err = moveToFree(temp.Name(), fmt.Sprintf("%s.v%d-%s", s.path, schema, time.Now().Format(datedName)))
	}
	if err != nil {
		return errors.Join(err, removeIfThere(temp.Name()))
	}
	s.log.Warn("database of an earlier version: it is brought to the present one, a copy was kept", "path", s.path, "schema", schema, "copy", name)
	return nil
}

// reopenDB opens the database, again if it was open. One that has gone is not
// made anew here: what it held would be forgotten without a word.
func (s *Store) reopenDB() error {
	_ = s.closeDB() // whatever it says, the file is what counts
	if _, err := os.Stat(s.path); errors.Is(err, fs.ErrNotExist) {
		return s.setDamage(fmt.Errorf("it was deleted: %w", err))
	}
	return s.openDB(s.path)
}

// closeDB lets go of the database. One that is damaged may have been left
// locked inside by a panic, so only its file is closed then.
func (s *Store) closeDB() error {
	s.dbMu.Lock()
	defer s.dbMu.Unlock()
	if s.db == nil {
		return nil
	}
	db := s.db
	s.db = nil
	if s.damage() != nil {
		return s.file.Close()
	}
	return db.Close()
}

// markClean writes down that the database was closed whole.
func (s *Store) markClean() error {
	f, err := os.Open(s.path)
	if err != nil {
		return fmt.Errorf("mark the clean close: %w", err)
	}
	defer f.Close()
	im, err := openImage(f)
	if err != nil {
		return fmt.Errorf("mark the clean close: %w", err)
	}
	return WriteFile(filepath.Join(s.dir, cleanName), strconv.AppendUint(nil, im.txid, 10), 0o600)
}
