package store

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"

	"github.com/digime-sync/digime-sync/store/failpoint"
)

// replayTail brings the database up to the end of the audit log.
func (s *Store) replayTail() error {
	var from int64
	err := s.view(func(t *txn) error {
		from = int64(t.number(auditKey))
		return nil
	})
	if err != nil {
		return err
	}
	lost := from > s.audit.end
	if !s.audit.at(from) {
		s.log.Warn("audit log is not the one the database knows, it is read from its beginning", "path", s.audit.path, "offset", from)
		from = 0
	}
	damaged, err := s.replayFrom(from)
	if err == nil && lost {
		err = s.restoreAudit()
	}
	if err != nil {
		return fmt.Errorf("replay audit log: %w", err)
	}
	if damaged > 0 {
		s.say(fmt.Sprintf("%d damaged lines of the audit log were left out", damaged))
	}
	return nil
}

// replayFrom replays the log from an offset on, some thousand entries in a transaction.
func (s *Store) replayFrom(from int64) (damaged int, err error) {
	var entries []Entry
	flush := func() error {
		if err := failpoint.Hit("store.replay"); err != nil {
			return err
		}
		err := s.update(func(t *txn) error { return t.replayAll(entries) })
		entries = entries[:0]
		return err
	}
	s.upTo = from
	damaged, err = s.audit.scan(from, func(e Entry, next int64) error {
		entries, s.upTo = append(entries, e), next
		if len(entries) < replayBatch {
			return nil
		}
		return flush()
	})
	if err != nil {
		return damaged, err
	}
	s.upTo = s.audit.end
	return damaged, flush()
}

func (t *txn) replayAll(entries []Entry) error {
	t.changed = len(entries) > 0
	for i := range entries {
		if err := t.replay(&entries[i]); err != nil {
			return err
		}
	}
	return nil
}

// restoreAudit copies what the database knows of deliveries into an audit log
// that has lost lines, so that again either of the two is enough.
func (s *Store) restoreAudit() error {
	n := 0
	for from := []byte{}; from != nil; {
		var lines []byte
		err := s.view(func(t *txn) (err error) {
			var count int
			lines, count, from, err = t.deliveryLines(from)
			n += count
			return err
		})
		if err != nil {
			return err
		}
		if err := s.audit.append(lines); err != nil {
			return err
		}
	}
	s.say(fmt.Sprintf("the audit log had lost lines; the %d deliveries the database knows were copied into it", n))
	s.upTo = s.audit.end
	return s.update(func(t *txn) error {
		t.changed = true
		return nil
	})
}

// deliveryLines returns some thousand deliveries as lines of the audit log, and
// where to go on, nil at the end.
func (t *txn) deliveryLines(from []byte) (lines []byte, n int, next []byte, err error) {
	c := t.bucket(deliveredBucket).Cursor()
	for k, v := c.Seek(from); k != nil; k, v = c.Next() {
		if n == replayBatch {
			return lines, n, bytes.Clone(k), nil
		}
		d, err := decodeDelivery(k, v)
		if err != nil {
			return nil, 0, nil, &badRecordError{err}
		}
		line, err := knownEntry(k, d).line()
		if err != nil {
			return nil, 0, nil, err
		}
		lines = append(lines, line...)
		n++
	}
	return lines, n, nil, nil
}

func knownEntry(key []byte, d delivery) Entry {
	return Entry{Time: d.Time, Event: EventKnown, Path: d.Path, Doubtful: d.Doubtful, Key: hex.EncodeToString(key)}
}

// replay does what an entry of the audit log says, if the database does not know it yet.
func (t *txn) replay(e *Entry) error {
	switch e.Event {
	case EventDelivered:
		return t.replayDelivered(e)
	case EventAfterDone:
		r, ok, err := t.get(e.Path)
		if err != nil || !ok || r.SHA256 != e.SHA256 || r.After == "" {
			return err
		}
		n := r
		n.After, n.MovedTo = "", cmp.Or(e.MovedTo, r.MovedTo)
		return t.save(&r, &n)
	case EventInDoubt:
		return t.replayDoubt(e, lostAnswer)
	case EventGateway:
		return t.replayDoubt(e, gatewayOnly)
	case EventKnown:
		key, err := hex.DecodeString(e.Key)
		if err != nil || len(key) == 0 {
			return nil
		}
		return t.replayKnown(key, e)
	}
	return nil
}

func (t *txn) replayKnown(key []byte, e *Entry) error {
	if _, ok, err := t.delivery(key); err != nil || ok {
		return err
	}
	return t.putDelivery(key, delivery{Path: e.Path, Time: e.Time, Doubtful: e.Doubtful})
}

func (t *txn) replayDelivered(e *Entry) error {
	n := record{File: e.file()}
	if checkContent(&n.File) != nil {
		return nil
	}
	if err := t.replayKnown(contentKey(e.Dest, e.SHA256), e); err != nil {
		return err
	}
	r, ok, err := t.get(e.Path)
	if err != nil {
		return err
	}
	switch {
	case !ok:
	case r.same(&n.File) && r.Begun && !r.Again:
		n.Note = r.Note
	case e.Time.Before(r.UpdatedAt):
		return nil // something newer is known of the path
	case r.same(&n.File):
		n.Note = r.Note
	case r.State != Delivered && r.State != Duplicate:
		return nil // the path has other content now
	}
	return t.save(&r, &n)
}
