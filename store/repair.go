package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/digime-sync/digime-sync/store/failpoint"
)

const (
	cleanName   = "state.clean"
	replayBatch = 5000

	// smallDB is the size in bytes up to which a database is checked whole at each
	// open, also after a clean close: a disk may damage it while nothing runs.
	smallDB = 64 << 20
)

// prepare sees to it that there is a database that can be opened, and opens it.
func (s *Store) prepare() error {
	info, err := os.Stat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && info.Size() == 0:
		s.anew = s.audit.end == 0
		if err := s.build(""); err != nil {
			return err
		}
		if s.audit.end > 0 {
			s.say("the database was missing; a new one was made from the audit log")
		}
		return s.reopenDB()
	case err != nil:
		return fmt.Errorf("open database: %w", err)
	}
	err = s.inspect()
	if err == nil {
		err = s.reopenDB()
	}
	if damaged := new(DamagedError); errors.As(err, &damaged) {
		return s.rebuild(damaged)
	}
	return err
}

// refuseNewer finds out whether a newer version made the database, before
// anything in the state folder is touched.
func (s *Store) refuseNewer() error {
	err := s.inspectAs(false)
	if errors.Is(err, ErrNewer) {
		return err
	}
	return nil // whatever else is the matter, prepare finds and mends
}

// inspect looks at the database file before bbolt does. After a clean close it
// looks at the first pages alone, unless it is small. Errors: *DamagedError, ErrNewer, those of the file system.
func (s *Store) inspect() error { return s.inspectAs(true) }

func (s *Store) inspectAs(thorough bool) error {
	f, err := os.Open(s.path)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer f.Close()
	im, err := openImage(f)
	if err != nil {
		return s.inspected(err)
	}
	if im.torn && thorough {
		s.say("one meta page of the database was not whole: what changed last before it was damaged may be missing, and is found again by scanning")
	}
	clean, err := os.ReadFile(filepath.Join(s.dir, cleanName))
	deep := thorough && (err != nil || strings.TrimSpace(string(clean)) != strconv.FormatUint(im.txid, 10))
	info, statErr := f.Stat()
	small := thorough && statErr == nil && info.Size() <= smallDB
	if deep {
		s.log.Info("database was not closed, it is checked", "path", s.path)
		// The walk goes by keys, all over the file: a disk is quicker in order.
		_, _ = io.Copy(io.Discard, f)
	}
	var schema []byte
	err = im.check(deep || small, func(bucket, key, value []byte) error {
		if bytes.Equal(bucket, metaBucket) {
			if bytes.Equal(key, schemaKey) {
				schema = bytes.Clone(value)
			}
			return nil
		}
		_, err := unseal(bucket, key, value)
		return err
	})
	if err == nil {
		err = checkSchema(schema)
	}
	return s.inspected(err)
}

// inspected tells damage from a file of a newer version. An error of reading
// is damage too: a service that stops at a bad sector helps nobody.
func (s *Store) inspected(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNewer):
		return fmt.Errorf("open %s: %w", s.path, err)
	}
	return &DamagedError{Path: s.path, Reason: "check", Err: err}
}

// rebuild sets a damaged database aside and makes a new one.
func (s *Store) rebuild(damaged *DamagedError) error {
	s.log.Error("database is damaged, it is set aside and made anew", "path", s.path, "error", damaged)
	_ = s.closeDB() // whatever it says, the file is done with
	if err := failpoint.Hit("rebuild.aside"); err != nil {
		return fmt.Errorf("set the damaged database aside: %w", err)
	}
	aside, err := setAside(s.path, time.Now())
	if err != nil {
		return fmt.Errorf("set the damaged database aside: %w", err)
	}
	s.mu.Lock()
	s.damaged = nil
	s.mu.Unlock()
	if err := s.build(aside); err != nil {
		return err
	}
	s.say(fmt.Sprintf("%v; it was set aside as %s and a new one was made from the audit log", damaged, aside))
	return s.reopenDB()
}

// datedName is how dates stand in file names.
const datedName = "20060102-150405"

// setAside gives a file a dated name that is free.
func setAside(path string, now time.Time) (string, error) {
	return moveToFree(path, path+".damaged-"+now.Format(datedName))
}

