package store

import "fmt"

// A doubt belongs to the content, not to the name it was pushed under: the same
// content may lie there under another name, or come again after the first was
// taken away, and whatever push succeeds then may be the second. So a doubt is
// kept by content until that is delivered. So is what a gateway alone has answered
// for: that holds no file, but the delivery may be the second.
const (
	lostAnswer  byte = 0 // of a whole file
	gatewayOnly byte = 1 // has answered
)

// inDoubt says whether the content may be in the library although no answer said so.
func (r *record) inDoubt() bool { return r.unfinished() && (r.Doubts > 0 || r.Begun && r.Released) }

// unsure says whether its delivery may be the second, at least.
func (r *record) unsure() bool { return r.unfinished() && r.Doubtful }

// keepDoubt notes what is in doubt about old when r, nil for nothing, takes its place.
func (t *txn) keepDoubt(old, r *record) error {
	if r == nil || r.State == Ignored || !old.same(&r.File) {
		if err := t.noteDoubt(old, old.inDoubt(), old.unsure()); err != nil {
			return err
		}
	}
	if r == nil {
		return nil
	}
	return t.noteDoubt(r, r.inDoubt() && r.Doubts > 0 && r.Doubts != old.Doubts, r.unsure() && !old.Doubtful)
}

func (t *txn) noteDoubt(r *record, lost, unsure bool) error {
	switch {
	case lost:
		return t.putDoubt(r, lostAnswer)
	case unsure && t.doubt(r) != lostAnswer:
		return t.putDoubt(r, gatewayOnly)
	}
	return nil
}

// noDoubt is what doubt returns for none.
const noDoubt byte = 255

// doubt returns which doubt is kept about a content.
func (t *txn) doubt(r *record) byte {
	b := t.tx.Bucket(doubtBucket)
	if b == nil {
		return noDoubt
	}
	if v := b.Get(contentKey(r.Dest, r.SHA256)); len(v) >= valueHeader {
		return v[1]
	}
	return noDoubt
}

// putDoubt makes the bucket where there is none: it came after schema 1.
func (t *txn) putDoubt(r *record, kind byte) error {
	b, err := t.tx.CreateBucketIfNotExists(doubtBucket)
	if err != nil {
		return fmt.Errorf("make bucket %s: %w", doubtBucket, err)
	}
	t.changed = true
	key := contentKey(r.Dest, r.SHA256)
	return b.Put(key, seal(doubtBucket, key, kind, []byte(r.Path)))
}

// inherit gives a record the doubt there is about its content under another name.
func (t *txn) inherit(r *record) {
	switch t.doubt(r) {
	case lostAnswer:
		r.Doubts = max(r.Doubts, 1)
	case gatewayOnly:
		r.Doubtful = true
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
func (t *txn) replayDoubt(e *Entry, kind byte) error {
	r := record{File: e.file()}
	if checkContent(&r.File) != nil {
		return nil
	}
	if _, known, err := t.delivery(contentKey(e.Dest, e.SHA256)); err != nil || known {
		return err
	}
	return t.noteDoubt(&r, kind == lostAnswer, kind == gatewayOnly)
}
