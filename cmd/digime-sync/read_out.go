package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/digime-sync/digime-sync/sidecar"
	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/engine"
)

const (
	longestName = 200      // of a file that is read back, in bytes
	spareRoom   = 64 << 20 // left free on the disk, in bytes
	mostHashed  = 1 << 40  // bytes of a file that is not written
)

// outFolder is where files that are read back are written. nil is nowhere:
// contents are only hashed then.
type outFolder struct {
	dir string

	mu   sync.Mutex     // one file is given its name at a time
	next map[string]int // by name: the number to try first
}

// openOutFolder makes the folder if need be. It refuses one whose files would
// be pushed again.
func openOutFolder(cfg *Config, dir string) (*outFolder, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", dir, err)
	}
	for up := range parents(realPath(dir)) {
		for _, f := range cfg.Folders {
			if samePlace(up, f.Path) {
				return nil, failure(exitError, "name a folder outside of "+f.Path, "%s lies in a watched folder: what is read back would be pushed again", dir)
			}
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, failure(exitError, "name another folder", "make folder: %w", err)
	}
	return &outFolder{dir: dir, next: map[string]int{}}, nil
}

// realPath follows the links of a path, of which the end may not exist yet.
func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil || filepath.Dir(path) == path {
		return cmp.Or(real, path)
	}
	return filepath.Join(realPath(filepath.Dir(path)), filepath.Base(path))
}

// samePlace says whether two paths lead to one folder; a has no links.
func samePlace(a, b string) bool {
	if samePath(a) == samePath(realPath(b)) { // also where it is missing
		return true
	}
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// room is how large a file may be, in bytes: what comes compressed may be
// larger than any disk.
func (o *outFolder) room() int64 {
	if o == nil {
		return mostHashed
	}
	free, err := freeRoom(o.dir)
	if err != nil {
		return mostHashed
	}
	return max(0, free-spareRoom)
}

// incoming is a file on its way: hashed, and written to a temporary file.
type incoming struct {
	file *os.File // nil: not written
	hash hash.Hash
	size int64
}

func (o *outFolder) incoming() (*incoming, error) {
	in := &incoming{hash: sha256.New()}
	if o == nil {
		return in, nil
	}
	var err error
	if in.file, err = os.CreateTemp(o.dir, tempName); err != nil {
		return nil, fmt.Errorf("make temporary file: %w", err)
	}
	return in, nil
}

// tempName is a pattern of names that no file gets that is read back, and that
// the watcher leaves out.
const tempName = ".digime-sync-*.tmp"

// begin forgets what came so far.
func (in *incoming) begin() (io.Writer, error) {
	in.hash.Reset()
	in.size = 0
	if in.file == nil {
		return in, nil
	}
	if _, err := in.file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("rewind temporary file: %w", err)
	}
	if err := in.file.Truncate(0); err != nil {
		return nil, fmt.Errorf("empty temporary file: %w", err)
	}
	return in, nil
}

func (in *incoming) Write(p []byte) (n int, err error) {
	n = len(p)
	if in.file != nil {
		n, err = in.file.Write(p)
	}
	in.hash.Write(p[:n])
	in.size += int64(n)
	return n, err
}

func (in *incoming) sum() string { return hex.EncodeToString(in.hash.Sum(nil)) }

// discard removes a file that was not kept. It is hidden, and nobody's, should
// that fail.
func (in *incoming) discard() {
	if in.file == nil {
		return
	}
	_ = in.file.Close()
	_ = os.Remove(in.file.Name())
}

// keep gives a file that came whole its name, and puts its sidecar beside it.
// A path with an error is of a file that was written, but whose sidecar cannot
// be used to drop it again.
func (o *outFolder) keep(in *incoming, name string, m digime.Metadata) (path string, err error) {
	text, unfit := sidecarText(m)
	side, err := os.CreateTemp(o.dir, tempName)
	if err != nil {
		return "", fmt.Errorf("make sidecar: %w", err)
	}
	described := incoming{file: side}
	defer described.discard()
	if _, err := side.Write(text); err != nil {
		return "", fmt.Errorf("write sidecar: %w", err)
	}
	for _, f := range []*os.File{in.file, side} {
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return "", fmt.Errorf("write to the disk: %w", err)
		}
	}
	if path, err = o.place(in.file.Name(), side.Name(), name); err != nil {
		return "", err
	}
	in.file, described.file = nil, nil
	return path, unfit
}

