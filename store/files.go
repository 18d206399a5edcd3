package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// pageSize is how many entries are copied out of one read transaction.
const pageSize = 256

// Get returns what is known of a path, false if nothing is.
func (s *Store) Get(path string) (f File, ok bool, err error) {
	err = s.view(func(t *txn) error {
		r, found, err := t.get(path)
		f, ok = r.File, found
		return err
	})
	return f, ok, err
}

// Known says whether a file with these signatures needs no work before the
// queue: it was seen just like this, or delivered just like this. A sidecar that
// was changed after the delivery is not known until SetSidecar has noted it; one
// that has gone since is. A file that was ignored, also because it had gone, or
// was moved away, is never known. What cannot be read is not known either.
func (s *Store) Known(path string, sig, sidecarSig Sig) bool {
	f, ok, err := s.Get(path)
	if err != nil || !ok || f.Sig != sig || f.State == Ignored || f.MovedTo != "" {
		return false
	}
	return f.SidecarSig == sidecarSig || f.State == Duplicate || f.State == Delivered && !f.sidecarNews(sidecarSig)
}

// sidecarNews says whether a sidecar with that signature is another than the one
// a delivered file was sent with. While file and sidecar are still to be moved or
// deleted, it is that one that is meant.
func (f *File) sidecarNews(sig Sig) bool {
	return f.After != "move" && f.After != "delete" && f.SidecarSig != Sig{} && sig != Sig{} && sig != f.SidecarSig
}

// SetSidecar notes that a delivered file has another sidecar since, which changes
// nothing, with the reason and hint that say so. It returns false, and nothing is
// noted, if that is no news of a delivered file.
func (s *Store) SetSidecar(seen File) (news bool, err error) {
	err = s.amend(seen.Path, func(f *File) {
		news = f.State == Delivered && f.Sig == seen.Sig && f.MovedTo == "" && f.sidecarNews(seen.SidecarSig)
		if news {
			f.Sidecar, f.SidecarSig, f.Reason, f.Hint = seen.Sidecar, seen.SidecarSig, seen.Reason, seen.Hint
		}
	})
	return news, err
}

// Put records a state outside the queue, such as waiting, refused, ignored, or
// retrying with what it Depends on, and takes the file out of the queue. What is known of an attempt whose
// outcome is open stays known as long as the content is the same.
func (s *Store) Put(f File) error {
	if err := checkPath(f.Path); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	queue := slices.Contains([]State{"", Queued, Pushing}, f.State) || f.State == Retrying && f.Depends == ""
	if queue || !slices.Contains(states, f.State) {
		return fmt.Errorf("put: state %q has its own step", f.State)
	}
	return s.commit(func(t *txn) error {
		old, ok, err := t.get(f.Path)
		if err != nil {
			return err
		}
		r := record{File: f}
		if ok && r.SHA256 == "" && r.Sig == old.Sig {
			r.SHA256, r.Dest = old.SHA256, old.Dest
			if r.Library == "" {
				r.Library = old.Library
			}
			r.Attempts, r.Doubts, r.Begun, r.Released, r.Doubtful = old.Attempts, old.Doubts, old.Begun, old.Released, old.Doubtful
		}
		r.NextAttempt = time.Time{}
		if r.State != Delivered && r.State != Duplicate {
			r.After = "" // what is not delivered is neither moved nor deleted
		}
		r.touch(&old)
		return t.save(&old, &r)
	})
}

// touch sets the times that the caller left open.
func (r *record) touch(old *record) {
	if r.UpdatedAt.IsZero() || r.UpdatedAt.Equal(old.UpdatedAt) {
		r.UpdatedAt = time.Now().UTC()
	}
	if r.Since.IsZero() {
		r.Since = r.UpdatedAt
		if old.State == r.State {
			r.Since = old.Since
		}
	}
}

// SetMoved records where a file was moved after its delivery or refusal, if the path is still known.
func (s *Store) SetMoved(path, target string) error {
	return s.amend(path, func(f *File) { f.MovedTo = target })
}

// SetNote records where a file's error note lies, "" for nowhere, if the path is still known.
func (s *Store) SetNote(path, note string) error {
	return s.amend(path, func(f *File) { f.Note = note })
}

// Unsettle has a file that rests outside the queue taken for one that is not
// known as it lies there, so that it is examined anew.
func (s *Store) Unsettle(path string) error {
	return s.amend(path, func(f *File) {
		if f.State == Waiting || f.State == Refused || f.State == Retrying && f.Depends != "" {
			f.Sig = Sig{}
		}
	})
}

// amend changes what does not touch a file's state or place in the queue.
func (s *Store) amend(path string, change func(*File)) error {
	return s.commit(func(t *txn) error {
		old, ok, err := t.get(path)
		if err != nil || !ok {
			return err
		}
		r := old
		if change(&r.File); r.File == old.File {
			return nil
		}
		return t.save(&old, &r)
	})
}

// Forget drops what is known of a path. That its content was delivered stays
// known, so that it is not pushed again.
func (s *Store) Forget(path string) error {
	return s.commit(func(t *txn) error {
		old, ok, err := t.get(path)
		if err != nil || !ok {
			return err
		}
		return t.save(&old, nil)
	})
}

// Files hands every file whose path begins with prefix to fn, in the order of
// the paths' bytes. Files that change meanwhile may be seen before or after.
// No transaction is held while fn runs, so fn may use the Store.
func (s *Store) Files(prefix string, fn func(File) error) error {
	return s.FilesBut(prefix, func(string, State, bool) bool { return false }, fn)
}