// moveToFree renames a file to a name, or where that is taken to one with a number behind.
func moveToFree(path, name string) (string, error) {
	free := name
	for n := 2; ; n++ {
		err := Move(path, free)
		if !errors.Is(err, fs.ErrExist) || n > 100 {
			return free, err
		}
		free = fmt.Sprintf("%s-%d", name, n)
	}
}

// say adds to what Repaired tells.
func (s *Store) say(what string) {
	s.log.Error("store was repaired", "what", what)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.repaired != "" {
		s.repaired += "; "
	}
	s.repaired += what
}

// build makes a new database from the audit log, and from what deliveries of
// a damaged one are still whole. It gets its name only when it is complete.
func (s *Store) build(damaged string) (err error) {
	temp := s.path + ".new"
	s.newest = 0
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("make database: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("make database: %w", errors.Join(diskFull(err), s.closeDB(), os.Remove(temp)))
		}
	}()
	if err := failpoint.Hit("rebuild.create"); err != nil {
		return err
	}
	if err := s.openDB(temp); err != nil {
		return err
	}
	if err := adopt(temp); err != nil {
		return err
	}
	if err := s.replayTail(); err != nil {
		return err
	}
	if damaged != "" {
		if err := s.salvage(damaged); err != nil {
			return err
		}
	}
	if err := s.closeDB(); err != nil {
		return err
	}
	if err := failpoint.Hit("rebuild.replace"); err != nil {
		return err
	}
	if err := replace(temp, s.path); err != nil {
		return err
	}
	if err := failpoint.Hit("rebuild.replaced"); err != nil {
		return err
	}
	return syncDir(s.dir)
}

// salvage takes over every delivery that is whole in the damaged file, even
// from pages no longer in use: that something was delivered never stops being true.
func (s *Store) salvage(damaged string) error {
	f, err := os.Open(damaged)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := int64(os.Getpagesize())
	if im, err := openImage(f); err == nil {
		size = im.pageSize
	}
	found := map[string]delivery{}
	page := make([]byte, 16*size) // most records are short, but a path may be long
	for at := int64(0); at < info.Size(); at += size {
		n, err := f.ReadAt(page, at)
		if err != nil && err != io.EOF {
			continue // a bad sector: what can be read counts
		}
		salvagePage(page[:n], found)
	}
	return s.takeOver(found)
}

// salvagePage collects the deliveries of a leaf page, or of a bucket inside it.
// Whatever it misreads has a wrong checksum.
func salvagePage(page []byte, found map[string]delivery) {
	if len(page) < pageHeader || order.Uint16(page[8:]) != leafFlag {
		return
	}
	count := min(int(order.Uint16(page[10:])), (len(page)-pageHeader)/elementSize)
	for i := range count {
		at := uint64(pageHeader + i*elementSize)
		e := page[at:]
		from, keyLen, valueLen := at+uint64(order.Uint32(e[4:])), uint64(order.Uint32(e[8:])), uint64(order.Uint32(e[12:]))
		if from+keyLen+valueLen > uint64(len(page)) {
			continue
		}
		key, value := page[from:from+keyLen], page[from+keyLen:from+keyLen+valueLen]
		if order.Uint32(e) == bucketElement && len(value) > inlineHeader {
			salvagePage(value[inlineHeader:], found)
			continue
		}
		if d, err := decodeDelivery(key, value); err == nil && !found[string(key)].Time.After(d.Time) {
			found[string(key)] = d
		}
	}
}

// takeOver records the deliveries the audit log did not know, there too.
func (s *Store) takeOver(found map[string]delivery) error {
	added := 0
	for keys := range slices.Chunk(slices.Sorted(maps.Keys(found)), replayBatch) {
		err := s.update(func(t *txn) error {
			for _, key := range keys {
				_, known, err := t.delivery([]byte(key))
				if err != nil {
					return err
				}
				if known {
					continue
				}
				added++
				d := found[key]
				if err := errors.Join(t.write(knownEntry([]byte(key), d)), t.putDelivery([]byte(key), d)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if added > 0 {
		s.say(fmt.Sprintf("%d deliveries the audit log had lost were found in the damaged database", added))
	}
	return nil
}
