package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/lockedfile"

	"github.com/digime-sync/digime-sync/store/failpoint"
)

const (
	tokenDir        = "tokens"
	tokenSuffix     = ".token"
	copySuffix      = ".1"
	envelopeVersion = 1
)

// Vault keeps one sealed token file for each library, apart from the database,
// so that neither its loss nor a running daemon stands in the way of a token.
type Vault struct {
	Log *slog.Logger // for files that were repaired or fallen back from; nil is slog.Default()

	dir string

	mu    sync.Mutex
	aead  cipher.AEAD                  // nil: the key is lost
	raw   []byte                       // the key: its files are written again when somebody removes them
	aside []string                     // what a new key made useless, set aside
	locks map[string]*lockedfile.Mutex // by path; theirs orders the goroutines of this process
	seen  map[string]stamp             // Mend's: token files by name, as they were when they were last read
}

// envelope is the content of a token file.
type envelope struct {
	Version int    `json:"version"`
	Library string `json:"library"`
	Raw     raw    `json:"raw,omitempty"`
	Sealed  []byte `json:"sealed"` // nonce and AES-256-GCM, the library's name is authenticated with it
	Sum     string `json:"sum"`    // SHA-256 over name and sealed, hex: tells damage from a wrong key
	Twice   bool   `json:"twice"`  // Save writes a second copy after it, which the first version of this program did not
}

// OpenVault opens the vault in a state folder, and makes its key the first time.
// Where no copy of the key is whole but there are tokens sealed with it, the vault
// opens all the same: Load then says ErrKeyLost, until the key is brought back, or
// Save makes a new one. A *DamagedError when the two copies differ.
func OpenVault(dir string) (*Vault, error) {
	v := newVault(dir)
	if err := os.MkdirAll(v.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make token folder: %w", err)
	}
	if err := adopt(v.dir); err != nil {
		return nil, fmt.Errorf("make token folder: %w", err)
	}
	if err := Protect(dir); err != nil {
		return nil, fmt.Errorf("protect state folder: %w", err)
	}
	key, err := v.key(dir)
	if errors.Is(err, ErrKeyLost) {
		v.logger().Error("no consent can be read", "err", err)
		return v, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open vault: %w", err)
	}
	return v, v.use(key)
}

func newVault(dir string) *Vault {
	return &Vault{dir: filepath.Join(dir, tokenDir), locks: map[string]*lockedfile.Mutex{}}
}

