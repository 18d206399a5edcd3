package store

import "fmt"

// A doubt belongs to the content, not to the name it was pushed under: the same
// content may lie there under another name, or come again after the first was
// taken away, and whatever push succeeds then may be the second. So a doubt is
// kept by content until that is delivered.

// inDoubt says whether the content may be in the library although no answer said so.
func (r *record) inDoubt() bool { return r.unfinished() && (r.Doubts > 0 || r.Begun && r.Released) }

// keepDoubt notes what is in doubt about old when r, nil for nothing, takes its place.
func (t *txn) keepDoubt(old, r *record) error {
	lost := old.inDoubt() && (r == nil || r.State == Ignored || !old.same(&r.File))
	if lost {
		if err := t.putDoubt(old); err != nil {
			return err
		}
	}
	if r == nil || r.Doubts == 0 || r.Doubts == old.Doubts || !r.inDoubt() {
		return nil
	}
	return t.putDoubt(r)
}

// putDoubt makes the bucket where there is none: it came after schema 1.
func (t *txn) putDoubt(r *record) error {
	b, err := t.tx.CreateBucketIfNotExists(doubtBucket)
	if err != nil {
		return fmt.Errorf("make bucket %s: %w", doubtBucket, err)
	}
	t.changed = true
	key := contentKey(r.Dest, r.SHA256)
	return b.Put(key, seal(doubtBucket, key, 0, []byte(r.Path)))
}

// inherit gives a record the doubt there is about its content under another name.
func (t *txn) inherit(r *record) {
	b := t.tx.Bucket(doubtBucket)
	if r.Doubts == 0 && b != nil && b.Get(contentKey(r.Dest, r.SHA256)) != nil {
		r.Doubts = 1
	}
}

// endDoubt forgets the doubt about a content that is delivered.
func (t *txn) endDoubt(key []byte) error {
	b := t.tx.Bucket(doubtBucket)
	if b == nil || b.Get(key) == nil {
		return nil
	}
	return b.Delete(key)
}

// replayDoubt brings a doubt back that the audit log knows of.
func (t *txn) replayDoubt(e *Entry) error {
	r := record{File: e.file()}
	if checkContent(&r.File) != nil {
		return nil
	}
	if _, known, err := t.delivery(contentKey(e.Dest, e.SHA256)); err != nil || known {
		return err
	}
	return t.putDoubt(&r)
}
