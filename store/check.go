package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/bbolt"
)

// Fault is something that is not as it must be in a state folder.
type Fault struct {
	What    string `json:"what"`
	Hint    string `json:"hint"`
	Library string `json:"library,omitempty"` // whose consent has to be given again, "" if none
}

// Checked is what an examination of a state folder looked at, and found.
type Checked struct {
	Files      int     `json:"files"`      // records
	Deliveries int     `json:"deliveries"` // that the database knows
	AuditLines int     `json:"audit_lines"`
	AuditBytes int64   `json:"audit_bytes"`
	Bytes      int64   `json:"bytes"`  // of the database
	Tokens     int     `json:"tokens"` // token files that are whole
	Faults     []Fault `json:"faults"`

	Empty     bool            `json:"empty"`     // there is neither database nor audit log
	Delivered map[string]bool `json:"delivered"` // the libraries that have got something, as far as log and records tell
	Consents  []string        `json:"consents"`  // the libraries of which there is a token file, whole or not
}

func newChecked() *Checked {
	return &Checked{Faults: []Fault{}, Delivered: map[string]bool{}, Consents: []string{}}
}

func (c *Checked) fault(what, hint string) {
	c.Faults = append(c.Faults, Fault{What: what, Hint: hint})
}

// Hints of faults that the next start mends by itself.
const (
	hintRebuild = "restart the service: it sets the database aside and makes it anew from the audit log and what is whole of it"
	hintKey     = "a backup has it: digime-sync state restore FILE --force; without one every consent has to be given again: digime-sync authorize LIBRARY"
	hintLog     = "nothing is lost as long as the database is whole; look at the disk"
)

// Check examines the open store and its vault, while other goroutines work:
// every page and record of the database, its indexes against the records, every
// line of the audit log, every token file. It changes nothing. The error says
// that it could not examine, not that it found something.
func (s *Store) Check(v *Vault) (*Checked, error) {
	c := newChecked()
	c.consents(v)
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	if s.db == nil || s.damage() != nil {
		c.fault(cmp.Or(s.damage(), s.notOpen()).Error(), hintRebuild)
		c.vault(v)
		return c, nil
	}
	// A reader keeps the pages of the newest transaction from being used again.
	tx, im, end, err := s.hold()
	if err != nil {
		return nil, fmt.Errorf("check the database: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // of a reader, it has no error
	c.Bytes = tx.Size()
	c.all(s.dir, im, end)
	c.vault(v)
	return c, nil
}

// hold begins a reader and reads the meta pages and the log's end as they are
// for it. dbMu is held by the caller, and comes after commitMu elsewhere, so
// that this only tries to get that.
func (s *Store) hold() (tx *bbolt.Tx, im *image, end int64, err error) {
	for try := range 100 {
		err = s.guard(func() (err error) {
			tx, err = s.db.Begin(false)
			return err
		})
		if err != nil {
			return nil, nil, 0, err
		}
		info, err := os.Stat(filepath.Join(s.dir, auditName))
		if err == nil {
			end = info.Size()
		}
		im, err = openImage(s.file)
		if err == nil && im.txid == uint64(tx.ID()) && (!im.torn || try > 10) { // torn, it may be one that is being written
			return tx, im, end, nil
		}
		_ = tx.Rollback() // a commit came between the two
		if err != nil {
			return nil, nil, 0, err
		}
	}
	return nil, nil, 0, errors.New("it changes too fast, try again")
}

// CheckDir examines the state folder of a store that is not open. Errors:
// *LockedError when a process has it open, fs.ErrNotExist when there is none.
func CheckDir(dir string, log *slog.Logger) (*Checked, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("check state folder: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = lock.release() }() // nothing was written under it
	c := newChecked()
	c.closedDB(dir)
	v, err := readVault(dir, log)
	tokens, _ := newVault(dir).look() // a folder that is not there has none
	c.consents(newVault(dir))
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(tokens) == 0:
	case err != nil:
		c.fault(fmt.Sprintf("%v: %v", ErrKeyLost, err), hintKey)
	default:
		c.vault(v)
	}
	return c, nil
}

func (c *Checked) closedDB(dir string) {
	f, err := os.Open(filepath.Join(dir, dbName))
	if _, logErr := os.Stat(filepath.Join(dir, auditName)); errors.Is(err, fs.ErrNotExist) && errors.Is(logErr, fs.ErrNotExist) {
		c.Empty = true
		return // no daemon has run yet, or all is lost
	}
	if err != nil {
		what := "the database cannot be opened: " + err.Error()
		if errors.Is(err, fs.ErrNotExist) {
			what = "there is no database (state.db)"
		}
		c.fault(what, "start the service: it makes one from the audit log")
		c.log(dir, -1, nil)
		return
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		c.Bytes = info.Size()
	}
	im, err := openImage(f)
	if err != nil {
		c.damaged(err)
		c.log(dir, -1, nil)
		return
	}
	c.all(dir, im, -1)
}

func (c *Checked) damaged(err error) {
	if errors.Is(err, ErrNewer) {
		c.fault(fmt.Sprintf("the database was made by a newer version of this program: %v", err), "install that version again")
		return
	}
	c.fault(fmt.Sprintf("the database is damaged: %v", err), hintRebuild)
}

// all checks the database, and the log up to end, -1 for all of it, against it.
func (c *Checked) all(dir string, im *image, end int64) {
	if im.torn {
		c.fault("one of the two meta pages of the database is not whole", hintRebuild)
	}
	x := crossCheck{checked: c}
	err := im.check(true, x.visit)
	if err == nil {
		err = checkSchema(x.schema)
	}
	if err != nil {
		c.damaged(err)
		c.log(dir, end, nil)
		return
	}
	x.compare()
	c.log(dir, end, &x)
}

// crossCheck compares the indexes with the records they follow from. Entries
// are kept as hashes, and in as little memory as can be: there may be millions.
type crossCheck struct {
	checked   *Checked
	schema    []byte
	audit     int64
	balance   [4]map[uint64]int // by index: what the records ask for, less what is there
	delivered []uint64          // complete before the first record: buckets come in the order of their names
	sorted    bool
	missing   int // deliveries that records speak of, and that are not there
	odd       int // records that cannot be decoded, or contradict themselves
}

// knows says whether a delivery is recorded. It is asked when all have been seen.
func (x *crossCheck) knows(dest, sha256hex string) bool {
	if !x.sorted {
		slices.Sort(x.delivered)
		x.sorted = true
	}
	_, found := slices.BinarySearch(x.delivered, entryHash(contentKey(dest, sha256hex)))
	return found
}

// indexes are the buckets that follow from files.1.
var indexes = [4][]byte{queueBucket, pushingBucket, afterBucket, openBucket}

func entryHash(parts ...[]byte) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		h.Write(p)
	}
	return h.Sum64()
}