// use has the vault seal with this key.
func (v *Vault) use(key []byte) error {
	block, err := aes.NewCipher(key)
	var aead cipher.AEAD
	if err == nil {
		aead, err = cipher.NewGCMWithRandomNonce(block)
	}
	if err != nil {
		return fmt.Errorf("open vault: %w", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.aead, v.raw = aead, key
	return nil
}

func (v *Vault) logger() *slog.Logger {
	if v.Log != nil {
		return v.Log
	}
	return slog.Default()
}

// path is the token file of a library: a readable part, and a hash that keeps
// apart what the readable part, or a case-insensitive disk, does not.
func (v *Vault) path(library string) (string, error) {
	if err := checkLibrary(library); err != nil {
		return "", err
	}
	plain := strings.Map(func(r rune) rune {
		if r < 0x80 && (r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
			return r
		}
		return '_'
	}, library)
	sum := sha256.Sum256([]byte(library))
	return filepath.Join(v.dir, plain[:min(len(plain), 32)]+"-"+hex.EncodeToString(sum[:8])+tokenSuffix), nil
}

// Lock keeps every other process and goroutine from the same lock of this
// library until unlock is called. It waits as long as that takes.
func (v *Vault) Lock(library string) (unlock func(), err error) {
	path, err := v.path(library)
	if err != nil {
		return nil, fmt.Errorf("lock token: %w", err)
	}
	unlock, err = v.lock(path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("lock token: %w", err)
	}
	return unlock, nil
}

// lock locks a file of the vault, made when it is missing.
func (v *Vault) lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(adopt(path), f.Close()); err != nil {
		return nil, err
	}
	v.mu.Lock()
	mutex := v.locks[path]
	if mutex == nil {
		mutex = lockedfile.MutexAt(path)
		v.locks[path] = mutex
	}
	v.mu.Unlock()
	return mutex.Lock()
}

// Load returns what was saved for a library. When the file is damaged or
// missing it is what its second copy holds, and the log says so. Errors:
// fs.ErrNotExist, *DamagedError when no generation is whole, ErrNewer.
func (v *Vault) Load(library string) ([]byte, error) {
	path, err := v.path(library)
	if err != nil {
		return nil, fmt.Errorf("load token: %w", err)
	}
	data, err := v.read(path, library)
	if err == nil || errors.Is(err, ErrNewer) {
		return data, err
	}
	if errors.Is(err, ErrKeyLost) {
		return nil, fmt.Errorf("load token: %w", err)
	}
	previous, previousErr := v.read(path+copySuffix, library)
	if previousErr == nil {
		v.logger().Error("token file cannot be used, its second copy is", "library", library, "path", path, "error", err)
		return previous, nil
	}
	if !errors.Is(previousErr, fs.ErrNotExist) {
		err = errors.Join(err, previousErr)
	}
	return nil, fmt.Errorf("load token: %w", err)
}

func (v *Vault) read(path, library string) ([]byte, error) {
	e, err := readEnvelope(path)
	if err != nil {
		return nil, err
	}
	if e.Library != library {
		return nil, &DamagedError{Path: path, Reason: fmt.Sprintf("it belongs to library %q", e.Library)}
	}
	aead, err := v.cipher()
	if err != nil {
		return nil, err
	}
	data, err := aead.Open(nil, nil, e.Sealed, sealedFor(library))
	if err != nil {
		return nil, &DamagedError{Path: path, Reason: "it is whole but was sealed with another key"}
	}
	return data, nil
}

func readEnvelope(path string) (e envelope, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(content, &e); err != nil {
		return e, &DamagedError{Path: path, Reason: "no token file", Err: err}
	}
	e.Raw.show("library", &e.Library)
	if e.Version > envelopeVersion {
		return e, fmt.Errorf("%s: version %d: %w", path, e.Version, ErrNewer)
	}
	if e.Sum != e.sum() {
		return e, &DamagedError{Path: path, Reason: "wrong checksum"}
	}
	return e, nil
}

func (e *envelope) sum() string {
	h := sha256.New()
	h.Write(sealedFor(e.Library))
	h.Write([]byte{0})
	h.Write(e.Sealed)
	return hex.EncodeToString(h.Sum(nil))
}

// sealedFor is authenticated with the payload, so that a file renamed to another library's does not open.
func sealedFor(library string) []byte { return []byte("digime-sync token 1\x00" + library) }

// Save replaces what is kept for a library, durably, and then its second copy,
// which until then is the generation before: at every moment one of the two is
// whole, and at rest both hold the same. The generation before is no use for
// longer, since a refresh has made its tokens void. Where the key is lost it makes
// a new one, see NewKey. After an error the new one
// may be in place. The caller holds the library's lock.
func (v *Vault) Save(library string, data []byte) error {
	path, err := v.path(library)
	if err != nil {
		return fmt.Errorf("save token: %w", err)
	}
	aead, err := v.sealer()
	if err != nil {
		return fmt.Errorf("save token: %w", err)
	}
	e := envelope{Version: envelopeVersion, Library: library, Twice: true, Sealed: aead.Seal(nil, nil, data, sealedFor(library))}
	e.Sum = e.sum()
	if !utf8.ValidString(library) {
		e.Raw.hide("library", &e.Library)
	}
	content, err := json.Marshal(&e)
	if err != nil {
		return fmt.Errorf("save token: %w", err)
	}
	err = failpoint.Hit("vault.replace")
	if err == nil {
		err = WriteFile(path, append(content, '\n'), 0o600)
	}
	if err == nil {
		err = failpoint.Hit("vault.saved")
	}
	if err != nil {
		return fmt.Errorf("save token: %w", err)
	}
	err = failpoint.Hit("vault.keep")
	if err == nil {
		err = WriteFile(path+copySuffix, append(content, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("save token: write its second copy: %w", err)
	}
	return nil
}

// Changed returns a stamp that differs after each Save, by whatever process.
// It is "" when nothing is saved.
func (v *Vault) Changed(library string) (string, error) {
	path, err := v.path(library)
	if err != nil {
		return "", fmt.Errorf("look at token: %w", err)
	}
	content, err := os.ReadFile(path) // 2 KiB; a time and a size can be the same twice, a nonce cannot
	if errors.Is(err, fs.ErrNotExist) {
		content, err = os.ReadFile(path + copySuffix)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look at token: %w", err)
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:16]), nil
}

// List returns the libraries that have a token, sorted, also when it returns an
// error, which then tells of files no generation of which is whole.
func (v *Vault) List() ([]string, error) {
	entries, err := os.ReadDir(v.dir)
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	var names []string
	var errs []error
	seen := map[string]bool{}
	for _, entry := range entries {
		base, isToken := strings.CutSuffix(strings.TrimSuffix(entry.Name(), copySuffix), tokenSuffix)
		if !isToken || seen[base] {
			continue
		}
		seen[base] = true
		path := filepath.Join(v.dir, base+tokenSuffix)
		e, err := readEnvelope(path)
		if err != nil && !errors.Is(err, ErrNewer) {
			if p, previousErr := readEnvelope(path + copySuffix); previousErr == nil {
				e, err = p, nil
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("list tokens: %w", err))
			continue
		}
		names = append(names, e.Library)
	}
	slices.Sort(names)
	return names, errors.Join(errs...)
}

// Remove deletes every generation of a library's token. None is no error.
func (v *Vault) Remove(library string) error {
	path, err := v.path(library)
	if err != nil {
		return fmt.Errorf("remove token: %w", err)
	}
	// The older one first: otherwise a crash in between would bring it back.
	for _, p := range []string{path + copySuffix, path} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove token: %w", err)
		}
		if err := syncDir(v.dir); err != nil {
			return fmt.Errorf("remove token: %w", err)
		}
	}
	return nil
}
