package store

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// Events of the audit log that the store reads back, and writes itself but for
// EventInDoubt and EventGateway; others are for people.
const (
	EventDelivered = "delivered"                   // the library has the content
	EventAfterDone = "after-done"                  // the after-action of a delivered file was carried out
	EventKnown     = "known"                       // a delivery copied from the database into a log that had lost it
	EventInDoubt   = "in doubt"                    // the content was sent and may be in the library
	EventGateway   = "answered by a gateway alone" // likewise, but that it failed is likelier
)

// Entry is one line of the audit log. Strings that are not UTF-8 survive.
type Entry struct {
	Time       time.Time `json:"time"`
	Event      string    `json:"event"`
	Path       string    `json:"path,omitzero"`
	SHA256     string    `json:"sha256,omitzero"`
	Size       int64     `json:"size,omitzero"` // bytes
	Dest       string    `json:"dest,omitzero"`
	Library    string    `json:"library,omitzero"`
	Sig        Sig       `json:"sig,omitzero"`
	Attempts   int       `json:"attempts,omitzero"`
	Doubtful   bool      `json:"doubtful,omitzero"`
	Reason     string    `json:"reason,omitzero"`
	Code       string    `json:"code,omitzero"`
	Folder     string    `json:"folder,omitzero"`
	Sidecar    string    `json:"sidecar,omitzero"`
	SidecarSig Sig       `json:"sidecar_sig,omitzero"`
	After      string    `json:"after,omitzero"`
	MovedTo    string    `json:"moved_to,omitzero"` // of EventAfterDone
	Key        string    `json:"key,omitzero"`      // of EventKnown: hex key in delivered.1
}

type entryLine struct {
	Entry
	Raw raw `json:"raw,omitempty"` // base64
}

// texts are the fields that may be other than UTF-8.
func (e *Entry) texts() map[string]*string {
	return map[string]*string{"path": &e.Path, "dest": &e.Dest, "library": &e.Library, "folder": &e.Folder, "sidecar": &e.Sidecar, "moved_to": &e.MovedTo}
}

// entryOf makes the log's entry about a file.
func entryOf(event string, f *File, now time.Time) Entry {
	return Entry{
		Time: now.UTC(), Event: event, Path: f.Path, SHA256: f.SHA256, Size: f.Sig.Size, Dest: f.Dest, Library: f.Library,
		Sig: f.Sig, Attempts: f.Attempts, Doubtful: f.Doubtful, Reason: f.Reason, Code: f.Code,
		Folder: f.Folder, Sidecar: f.Sidecar, SidecarSig: f.SidecarSig, After: f.After,
	}
}

// doneEntry says no more than what there is beyond the line about the delivery.
func doneEntry(f *File, now time.Time) Entry {
	return Entry{Time: now.UTC(), Event: EventAfterDone, Path: f.Path, SHA256: f.SHA256, Library: f.Library, After: f.After, MovedTo: f.MovedTo}
}

// file is the record of a delivered file, as far as the log knows it.
func (e *Entry) file() File {
	return File{
		Path: e.Path, Folder: e.Folder, Library: e.Library, Dest: e.Dest, State: Delivered, Sig: e.Sig, SidecarSig: e.SidecarSig,
		Sidecar: e.Sidecar, SHA256: e.SHA256, Attempts: e.Attempts, Doubtful: e.Doubtful, Reason: e.Reason, Code: e.Code,
		Since: e.Time, DeliveredAt: e.Time, UpdatedAt: e.Time, After: e.After,
	}
}

// line is `<crc32c hex> <json>\n`.
func (e Entry) line() ([]byte, error) {
	l := entryLine{Entry: e}
	for name, text := range l.texts() {
		l.Raw.hide(name, text)
	}
	data, err := json.Marshal(&l)
	if err != nil {
		return nil, fmt.Errorf("encode audit entry: %w", err)
	}
	return fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(data, castagnoli), data), nil
}

var errNotALine = errors.New("not a line of the audit log")

// parseLine reads a line without its newline. Zeros before it, which a
// power cut can leave, do not make it unreadable.
func parseLine(line []byte) (Entry, error) {
	line = bytes.TrimLeft(line, "\x00")
	if len(line) < 10 || line[8] != ' ' {
		return Entry{}, errNotALine
	}
	var sum [4]byte
	if _, err := hex.Decode(sum[:], line[:8]); err != nil {
		return Entry{}, errNotALine
	}
	data := line[9:]
	if got := crc32.Checksum(data, castagnoli); got != uint32(sum[0])<<24|uint32(sum[1])<<16|uint32(sum[2])<<8|uint32(sum[3]) {
		return Entry{}, errNotALine
	}
	var l entryLine
	if err := json.Unmarshal(data, &l); err != nil {
		return Entry{}, fmt.Errorf("decode audit entry: %w", err)
	}
	for name, text := range l.texts() {
		l.Raw.show(name, text)
	}
	return l.Entry, nil
}