// place moves a file and its sidecar to the first pair of names that is free.
// Nothing is ever overwritten, whoever else writes there.
func (o *outFolder) place(file, side, name string) (string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := strings.ToLower(name)
	for n := max(1, o.next[key]); ; n++ {
		path := filepath.Join(o.dir, numberedName(name, n))
		err := store.Move(file, path)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		if err = store.Move(side, path+sidecar.Suffix); err == nil {
			o.next[key] = n + 1
			return path, nil
		}
		if back := store.Move(path, file); back != nil || !errors.Is(err, fs.ErrExist) {
			return "", errors.Join(err, back)
		}
	}
}

// sidecarText is the sidecar by which a file that was read back can be dropped
// again. Left out are the contract of its push, which another push has anew, and
// what no sidecar may say. The error says why it is none all the same.
func sidecarText(m digime.Metadata) ([]byte, error) {
	side := sidecar.Sidecar{Descriptor: sidecar.Descriptor{
		MimeType: m.MimeType, Reference: visible(m.Reference), Tags: visible(m.Tags),
		AppID: visibleText(m.AppID), ProviderName: visibleText(m.ProviderName), ServiceGroups: m.ServiceGroups,
	}}
	if sidecar.CheckMimeType(m.MimeType) != nil {
		side.MimeType = sidecar.Auto
	}
	if m.Reference == nil {
		side.Reference = []string{} // else the file's name would be one
	}
	for _, account := range m.Accounts {
		if sidecar.CheckAccountID(account.AccountID) == nil {
			side.Accounts = append(side.Accounts, sidecar.Account(account))
		}
	}
	for _, t := range m.ObjectTypes {
		if t.Name != "" {
			side.ObjectTypes = append(side.ObjectTypes, sidecar.ObjectType{Name: visibleText(t.Name), References: visible(t.References)})
		}
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(side); err != nil {
		return nil, fmt.Errorf("encode sidecar: %w", err)
	}
	if _, err := sidecar.Parse(text.Bytes()); err != nil {
		return text.Bytes(), fmt.Errorf("the file is written, but its sidecar cannot be used: %w", err)
	}
	return text.Bytes(), nil
}

// visible is visibleText of each text; nil stays nil.
func visible(texts []string) []string {
	list := slices.Clone(texts)
	for i, text := range list {
		list[i] = visibleText(text)
	}
	return list
}

// visibleText has no control characters, which sidecars refuse.
func visibleText(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return utf8.RuneError
		}
		return r
	}, text)
}

// fileName is the name for a file that is read back: its reference, which was
// the file's name as a rule, if that is a name anywhere; else the service's, made
// into one.
func fileName(reference []string, service string) string {
	if len(reference) > 0 && reference[0] != "" && safeName(reference[0]) == reference[0] {
		return reference[0]
	}
	return safeName(service)
}

// reserved are the names of devices on Windows, with any extension.
var reserved = regexp.MustCompile(`(?i)^(con|prn|aux|nul|conin\$|conout\$|clock\$|com[0-9¹²³]|lpt[0-9¹²³]) *(\.|$)`)

// safeName makes of any text a file's name that leads nowhere else, on any
// system, and that is none of the names this program gives a meaning to.
func safeName(name string) string {
	name = strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\:*?"<>|`, r) || !unicode.IsGraphic(r) || r == utf8.RuneError {
			return '_'
		}
		return r
	}, name)
	name = strings.TrimLeftFunc(name, func(r rune) bool { return r == '.' || unicode.IsSpace(r) })
	name = strings.TrimRightFunc(name, func(r rune) bool { return r == '.' || unicode.IsSpace(r) })
	if name == "" {
		return "file"
	}
	if reserved.MatchString(name) {
		name = "_" + name
	}
	for _, suffix := range []string{sidecar.Suffix, engine.ReceiptSuffix, engine.NoteSuffix} {
		if strings.HasSuffix(strings.ToLower(name), suffix) {
			name += "_"
		}
	}
	return name
}

// numberedName is name as the n-th of its kind: "report (2).pdf", shortened
// where it would be too long.
func numberedName(name string, n int) string {
	ext := filepath.Ext(name)
	if len(ext) > longestName/4 {
		ext = ""
	}
	stem := strings.TrimSuffix(name, ext)
	if n > 1 {
		ext = " (" + strconv.Itoa(n) + ")" + ext
	}
	if over := len(stem) + len(ext) - longestName; over > 0 {
		stem = strings.TrimRight(strings.ToValidUTF8(stem[:len(stem)-over], ""), ". ")
	}
	return stem + ext
}
