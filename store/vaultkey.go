package store

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
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
	case !errors.Is(errA, fs.ErrNotExist) || !errors.Is(errB, fs.ErrNotExist):
		return nil, errors.Join(errA, errB)
	}
	return v.firstKey(paths)
}

func (v *Vault) firstKey(paths [2]string) ([]byte, error) {
	tokens, err := filepath.Glob(filepath.Join(v.dir, "*"+tokenSuffix+"*"))
	if err != nil {
		return nil, err
	}
	for _, t := range tokens {
		if !strings.HasSuffix(t, ".lock") {
			return nil, &DamagedError{Path: paths[0], Reason: "it is missing, and so is its copy, but there are tokens sealed with it: " + t}
		}
	}
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
