package store

import (
	"bytes"
	"fmt"
	"time"

	"github.com/digime-sync/digime-sync/store/failpoint"
)

// The record of a file is kept while the file lies in its folder, so that it is
// not read again. Of one that has gone the audit log tells for good, and
// delivered.1 keeps its content from being pushed a second time; so its record
// may go, or the database would grow with every file that ever passed. Which
// files have gone is not the store's to know.

// restPage is how many records Resting looks at in one read transaction.
const restPage = 1000

// Resting returns the records of a folder's files of which nothing is left to be
// done: delivered, duplicate or taken away before they were pushed. It looks at
// some hundred records behind the path from, "" for the first, and says where
// to go on, "" at the end.
func (s *Store) Resting(folder, from string) (page []File, next string, err error) {
	prefix := []byte(folder)
	first := []byte(max(folder, from))
	err = s.view(func(t *txn) error {
		page, next = nil, ""
		c := t.bucket(filesBucket).Cursor()
		k, v := c.Seek(first)
		for n := 0; k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
			if n == restPage {
				next = string(k)
				return nil
			}
			n++
			r, err := decodeRecord(k, v)
			if err != nil {
				return &badRecordError{err}
			}
			if r.Folder == folder && r.atRest() {
				page = append(page, r.File)
			}
		}
		return nil
	})
	return page, next, err
}

// atRest says whether nothing is left to be done about a file, nor by a person.
func (r *record) atRest() bool {
	return !r.unfinished() && !r.queued() && !r.afterDue() && r.Note == ""
}

// stands says whether a record is still the one that f was.
func (r *record) stands(f *File) bool {
	return r.State == f.State && r.Sig == f.Sig && r.SHA256 == f.SHA256 && r.UpdatedAt.Equal(f.UpdatedAt)
}

// Prune drops, in one transaction, the records of files that Resting returned
// and that have gone since. One that has changed meanwhile stays. It returns how
// many it dropped. What was delivered stays known, as does a doubt.
func (s *Store) Prune(gone []File) (n int, err error) {
	if len(gone) == 0 {
		return 0, nil
	}
	if err := failpoint.Hit("prune.forget"); err != nil {
		return 0, fmt.Errorf("drop records of files that are gone: %w", err)
	}
	err = s.commit(func(t *txn) error {
		n = 0
		for i := range gone {
			old, ok, err := t.get(gone[i].Path)
			if err != nil {
				return err
			}
			if !ok || !old.atRest() || !old.stands(&gone[i]) {
				continue
			}
			if err := t.save(&old, nil); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err == nil {
		err = failpoint.Hit("prune.forgotten")
	}
	if err != nil {
		return 0, fmt.Errorf("drop records of files that are gone: %w", err)
	}
	return n, nil
}

// Pruned returns when the records were last gone through, the zero time if never.
func (s *Store) Pruned() (at time.Time, err error) {
	err = s.view(func(t *txn) error {
		if seconds := t.number(prunedKey); seconds > 0 {
			at = time.Unix(int64(seconds), 0)
		}
		return nil
	})
	return at, err
}

// SetPruned notes that they have been gone through.
func (s *Store) SetPruned(now time.Time) error {
	return s.commit(func(t *txn) error { return t.putNumber(prunedKey, uint64(now.Unix())) })
}