func (x *crossCheck) count(index int, n int, parts ...[]byte) {
	if x.balance[index] == nil {
		x.balance[index] = map[uint64]int{}
	}
	h := entryHash(parts...)
	if x.balance[index][h] += n; x.balance[index][h] == 0 {
		delete(x.balance[index], h)
	}
}

func (x *crossCheck) visit(bucket, key, value []byte) error {
	if bytes.Equal(bucket, metaBucket) {
		if bytes.Equal(key, schemaKey) {
			x.schema = bytes.Clone(value)
		}
		if bytes.Equal(key, auditKey) && len(value) == 8 {
			x.audit = int64(binary.BigEndian.Uint64(value))
		}
		return nil
	}
	payload, err := unseal(bucket, key, value)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(indexes[:], func(name []byte) bool { return bytes.Equal(name, bucket) }); i >= 0 {
		x.count(i, -1, key, payload)
	}
	switch {
	case bytes.Equal(bucket, filesBucket):
		x.record(key, value)
	case bytes.Equal(bucket, deliveredBucket):
		x.checked.Deliveries++
		x.delivered, x.sorted = append(x.delivered, entryHash(key)), false
		if _, err := decodeDelivery(key, value); err != nil {
			x.odd++
		}
	case bytes.Equal(bucket, holdsBucket):
		if json.Unmarshal(payload, new(Hold)) != nil {
			x.odd++
		}
	}
	return nil
}

// record notes what a record asks of the indexes.
func (x *crossCheck) record(key, value []byte) {
	x.checked.Files++
	r, err := decodeRecord(key, value)
	if err != nil || slices.Index(states, r.State) < 1 || value[1] != byte(slices.Index(states, r.State)) {
		x.odd++
		return
	}
	path := []byte(r.Path)
	if r.queued() {
		x.count(0, 1, queueKey(r.Library, r.Due, r.Seq), path)
	}
	if r.State == Pushing {
		x.count(1, 1, contentKey(r.Dest, r.SHA256), path)
	}
	if r.afterDue() {
		x.count(2, 1, path, nil)
	}
	if r.unfinished() {
		x.count(3, 1, path, nil)
	}
	if (r.State == Delivered || r.State == Duplicate) && !x.knows(r.Dest, r.SHA256) {
		x.missing++
	}
	if r.State == Delivered {
		x.checked.Delivered[r.Library] = true
	}
}

// compare says where records and indexes differ.
func (x *crossCheck) compare() {
	for i, name := range indexes {
		if n := len(x.balance[i]); n > 0 {
			x.checked.fault(fmt.Sprintf("the database contradicts itself: %d entries of %s do not agree with the records of the files", n, name), hintRebuild)
		}
	}
	if x.odd > 0 {
		x.checked.fault(fmt.Sprintf("%d records of the database cannot be read, or contradict themselves", x.odd), hintRebuild)
	}
	if x.missing > 0 {
		x.checked.fault(fmt.Sprintf("%d files are called delivered, but no delivery of their content is recorded", x.missing), hintRebuild)
	}
}
