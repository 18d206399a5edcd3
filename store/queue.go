package store

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"time"
)

// clockBack is how far the clock must have gone back for due times to be doubted.
const clockBack = time.Minute

// Enqueue records a file that is ready, in one transaction, and returns its
// state: delivered or duplicate if its destination has the content already
// (unless f.Again), its present state if it is queued with this content
// already, else queued. Content that was queued for the path before is given up.
func (s *Store) Enqueue(f File, now time.Time) (state State, err error) {
	if err := checkContent(&f); err != nil {
		return "", fmt.Errorf("enqueue: %w", err)
	}
	err = s.commit(func(t *txn) error {
		old, _, err := t.get(f.Path)
		if err != nil {
			return err
		}
		r := record{File: f}
		r.UpdatedAt = now.UTC()
		if err := t.place(&old, &r, now); err != nil {
			return err
		}
		state = r.State
		if r.File == old.File && r.Seq == old.Seq {
			return nil
		}
		return t.save(&old, &r)
	})
	if err != nil {
		return "", fmt.Errorf("enqueue: %w", err)
	}
	return state, nil
}

// place decides what becomes of a file that is ready.
func (t *txn) place(old, r *record, now time.Time) error {
	d, known, err := t.delivery(contentKey(r.Dest, r.SHA256))
	if err != nil {
		return err
	}
	f := r.File
	r.MovedTo = "" // it was seen where it is
	r.Attempts, r.Doubts, r.Begun, r.Released = 0, 0, false, false
	r.Reason, r.Hint, r.Code, r.Message, r.NextAttempt = "", "", "", "", time.Time{}
	switch {
	case known && !f.Again && d.Path == f.Path:
		t.placeOwn(old, r, d)
	case known && !f.Again:
		r.State, r.DeliveredAt, r.Since = Duplicate, d.Time, r.UpdatedAt
		if old.State == Duplicate && old.same(&f) {
			r.Since = old.Since
		}
	case old.same(&f) && old.queued():
		*r = *old
		r.Sig, r.SidecarSig, r.Sidecar, r.Folder, r.After = f.Sig, f.SidecarSig, f.Sidecar, f.Folder, f.After
		r.Again = r.Again || f.Again
	default:
		r.State, r.QueuedAt, r.Since = Queued, r.UpdatedAt, r.UpdatedAt
		if old.same(&f) && !f.Again {
			r.Attempts, r.Doubts, r.Begun, r.Released = old.Attempts, old.Doubts, old.Begun, old.Released
		}
		return t.enqueue(r, now)
	}
	return nil
}

// placeOwn keeps a file delivered whose own content it was that was delivered.
// To move or delete it is due again, since it is there again.
func (t *txn) placeOwn(old, r *record, d delivery) {
	f := r.File
	if old.same(&f) && old.State == Delivered {
		*r = *old
		r.Sig, r.SidecarSig, r.Sidecar, r.Folder = f.Sig, f.SidecarSig, f.Sidecar, f.Folder
		r.UpdatedAt, r.MovedTo = f.UpdatedAt, ""
	}
	r.State, r.DeliveredAt, r.Since, r.Doubtful = Delivered, d.Time, d.Time, d.Doubtful
	r.After = old.After
	if f.After == "move" || f.After == "delete" {
		r.After = f.After
	}
}

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
			if err != nil {
				return File{}, time.Time{}, false, err
			}
			if ready && s.handOut(&r) {
				return r.File, r.dueTime(now), true, nil
			}
		}
	}
	return File{}, time.Time{}, false, nil
}

// handOut remembers that a file is about to be pushed: of two with the same
// content for the same library only one may be.
func (s *Store) handOut(r *record) bool {
	key := string(contentKey(r.Dest, r.SHA256))
	s.mu.Lock()
	other, given := s.given[key]
	if !given {
		s.given[key] = r.Path
	}
	s.mu.Unlock()
	if !given || other == r.Path {
		return true
	}
	f, ok, err := s.Get(other)
	if err != nil || ok && f.SHA256 == r.SHA256 && f.Dest == r.Dest && f.State != Delivered && (f.State == Queued || f.State == Retrying || f.State == Held || f.State == Pushing) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given[key] = r.Path // the other has other content by now
	return true
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
		return err
	})
	return r, ok, err
}

