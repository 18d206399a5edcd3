package store

import (
	"bytes"
	"math"
	"time"
)

// clockBack is how far the clock must have gone back for due times to be doubted.
const clockBack = time.Minute

// longestWait is more than anybody is asked to wait before the next attempt: a
// due time beyond it comes from a wrong clock.
const longestWait = 25 * time.Hour

// Next returns the first file of a library that is not to be skipped, in the
// order of due time and arrival, and when it is due, which may be later than
// now. A file whose content is being pushed, or was handed out by Next and has
// not come to Begin or Defer yet, under another name is passed over.
// skip runs outside any transaction. An entry with Begun set was being pushed
// when the program stopped.
func (s *Store) Next(lane string, now time.Time, skip func(path string) bool) (f File, due time.Time, ok bool, err error) {
	const few = 16
	prefix := append([]byte(lane), 0)
	for from := prefix; from != nil; {
		var paths []string
		paths, from, err = s.queuePage(prefix, from, few)
		if err != nil {
			return File{}, time.Time{}, false, err
		}
		for _, path := range paths {
			if skip != nil && skip(path) {
				continue
			}
			r, ready, err := s.ready(lane, path)
			if err == nil && ready {
				ready, err = s.handOut(&r)
			}
			if err != nil {
				return File{}, time.Time{}, false, err
			}
			if ready {
				return r.File, r.dueTime(now), true, nil
			}
		}
	}
	return File{}, time.Time{}, false, nil
}

// handOut remembers that a file is about to be pushed: of two with the same
// content for the same library only one may be.
func (s *Store) handOut(r *record) (ok bool, err error) {
	key := string(contentKey(r.Dest, r.SHA256))
	s.mu.Lock()
	other := s.given[key]
	s.mu.Unlock()
	if other != "" && other != r.Path {
		taken := false
		err := s.view(func(t *txn) error {
			o, found, err := t.get(other)
			taken = found && o.queued() && string(contentKey(o.Dest, o.SHA256)) == key
			return err
		})
		if err != nil || taken {
			return false, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given[key] = r.Path
	return true, nil
}

// takeBack ends what handOut began.
func (s *Store) takeBack(f File) {
	key := string(contentKey(f.Dest, f.SHA256))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.given[key] == f.Path {
		delete(s.given, key)
	}
}

// queuePage copies up to n paths of a lane, and where to go on, nil at the end.
func (s *Store) queuePage(prefix, from []byte, n int) (paths []string, next []byte, err error) {
	err = s.view(func(t *txn) error {
		c := t.bucket(queueBucket).Cursor()
		k, v := c.Seek(from)
		for ; k != nil && bytes.HasPrefix(k, prefix) && len(paths) < n; k, v = c.Next() {
			path, err := unseal(queueBucket, k, v)
			if err != nil {
				return &badRecordError{err}
			}
			paths = append(paths, string(path))
			next = append(bytes.Clone(k), 0)
		}
		if len(paths) < n {
			next = nil
		}
		return nil
	})
	return paths, next, err
}

// ready returns the record of a queue entry, unless it has gone or its content
// is on its way under another name.
func (s *Store) ready(lane, path string) (r record, ok bool, err error) {
	err = s.view(func(t *txn) error {
		r, ok, err = t.get(path)
		if err != nil || !ok {
			return err
		}
		other, err := t.text(pushingBucket, contentKey(r.Dest, r.SHA256))
		ok = r.queued() && r.Library == lane && (other == "" || other == path)
		t.inherit(&r)
		return err
	})
	return r, ok, err
}

// dueTime is when the file is due. If the clock was ahead when it was queued or
// deferred, the time means nothing and the file is due now. Only what a folder
// holds back, which stays queued, may be asked to wait for longer than longestWait.
func (r *record) dueTime(now time.Time) time.Time {
	due := time.Unix(0, r.Due)
	early := now.Add(clockBack)
	if r.QueuedAt.After(early) || r.UpdatedAt.After(early) || r.State != Queued && due.After(now.Add(longestWait)) {
		return now
	}
	return due
}

// unixNano is a time as the queue keeps it. The zero time is long ago, and what
// lies beyond the year 2262 is there.
func unixNano(t time.Time) int64 {
	switch {
	case t.IsZero() || t.Year() < 1970:
		return 0
	case t.Year() > 2261:
		return math.MaxInt64
	}
	return t.UnixNano()
}

// Lanes returns the libraries with something queued.
func (s *Store) Lanes() (lanes []string, err error) {
	err = s.view(func(t *txn) error {
		t.lanes(func(library string) { lanes = append(lanes, library) })
		return nil
	})
	return lanes, err
}
