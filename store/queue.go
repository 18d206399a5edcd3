package store

import (
	"errors"
	"fmt"
	"time"
)

// Enqueue records a file that is ready, in one transaction, and returns its
// state: delivered or duplicate if its destination has the content already
// (unless f.Again), its present state if it is queued with this content
// already, held if a person has to decide about it in doubt (unless f.Again),
// else queued, to be due at f.NextAttempt if that is later than now. Content that
// was queued for the path before is given up.
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
	case old.State == Held && old.Doubts > 0 && !old.queued() && old.same(&f) && !f.Again:
		*r = *old // in doubt: a person decides, whatever else touches the file
		r.Sig, r.SidecarSig, r.Sidecar, r.Folder = f.Sig, f.SidecarSig, f.Sidecar, f.Folder
	case old.same(&f) && old.queued():
		*r = *old
		r.Sig, r.SidecarSig, r.Sidecar, r.Folder, r.After = f.Sig, f.SidecarSig, f.Sidecar, f.Folder, f.After
		r.Again = r.Again || f.Again
	default:
		r.State, r.QueuedAt, r.Since = Queued, r.UpdatedAt, r.UpdatedAt
		if old.same(&f) && (!f.Again || old.State == Held) {
			r.Attempts, r.Doubts, r.Begun, r.Released, r.Doubtful = old.Attempts, old.Doubts, old.Begun, old.Released, old.Doubtful
		}
		due := now
		if f.NextAttempt.After(now) {
			due, r.NextAttempt = f.NextAttempt, f.NextAttempt
		}
		return t.enqueue(r, due)
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

// Begin records that a push begins, before the cloud hears of it; released
// says that the whole body may leave without a further step. It returns false
// when there is nothing to push: the content was delivered meanwhile, the State
// is duplicate or delivered then, or the file has left the queue. The file it
// returns may have other content, and another destination, than Next said. On a
// full disk it is an error unless there is room to write the answer down.
func (s *Store) Begin(path string, now time.Time, released bool) (f File, ok bool, err error) {
	if err := s.reserve(); err != nil {
		return File{}, false, fmt.Errorf("begin push: %w", err)
	}
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
	t.inherit(r)
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
	carryOut := func(t *txn) error {
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
	}
	err := s.commit(carryOut)
	if s.spend(err) {
		err = s.commit(carryOut)
	}
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

// Hasten makes a file that waits in the queue due now, and returns it as it
// stands then; held, but not in doubt, it is queued by that. It is false, and
// nothing changes, if the file is not in the queue or is being pushed.
func (s *Store) Hasten(path string, now time.Time) (f File, ok bool, err error) {
	err = s.commit(func(t *txn) error {
		old, found, err := t.get(path)
		ok = found && old.queued() && old.State != Pushing
		if err != nil || !ok {
			return err
		}
		r := old
		if r.State == Held && r.Doubts == 0 {
			r.State = Queued
		}
		r.UpdatedAt, r.NextAttempt = now.UTC(), now.UTC()
		r.Due = unixNano(now)
		f = r.File
		return t.save(&old, &r)
	})
	if err != nil {
		return File{}, false, fmt.Errorf("make due: %w", err)
	}
	return f, ok, nil
}

// Audit adds a line about a file to the audit log, durable on return. The
// store's own events are not for others to write.
func (s *Store) Audit(event string, f File) error {
	if event == EventDelivered || event == EventAfterDone || event == EventKnown {
		return fmt.Errorf("audit %s: the store writes this event itself", event)
	}
	e := entryOf(event, &f, time.Now())
	err := s.commit(func(t *txn) error { return t.write(e) })
	if err != nil {
		return fmt.Errorf("audit %s: %w", event, err)
	}
	return nil
}
