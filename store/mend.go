package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Mend looks whether the open files are still those that lie in the state
// folder. What was deleted or exchanged under the store is written back from
// what is still open, and a file somebody put in its place is kept under a dated
// name; an audit log that was cut gets its deliveries back from the database. It
// returns what it did, in words. Errors: those of the file system, after which
// Mend may be called again; *DamagedError when the database cannot be read any
// more, and *LockedError when another process works in the folder: then the
// program must end, and say so.
func (s *Store) Mend() (did []string, err error) {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if s.closed || s.reopen {
		return nil, nil // the next change opens the database anew
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state folder again: %w", diskFull(err))
	}
	for _, mend := range []func() (string, error){s.mendLock, s.mendAudit, s.mendDB, s.mendPauses} {
		what, err := mend()
		if what != "" {
			s.log.Error("state folder was mended", "what", what)
			did = append(did, what)
		}
		if err != nil {
			return did, err
		}
	}
	return did, nil
}

// inPlace says whether what lies at path is this open file.
func inPlace(f *os.File, path string) (same, exists bool, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	own, err := f.Stat()
	return err == nil && os.SameFile(info, own), true, err
}

// mendLock takes the lock again where its file was deleted: another process
// could take it.
func (s *Store) mendLock() (string, error) {
	same, _, err := inPlace(s.lock.f, filepath.Join(s.dir, pidName))
	if err != nil || same {
		return "", err
	}
	lock, err := lockDir(s.dir)
	if err != nil {
		return "", diskFull(err)
	}
	old := s.lock
	s.lock = lock
	return "the lock file was deleted while the service ran; it was made again", old.release()
}

// mendDB writes the database back where its file was deleted or exchanged.
func (s *Store) mendDB() (string, error) {
	s.dbMu.RLock()
	db, file := s.db, s.file
	s.dbMu.RUnlock()
	if db == nil {
		return "", nil
	}
	same, exists, err := inPlace(file, s.path)
	if err != nil || same {
		return "", err
	}
	temp := s.path + ".new"
	err = s.guard(func() error { return copyDB(temp, db) })
	if damaged := s.damage(); damaged != nil {
		return "", damaged
	}
	if err != nil {
		return "", fmt.Errorf("write the database back: %w", errors.Join(diskFull(err), removeIfThere(temp)))
	}
	kept, err := s.keepStranger(exists, s.path)
	if err != nil {
		return "", err
	}
	if err := s.closeDB(); err != nil {
		return "", fmt.Errorf("close database: %w", err)
	}
	s.reopen, s.newest = true, 0 // until it is open again; the copy counts anew
	if err := errors.Join(replace(temp, s.path), syncDir(s.dir)); err != nil {
		return "", fmt.Errorf("put the database back: %w", diskFull(err))
	}
	if err := s.openDB(s.path); err != nil {
		return "", err
	}
	s.reopen = false
	return "the database was deleted or exchanged while the service ran; it was written back as it was" + kept, nil
}

// keepStranger sets aside what somebody put in the place of an open file.
func (s *Store) keepStranger(exists bool, path string) (said string, err error) {
	if !exists {
		return "", nil
	}
	aside, err := setAside(path, time.Now())
	if err != nil {
		return "", fmt.Errorf("set aside what was put in the place of %s: %w", path, err)
	}
	return ", and what lay in its place was set aside as " + aside, nil
}

// mendAudit writes the audit log back where its file was deleted or exchanged,
// and restores its deliveries where it was cut.
func (s *Store) mendAudit() (string, error) {
	a := s.audit
	if a.f == nil || a.dirty {
		return "", nil // the next append opens it anew
	}
	same, exists, err := inPlace(a.f, a.path)
	if err != nil {
		return "", err
	}
	if !same {
		said, err := a.putBack(s, exists)
		if err != nil {
			return "", fmt.Errorf("write the audit log back: %w", diskFull(err))
		}
		return said, nil
	}
	if a.shortened() {
		if err := a.reopen(); err != nil {
			return "", fmt.Errorf("open the cut audit log: %w", diskFull(err))
		}
	}
	if !a.cut {
		return "", nil
	}
	if err := s.restoreAudit(); err != nil {
		return "", err
	}
	a.cut = false
	return "the audit log was cut while the service ran; the deliveries the database knows were copied into it", nil
}

// putBack copies what the open but unlinked log holds to its old name.
func (a *auditLog) putBack(s *Store, exists bool) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(a.path), tempPattern)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, io.NewSectionReader(a.f, 0, a.end))
	err = errors.Join(err, f.Chmod(auditPerm), adopt(f.Name()))
	if err == nil {
		err = f.Sync()
	}
	kept := ""
	if err == nil {
		kept, err = s.keepStranger(exists, a.path)
	}
	if err != nil {
		return "", errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	// Closed before it is renamed: Windows does not rename open files.
	if err := errors.Join(f.Close(), replace(f.Name(), a.path), syncDir(filepath.Dir(a.path))); err != nil {
		return "", errors.Join(err, removeIfThere(f.Name()))
	}
	return "the audit log was deleted or exchanged while the service ran; it was written back as it was" + kept, a.reopen()
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
