package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

// filesFill is how full bbolt leaves a page of records that it splits. Names mostly
// come in their order, with a date or a number in them, so that nothing is
// added to a page any more once it is split.
const filesFill = 0.9

// txn is a transaction with the lines it adds to the audit log.
type txn struct {
	tx      *bbolt.Tx
	lines   []byte
	changed bool
}

func (t *txn) bucket(name []byte) *bbolt.Bucket {
	b := t.tx.Bucket(name)
	if b == nil {
		panic(fmt.Sprintf("bucket %s is gone", name)) // guard makes it a DamagedError
	}
	if bytes.Equal(name, filesBucket) {
		b.FillPercent = filesFill
	}
	return b
}

func (t *txn) put(bucket, key, value []byte) error {
	t.changed = true
	return t.bucket(bucket).Put(key, value)
}

func (t *txn) del(bucket, key []byte) error {
	t.changed = true
	return t.bucket(bucket).Delete(key)
}

func (t *txn) number(key []byte) uint64 {
	v := t.bucket(metaBucket).Get(key)
	if len(v) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(v)
}

func (t *txn) putNumber(key []byte, n uint64) error {
	return t.put(metaBucket, key, binary.BigEndian.AppendUint64(nil, n))
}

// get returns the record of a path.
func (t *txn) get(path string) (r record, ok bool, err error) {
	v := t.bucket(filesBucket).Get([]byte(path))
	if v == nil {
		return r, false, nil
	}
	r, err = decodeRecord([]byte(path), v)
	if err != nil {
		return r, false, &badRecordError{err}
	}
	return r, true, nil
}

// text returns the string a sealed value holds, "" if there is none.
func (t *txn) text(bucket, key []byte) (string, error) {
	v := t.bucket(bucket).Get(key)
	if v == nil {
		return "", nil
	}
	data, err := unseal(bucket, key, v)
	if err != nil {
		return "", &badRecordError{err}
	}
	return string(data), nil
}

// delivery returns what is known of a content at a destination.
func (t *txn) delivery(key []byte) (d delivery, ok bool, err error) {
	v := t.bucket(deliveredBucket).Get(key)
	if v == nil {
		return d, false, nil
	}
	d, err = decodeDelivery(key, v)
	if err != nil {
		return d, false, &badRecordError{err}
	}
	return d, true, nil
}

func (t *txn) putDelivery(key []byte, d delivery) error {
	v, err := d.encode(key)
	if err != nil {
		return err
	}
	if err := t.endDoubt(key); err != nil {
		return err
	}
	return t.put(deliveredBucket, key, v)
}

// save replaces old, the zero record if there was none, by r, and what follows
// from it in the other buckets. r nil removes it.
func (t *txn) save(old, r *record) error {
	if old.Path != "" {
		if err := t.unlink(old); err != nil {
			return err
		}
	}
	if err := t.keepDoubt(old, r); err != nil {
		return err
	}
	if r == nil {
		return t.del(filesBucket, []byte(old.Path))
	}
	v, err := r.encode()
	if err != nil {
		return err
	}
	if err := t.put(filesBucket, []byte(r.Path), v); err != nil {
		return err
	}
	return t.link(r)
}

func (t *txn) unlink(r *record) error {
	if r.queued() {
		if err := t.del(queueBucket, queueKey(r.Library, r.Due, r.Seq)); err != nil {
			return err
		}
	}
	if r.afterDue() {
		if err := t.del(afterBucket, []byte(r.Path)); err != nil {
			return err
		}
	}
	if r.unfinished() {
		if err := t.del(openBucket, []byte(r.Path)); err != nil {
			return err
		}
	}
	if r.State != Pushing {
		return nil
	}
	key := contentKey(r.Dest, r.SHA256)
	path, err := t.text(pushingBucket, key)
	if err != nil || path != r.Path {
		return err
	}
	return t.del(pushingBucket, key)
}

func (t *txn) link(r *record) error {
	if r.queued() {
		key := queueKey(r.Library, r.Due, r.Seq)
		if err := t.put(queueBucket, key, seal(queueBucket, key, 0, []byte(r.Path))); err != nil {
			return err
		}
	}
	if r.afterDue() {
		if err := t.put(afterBucket, []byte(r.Path), seal(afterBucket, []byte(r.Path), 0, nil)); err != nil {
			return err
		}
	}
	if r.unfinished() {
		if err := t.put(openBucket, []byte(r.Path), seal(openBucket, []byte(r.Path), 0, nil)); err != nil {
			return err
		}
	}
	if r.State != Pushing {
		return nil
	}
	key := contentKey(r.Dest, r.SHA256)
	return t.put(pushingBucket, key, seal(pushingBucket, key, 0, []byte(r.Path)))
}

func (r *record) afterDue() bool {
	return r.After != "" && (r.State == Delivered || r.State == Duplicate)
}

func (r *record) unfinished() bool {
	return r.State != Delivered && r.State != Duplicate && r.State != Ignored
}

// enqueue gives the record a place in the queue.
func (t *txn) enqueue(r *record, due time.Time) error {
	seq, err := t.bucket(queueBucket).NextSequence()
	if err != nil {
		return fmt.Errorf("number the queue entry: %w", err)
	}
	r.Seq, r.Due = seq, unixNano(due)
	return nil
}

// write adds an entry to the audit log, flushed before this transaction commits.
func (t *txn) write(e Entry) error {
	line, err := e.line()
	if err != nil {
		return err
	}
	if len(line) > maxLine {
		return errors.New("audit entry is too long")
	}
	t.lines = append(t.lines, line...)
	return nil
}

// lanes calls fn with each library that has an entry in the queue.
func (t *txn) lanes(fn func(library string)) {
	c := t.bucket(queueBucket).Cursor()
	for k, _ := c.First(); k != nil; {
		i := bytes.IndexByte(k, 0)
		if i < 0 {
			k, _ = c.Next()
			continue
		}
		library := string(k[:i])
		fn(library)
		k, _ = c.Seek(append([]byte(library), 1))
	}
}
