package store

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Bucket names carry the version of what is in them.
var (
	metaBucket      = []byte("meta")
	filesBucket     = []byte("files.1")
	deliveredBucket = []byte("delivered.1")
	queueBucket     = []byte("queue.1")
	pushingBucket   = []byte("pushing.1")
	afterBucket     = []byte("after.1")
	openBucket      = []byte("open.1")
	holdsBucket     = []byte("holds.1")
	doubtBucket     = []byte("doubt.1")

	sealedBuckets = [][]byte{filesBucket, deliveredBucket, queueBucket, pushingBucket, afterBucket, openBucket, holdsBucket}

	schemaKey = []byte("schema")
	auditKey  = []byte("audit")
	prunedKey = []byte("pruned")
)

const (
	valueVersion = 1
	valueHeader  = 6 // version, state, CRC-32C
	maxPath      = 30 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal puts version, state and checksum before a value.
func seal(bucket, key []byte, state byte, payload []byte) []byte {
	v := make([]byte, valueHeader, valueHeader+len(payload))
	v[0], v[1] = valueVersion, state
	binary.BigEndian.PutUint32(v[2:], valueSum(bucket, key, state, payload))
	return append(v, payload...)
}

// unseal returns the payload of a sealed value, not a copy.
func unseal(bucket, key, v []byte) ([]byte, error) {
	if len(v) < valueHeader || v[0] != valueVersion {
		return nil, fmt.Errorf("%s: record of %d bytes has no header", bucket, len(v))
	}
	if binary.BigEndian.Uint32(v[2:]) != valueSum(bucket, key, v[1], v[valueHeader:]) {
		return nil, fmt.Errorf("%s: record has a wrong checksum", bucket)
	}
	return v[valueHeader:], nil
}

func valueSum(bucket, key []byte, state byte, payload []byte) uint32 {
	sum := crc32.Update(0, castagnoli, bucket)
	sum = crc32.Update(sum, castagnoli, key)
	sum = crc32.Update(sum, castagnoli, []byte{state})
	return crc32.Update(sum, castagnoli, payload)
}

// record is a File with its place in the queue, as files.1 keeps it.
type record struct {
	File
	Seq uint64 `json:"seq,omitzero"` // 0: not in the queue
	Due int64  `json:"due,omitzero"` // Unix ns
	Raw raw    `json:"raw,omitempty"`
}

// raw holds the strings that are not UTF-8, which JSON would change silently.
type raw map[string][]byte

// hide moves a string that is not UTF-8 into the map, show brings it back.
func (r *raw) hide(name string, s *string) {
	if utf8.ValidString(*s) {
		return
	}
	if *r == nil {
		*r = raw{}
	}
	(*r)[name], *s = []byte(*s), ""
}

func (r raw) show(name string, s *string) {
	if b, ok := r[name]; ok {
		*s = string(b)
	}
}

// texts are the fields that may be other than UTF-8.
func (r *record) texts() map[string]*string {
	return map[string]*string{
		"folder": &r.Folder, "library": &r.Library, "dest": &r.Dest, "sidecar": &r.Sidecar, "note": &r.Note, "moved_to": &r.MovedTo,
	}
}

func (r *record) encode() ([]byte, error) {
	c := *r
	c.Raw = nil
	for name, text := range c.texts() {
		c.Raw.hide(name, text)
	}
	data, err := json.Marshal(&c)
	if err != nil {
		return nil, fmt.Errorf("encode file record: %w", err)
	}
	return seal(filesBucket, []byte(r.Path), byte(max(0, slices.Index(states, r.State))), data), nil
}

func decodeRecord(key, value []byte) (record, error) {
	var r record
	data, err := unseal(filesBucket, key, value)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("decode file record: %w", err)
	}
	r.Path = string(key)
	for name, text := range r.texts() {
		r.Raw.show(name, text)
	}
	r.Raw = nil
	return r, nil
}

// delivery is what delivered.1 keeps of one content at one destination.
type delivery struct {
	Path     string    `json:"path,omitzero"`
	Time     time.Time `json:"time"`
	Doubtful bool      `json:"doubtful,omitzero"`
	Raw      raw       `json:"raw,omitempty"`
}

func (d delivery) encode(key []byte) ([]byte, error) {
	d.Raw = nil
	d.Raw.hide("path", &d.Path)
	data, err := json.Marshal(&d)
	if err != nil {
		return nil, fmt.Errorf("encode delivery: %w", err)
	}
	return seal(deliveredBucket, key, 0, data), nil
}

func decodeDelivery(key, value []byte) (delivery, error) {
	var d delivery
	data, err := unseal(deliveredBucket, key, value)
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return d, fmt.Errorf("decode delivery: %w", err)
	}
	d.Raw.show("path", &d.Path)
	d.Raw = nil
	return d, nil
}

// contentKey is the key of a content at a destination. The length keeps two
// different pairs from being one string.
func contentKey(dest, sha256hex string) []byte {
	h := sha256.New()
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(dest)))
	h.Write(n[:])
	h.Write([]byte(dest))
	h.Write([]byte(strings.ToLower(sha256hex)))
	return h.Sum(nil)
}

// queueKey orders the queue by library, due time and arrival. The sign bit is
// turned so that times before 1970 sort first.
func queueKey(library string, due int64, seq uint64) []byte {
	k := append([]byte(library), 0)
	k = binary.BigEndian.AppendUint64(k, uint64(due)^(1<<63))
	return binary.BigEndian.AppendUint64(k, seq)
}

func (r *record) queued() bool { return r.Seq != 0 }

func (r *record) same(f *File) bool {
	return r.SHA256 != "" && strings.EqualFold(r.SHA256, f.SHA256) && r.Dest == f.Dest && r.Library == f.Library
}

// checkPath refuses a key that bbolt would refuse, before a transaction is spoilt.
func checkPath(path string) error {
	if path == "" || len(path) > maxPath {
		return fmt.Errorf("path of %d bytes cannot be recorded", len(path))
	}
	return nil
}

// checkContent refuses a file that cannot be queued or delivered.
func checkContent(f *File) error {
	if err := checkPath(f.Path); err != nil {
		return err
	}
	if sum, err := hex.DecodeString(f.SHA256); err != nil || len(sum) != sha256.Size {
		return fmt.Errorf("sha256 %q of the file is not one", f.SHA256)
	}
	if f.Dest == "" {
		return errors.New("the file has no destination")
	}
	return checkLibrary(f.Library)
}

func checkLibrary(name string) error {
	if name == "" || len(name) > 1<<10 || strings.IndexByte(name, 0) >= 0 {
		return fmt.Errorf("library name %q cannot be recorded", name)
	}
	return nil
}