// FilesBut is Files without those that skip says yes to. It is asked with what can
// be had at a fraction of the cost: the path, the state, and whether a reason is
// recorded. While skip runs a transaction is held, so it must not use the Store.
func (s *Store) FilesBut(prefix string, skip func(path string, state State, reason bool) bool, fn func(File) error) error {
	from := []byte(prefix)
	for from != nil {
		var page []File
		err := s.view(func(t *txn) (err error) {
			page, from, err = t.filesPage([]byte(prefix), from, skip)
			return err
		})
		if err != nil {
			return err
		}
		for _, f := range page {
			if err := fn(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// filesPage reads some files on from a key, and returns the key to go on from,
// nil at the end.
func (t *txn) filesPage(prefix, from []byte, skip func(string, State, bool) bool) (page []File, next []byte, err error) {
	c := t.bucket(filesBucket).Cursor()
	for k, v := c.Seek(from); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
		if len(page) == pageSize {
			return page, bytes.Clone(k), nil
		}
		if len(v) > valueHeader && int(v[1]) < len(states) && skip(string(k), states[v[1]], bytes.Contains(v, reasonKey)) {
			continue
		}
		r, err := decodeRecord(k, v)
		if err != nil {
			return nil, nil, &badRecordError{err}
		}
		page = append(page, r.File)
	}
	return page, nil, nil
}

// reasonKey stands in the record of a file that has a reason; in a string JSON
// would escape the quotes.
var reasonKey = []byte(`"reason":`)

// Counts returns how many files are in each state that has any. It reads one
// byte of each record: about 0.2 s for a million files.
func (s *Store) Counts() (map[State]int, error) {
	var n [256]int
	err := s.view(func(t *txn) error {
		return t.bucket(filesBucket).ForEach(func(_, v []byte) error {
			if len(v) > valueHeader {
				n[v[1]]++
			}
			return nil
		})
	})
	counts := map[State]int{}
	for i, state := range states {
		if n[i] > 0 {
			counts[state] = n[i]
		}
	}
	return counts, err
}

// AfterPending hands every delivered or duplicate file whose after-action is
// still to do to fn, which may use the Store.
func (s *Store) AfterPending(fn func(File) error) error {
	done := map[string]bool{}
	for _, l := range s.lateDone() {
		done[l.path] = true
	}
	return s.indexed(afterBucket, func(r *record) bool { return r.afterDue() && !done[r.Path] }, fn)
}

// Unfinished hands every file that is neither delivered, duplicate nor ignored
// to fn, which may use the Store. It costs nothing for the others.
func (s *Store) Unfinished(fn func(File) error) error {
	return s.indexed(openBucket, (*record).unfinished, fn)
}

// indexed hands the files whose paths are the keys of a bucket to fn, a page at a time.
func (s *Store) indexed(bucket []byte, want func(*record) bool, fn func(File) error) error {
	for from := []byte{}; from != nil; {
		var page []File
		err := s.view(func(t *txn) error {
			c := t.bucket(bucket).Cursor()
			k, _ := c.Seek(from)
			from = nil
			for n := 0; k != nil && n < pageSize; k, _ = c.Next() {
				r, ok, err := t.get(string(k))
				if err != nil {
					return err
				}
				if ok && want(&r) {
					page = append(page, r.File)
				}
				if n++; n == pageSize {
					from = append(bytes.Clone(k), 0)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, f := range page {
			if err := fn(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// late is an after-action that was carried out and rides on the next commit.
type late struct {
	path string
	at   time.Time
}

// AfterDone records that the after-action of a file was carried out. It is
// durable with the next commit, at the latest with Close: to do it again is harmless.
func (s *Store) AfterDone(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return ErrClosed
	}
	s.late = append(s.late, late{path: path, at: time.Now()})
	return nil
}

func (s *Store) lateDone() []late {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.late[:len(s.late):len(s.late)]
}

func (s *Store) dropLate(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = s.late[n:]
}

func (t *txn) afterDone(l late) error {
	old, ok, err := t.get(l.path)
	if err != nil || !ok || !old.afterDue() {
		return err
	}
	if err := t.write(doneEntry(&old.File, l.at)); err != nil {
		return err
	}
	r := old
	r.After = ""
	return t.save(&old, &r)
}

// SetHold keeps a library's files from being pushed, until it is cleared.
func (s *Store) SetHold(h Hold) error {
	if err := checkLibrary(h.Library); err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	data, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	key := []byte(h.Library)
	return s.commit(func(t *txn) error {
		return t.put(holdsBucket, key, seal(holdsBucket, key, 0, data))
	})
}

// ClearHold takes a library's hold away, if it has one.
func (s *Store) ClearHold(library string) error {
	return s.commit(func(t *txn) error {
		if t.bucket(holdsBucket).Get([]byte(library)) == nil {
			return nil
		}
		return t.del(holdsBucket, []byte(library))
	})
}

// Holds returns the held libraries.
func (s *Store) Holds() (map[string]Hold, error) {
	holds := map[string]Hold{}
	err := s.view(func(t *txn) error {
		return t.bucket(holdsBucket).ForEach(func(k, v []byte) error {
			data, err := unseal(holdsBucket, k, v)
			if err != nil {
				return &badRecordError{err}
			}
			h := Hold{Library: string(k)}
			if err := json.Unmarshal(data, &h); err != nil {
				return &badRecordError{err}
			}
			holds[h.Library] = h
			return nil
		})
	})
	return holds, err
}
