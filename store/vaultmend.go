package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// stamp tells whether a file was written since it was looked at.
type stamp struct {
	size int64
	time time.Time
}

// Mend looks whether key and tokens are still in place, and whole where they
// were written since the last call: a file that is missing, damaged or behind
// is made again from its second copy, a damaged one kept under a dated name. It
// returns what it did, in words, and as its error what it cannot put right. A
// token of which no copy is left is said each time until there is one.
func (v *Vault) Mend() (did []string, err error) {
	did, keyErr := v.mendKey()
	now, err := v.look()
	if err != nil {
		return did, errors.Join(keyErr, fmt.Errorf("list tokens: %w", err))
	}
	v.mu.Lock()
	before := v.seen
	v.mu.Unlock()
	errs := []error{keyErr}
	for _, name := range bases(now, before) {
		twin := name + copySuffix
		if now[name] != (stamp{}) && now[name] == before[name] && now[twin] == before[twin] && now[twin] != (stamp{}) {
			continue
		}
		what, err := v.mendToken(filepath.Join(v.dir, name), before[twin] != (stamp{}))
		if what != "" {
			did = append(did, what)
		}
		if err != nil {
			errs = append(errs, err)
			now[name] = stamp{size: -1} // to be looked at again
		} else if now[twin] == (stamp{}) {
			now[twin] = stamp{size: -1} // it is there by now
		}
	}
	v.mu.Lock()
	v.seen = now
	v.mu.Unlock()
	return did, errors.Join(errs...)
}

// look returns the token files with what tells whether they were written.
func (v *Vault) look() (map[string]stamp, error) {
	entries, err := os.ReadDir(v.dir)
	if err != nil {
		return nil, err
	}
	found := map[string]stamp{}
	for _, e := range entries {
		if !strings.HasSuffix(strings.TrimSuffix(e.Name(), copySuffix), tokenSuffix) {
			continue
		}
		if info, err := e.Info(); err == nil { // else it has gone
			found[e.Name()] = stamp{info.Size(), info.ModTime()}
		}
	}
	return found, nil
}

// bases returns the names of token files, each once.
func bases(lists ...map[string]stamp) []string {
	var names []string
	for _, list := range lists {
		for name := range list {
			names = append(names, strings.TrimSuffix(name, copySuffix))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// mendToken makes the two copies of a token the same. twice says that its second
// copy has been seen.
func (v *Vault) mendToken(path string, twice bool) (did string, err error) {
	first, firstErr := v.envelope(path, path)
	second, secondErr := v.envelope(path, path+copySuffix)
	if firstErr == nil && secondErr == nil && bytes.Equal(first.Sealed, second.Sealed) {
		return "", nil
	}
	if errors.Is(firstErr, ErrNewer) || errors.Is(secondErr, ErrNewer) {
		return "", nil // what a newer version wrote is its matter
	}
	library := first.Library
	if firstErr != nil {
		library = second.Library
	}
	if firstErr != nil && secondErr != nil {
		return "", fmt.Errorf("no copy of a token is left, its consent has to be given again: %w", errors.Join(firstErr, secondErr))
	}
	unlock, err := v.Lock(library) // whoever is writing it finishes that
	if err != nil {
		return "", err
	}
	defer unlock()
	return v.mendLocked(path, twice)
}

// envelope reads one of the two files of a token; one that was renamed to
// another library's is damage.
func (v *Vault) envelope(path, file string) (envelope, error) {
	e, err := readEnvelope(file)
	if err != nil {
		return e, err
	}
	if own, err := v.path(e.Library); err != nil || own != path {
		return e, &DamagedError{Path: file, Reason: fmt.Sprintf("it belongs to library %q", e.Library)}
	}
	return e, nil
}

func (v *Vault) mendLocked(path string, twice bool) (did string, err error) {
	first, firstErr := os.ReadFile(path)
	second, secondErr := os.ReadFile(path + copySuffix)
	a, errA := v.envelope(path, path)
	b, errB := v.envelope(path, path+copySuffix)
	from, to, why, library := second, path, errors.Join(firstErr, errA), b.Library
	if errA == nil { // of two that are whole the first is the newer
		from, to, why, library = first, path+copySuffix, errors.Join(secondErr, errB), a.Library
	}
	if errA != nil && errB != nil || errA == nil && bytes.Equal(first, second) {
		return "", nil // the next look decides
	}
	if why != nil && !errors.Is(why, fs.ErrNotExist) {
		if _, err := setAside(to, time.Now()); err != nil {
			return "", fmt.Errorf("set a damaged token file aside: %w", err)
		}
	}
	if err := WriteFile(to, from, 0o600); err != nil {
		return "", fmt.Errorf("mend token: %w", err)
	}
	switch {
	case why == nil: // a Save that was broken off between the two
		return "", nil
	case errA == nil && errors.Is(why, fs.ErrNotExist) && !twice && !a.Twice: // nobody deleted it
		v.logger().Info("a token that an earlier version saved has a second copy now", "library", library, "path", to)
		return "", nil
	case errors.Is(why, fs.ErrNotExist):
		return fmt.Sprintf("the token file %s of library %s was deleted; it was made again from its second copy", to, library), nil
	}
	return fmt.Sprintf("the token file %s of library %s was damaged (kept beside it under a dated name); it was made again from its second copy", to, library), nil
}

// mendKey writes a copy of the key again that was deleted or damaged.
func (v *Vault) mendKey() (did []string, err error) {
	if _, err := v.cipher(); err != nil {
		return nil, fmt.Errorf("%w: every library is held; bring it back with its backup: digime-sync state restore FILE --force; "+
			"or have the consents given again: digime-sync authorize LIBRARY", err)
	}
	var errs []error
	for _, name := range []string{keyName, keyCopyName} {
		path := filepath.Join(filepath.Dir(v.dir), name)
		key, err := readKey(path)
		switch {
		case err == nil && bytes.Equal(key, v.raw):
			continue
		case err == nil:
			errs = append(errs, fmt.Errorf("%s holds another key than the one that is in use: put the right one back, or restart the service", path))
			continue
		}
		if restoreErr := v.restoreKey(path, v.raw, err); restoreErr != nil {
			errs = append(errs, fmt.Errorf("write %s again: %w", path, restoreErr))
			continue
		}
		did = append(did, fmt.Sprintf("%s was deleted or damaged; it was written again", path))
	}
	return did, errors.Join(errs...)
}