// dueTime is when the file is due. If the clock was ahead when it was
// queued, the time means nothing and the file is due now.
func (r *record) dueTime(now time.Time) time.Time {
	if r.QueuedAt.After(now.Add(clockBack)) {
		return now
	}
	return time.Unix(0, r.Due)
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

// Begin records that a push begins, before the cloud hears of it; released
// says that the whole body may leave without a further step. It returns false
// when there is nothing to push: the content was delivered meanwhile, the State
// is duplicate or delivered then, or the file has left the queue. The file it
// returns may have other content, and another destination, than Next said.
func (s *Store) Begin(path string, now time.Time, released bool) (f File, ok bool, err error) {
	err = s.commit(func(t *txn) error {
		old, found, err := t.get(path)
		f, ok = old.File, false
		if err != nil || !found || !old.queued() {
			return err
		}
		r := old
		if ok, err = t.begin(&r, now, released); err != nil {
			return err
		}
		f = r.File
		return t.save(&old, &r)
	})
	if err != nil {
		return File{}, false, fmt.Errorf("begin push: %w", err)
	}
	s.takeBack(f)
	return f, ok, nil
}

func (t *txn) begin(r *record, now time.Time, released bool) (ok bool, err error) {
	key := contentKey(r.Dest, r.SHA256)
	d, known, err := t.delivery(key)
	if err != nil {
		return false, err
	}
	if known && !r.Again {
		r.DeliveredAt, r.Doubtful = d.Time, d.Doubtful
		if d.Path == r.Path {
			r.settle(Delivered, now)
		} else {
			r.settle(Duplicate, now)
		}
		return false, nil
	}
	other, err := t.text(pushingBucket, key)
	if err != nil {
		return false, err
	}
	if other != "" && other != r.Path {
		return false, ErrSameContent
	}
	r.State, r.UpdatedAt = Pushing, now.UTC()
	r.Begun, r.Released = true, released
	r.Attempts++
	return true, nil
}

// settle takes a record out of the queue: nothing of an attempt is open any more.
func (r *record) settle(state State, now time.Time) {
	r.State, r.UpdatedAt, r.Since = state, now.UTC(), now.UTC()
	r.Seq, r.Due, r.NextAttempt = 0, 0, time.Time{}
	r.Begun, r.Released, r.Again = false, false, false
}

// Released records that the last chunk of the running attempt may leave.
// ErrNotPushing if the file has other content by now: the push must be broken off.
func (s *Store) Released(path string) error {
	err := s.commit(func(t *txn) error {
		old, ok, err := t.get(path)
		if err != nil {
			return err
		}
		if !ok || old.State != Pushing || !old.Begun {
			return ErrNotPushing
		}
		if old.Released {
			return nil
		}
		r := old
		r.Released = true
		return t.save(&old, &r)
	})
	if err != nil {
		return fmt.Errorf("release the last chunk: %w", err)
	}
	return nil
}

// Delivered records that the library has the content f.SHA256 at f.Dest: in the
// audit log first, then in the database. f.After is what remains to be done. If
// the path has other content by now, that stays queued. Calling it again after
// an error is right, and leaves one line in the log.
func (s *Store) Delivered(f File, now time.Time) error {
	if err := checkContent(&f); err != nil {
		return fmt.Errorf("record delivery: %w", err)
	}
	err := s.commit(func(t *txn) error {
		old, ok, err := t.get(f.Path)
		if err != nil {
			return err
		}
		r := record{File: f}
		r.settle(Delivered, now)
		r.DeliveredAt = r.UpdatedAt
		if ok && old.same(&f) {
			r.Sig, r.SidecarSig, r.Sidecar = old.Sig, old.SidecarSig, old.Sidecar
		}
		key := contentKey(f.Dest, f.SHA256)
		_, known, err := t.delivery(key)
		if err != nil {
			return err
		}
		if known && ok && old.same(&f) && old.State == Delivered {
			return nil
		}
		if err := t.write(entryOf(EventDelivered, &r.File, now)); err != nil {
			return err
		}
		if err := t.putDelivery(key, delivery{Path: f.Path, Time: r.DeliveredAt, Doubtful: r.Doubtful}); err != nil {
			return err
		}
		if ok && !old.same(&f) {
			return nil
		}
		return t.save(&old, &r)
	})
	if err != nil {
		return fmt.Errorf("record delivery: %w", err)
	}
	return nil
}

// Defer keeps a file in the queue (State queued, retrying or held) until due,
// with the reason and Begun and Released as f has them. It changes nothing if
// the path has left the queue or has other content by now.
func (s *Store) Defer(f File, due time.Time) error {
	if err := checkContent(&f); err != nil {
		return fmt.Errorf("defer: %w", err)
	}
	if f.State != Queued && f.State != Retrying && f.State != Held {
		return errors.New("defer: state " + string(f.State) + " is not one of the queue")
	}
	err := s.commit(func(t *txn) error {
		old, ok, err := t.get(f.Path)
		if err != nil || !ok || !old.queued() || !old.same(&f) {
			return err
		}
		r := record{File: f}
		r.touch(&old)
		r.Sig, r.SidecarSig, r.Sidecar = old.Sig, old.SidecarSig, old.Sidecar
		r.NextAttempt = time.Unix(0, unixNano(due)).UTC()
		r.Seq, r.Due = old.Seq, unixNano(due) // among those due at one time the order of arrival stays
		return t.save(&old, &r)
	})
	if err != nil {
		return fmt.Errorf("defer: %w", err)
	}
	s.takeBack(f)
	return nil
}

// Audit adds a line about a file to the audit log, durable on return.
func (s *Store) Audit(event string, f File) error {
	e := entryOf(event, &f, time.Now())
	err := s.commit(func(t *txn) error { return t.write(e) })
	if err != nil {
		return fmt.Errorf("audit %s: %w", event, err)
	}
	return nil
}
