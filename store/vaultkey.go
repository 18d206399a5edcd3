package store

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/digime-sync/digime-sync/store/failpoint"
)

const (
	keyName     = "vault.key"
	keyCopyName = "vault.key.copy"
	keySize     = 32
	keyPrefix   = "digime-sync vault key 1: "
)

// ErrKeyLost says that no copy of the vault's key is left, so that the tokens
// sealed with it cannot be read.
var ErrKeyLost = errors.New("the key that the consents were sealed with is lost")

// key returns the vault's key from either copy. It makes a new one only when
// there is neither a key nor a token that one could have sealed.
func (v *Vault) key(dir string) ([]byte, error) {
	unlock, err := v.lock(filepath.Join(dir, "vault.lock"))
	if err != nil {
		return nil, fmt.Errorf("lock vault key: %w", err)
	}
	defer unlock()
	paths := [2]string{filepath.Join(dir, keyName), filepath.Join(dir, keyCopyName)}
	a, errA := readKey(paths[0])
	b, errB := readKey(paths[1])
	switch {
	case errA == nil && errB == nil:
		if !bytes.Equal(a, b) {
			return nil, &DamagedError{Path: paths[0], Reason: "it and its copy " + keyCopyName + " hold different keys"}
		}
		return a, nil
	case errA == nil:
		return a, v.restoreKey(paths[1], a, errB)
	case errB == nil:
		return b, v.restoreKey(paths[0], b, errA)
	case !gone(errA) || !gone(errB):
		return nil, errors.Join(errA, errB)
	}
	sealed, err := v.look()
	if err != nil {
		return nil, err
	}
	if len(sealed) > 0 || !errors.Is(errA, fs.ErrNotExist) || !errors.Is(errB, fs.ErrNotExist) {
		return nil, keyLost(dir)
	}
	return v.makeKey(paths)
}

// gone says of an error of readKey that no later look can find the key there.
func gone(err error) bool {
	damaged := new(DamagedError)
	return errors.Is(err, fs.ErrNotExist) || errors.As(err, &damaged)
}

func keyLost(dir string) error {
	return &DamagedError{Path: filepath.Join(dir, keyName), Reason: "neither it nor its copy is whole", Err: ErrKeyLost}
}

// cipher is what the vault seals with. Errors: ErrKeyLost in a *DamagedError,
// unless somebody has brought the key, or made a new one, meanwhile.
func (v *Vault) cipher() (cipher.AEAD, error) {
	v.mu.Lock()
	aead := v.aead
	v.mu.Unlock()
	if aead != nil {
		return aead, nil
	}
	dir := filepath.Dir(v.dir)
	key, err := readKey(filepath.Join(dir, keyName))
	if err != nil {
		key, err = readKey(filepath.Join(dir, keyCopyName))
	}
	if err != nil {
		return nil, keyLost(dir)
	}
	if err := v.use(key); err != nil {
		return nil, err
	}
	return v.cipher()
}

// Ready says whether the vault can open its tokens: ErrKeyLost when it cannot.
func (v *Vault) Ready() error {
	_, err := v.cipher()
	return err
}

// sealer is cipher, with a new key where the old one is lost: what was sealed
// with that, and what is left of it, is set aside before, so that a crash leaves
// a vault without a key or without tokens.
func (v *Vault) sealer() (cipher.AEAD, error) {
	aead, err := v.cipher()
	if !errors.Is(err, ErrKeyLost) {
		return aead, err
	}
	dir := filepath.Dir(v.dir)
	unlock, err := v.lock(filepath.Join(dir, "vault.lock"))
	if err != nil {
		return nil, fmt.Errorf("lock vault key: %w", err)
	}
	defer unlock()
	if aead, err := v.cipher(); !errors.Is(err, ErrKeyLost) {
		return aead, err // another process has just made it
	}
	paths := [2]string{filepath.Join(dir, keyName), filepath.Join(dir, keyCopyName)}
	if err := v.setUselessAside(paths[:]); err != nil {
		return nil, fmt.Errorf("set aside what the lost key sealed: %w", err)
	}
	key, err := v.makeKey(paths)
	if err != nil {
		return nil, err
	}
	if err := v.use(key); err != nil {
		return nil, err
	}
	return v.cipher()
}

func (v *Vault) setUselessAside(paths []string) error {
	sealed, err := v.look()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(sealed)) {
		paths = append(paths, filepath.Join(v.dir, name))
	}
	for _, path := range paths {
		aside, err := setAside(path, time.Now())
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		v.mu.Lock()
		v.aside = append(v.aside, aside)
		v.mu.Unlock()
	}
	return nil
}

// NewKey returns the files that this vault set aside when Save had to make a new
// key in place of a lost one; none if it had not.
func (v *Vault) NewKey() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.aside)
}

func (v *Vault) makeKey(paths [2]string) ([]byte, error) {
	key := newKey()
	for _, p := range paths {
		if err := failpoint.Hit("vault.key"); err != nil {
			return nil, err
		}
		if err := WriteFile(p, encodeKey(key), 0o600); err != nil {
			return nil, err
		}
	}
	return key, nil
}

// restoreKey makes the second copy again. One that is damaged is kept under a dated name.
func (v *Vault) restoreKey(path string, key []byte, why error) error {
	if !errors.Is(why, fs.ErrNotExist) {
		v.logger().Error("vault key is damaged, its copy is used", "path", path, "error", why)
		if _, err := setAside(path, time.Now()); err != nil {
			return err
		}
	}
	if err := failpoint.Hit("vault.restore"); err != nil {
		return err
	}
	return WriteFile(path, encodeKey(key), 0o600)
}

func encodeKey(key []byte) []byte {
	return fmt.Appendf(nil, "%s%x %08x\n", keyPrefix, key, crc32.Checksum(key, castagnoli))
}

func readKey(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	text, ok := strings.CutPrefix(string(data), keyPrefix)
	if !ok || len(text) < 2*keySize {
		return nil, &DamagedError{Path: path, Reason: "no vault key"}
	}
	key, err := hex.DecodeString(text[:2*keySize])
	if err != nil || !bytes.Equal(data, encodeKey(key)) {
		return nil, &DamagedError{Path: path, Reason: "wrong checksum"}
	}
	return key, nil
}

// newKey returns 32 random bytes.
func newKey() []byte {
	key := make([]byte, keySize)
	rand.Read(key) // never fails, crashes the program rather
	return key
}
