package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/watcher"
)

// Between any look at a file and its move or deletion somebody may put a new
// content in its place, or open it to write to it. Therefore a file is renamed
// first, and looked at where nobody knows it; one that is another is brought back.

// asidePrefix begins the hidden name of a file that is about to be deleted.
const asidePrefix = ".digime-delete-"

// removeSettled deletes the file at path if it is still what sig describes and
// nobody writes to it.
func removeSettled(path string, sig store.Sig) error {
	aside := filepath.Join(filepath.Dir(path), asidePrefix+shortHash(path))
	if exists(aside) { // that is how far a killed process came
		link, _ := os.Readlink(aside)
		is, err := stillSame(aside, sig, link)
		switch {
		case err != nil:
			return err
		case is:
			return removeAside(aside)
		}
		if err := bringBack(aside, path); err != nil { // it is another file
			return err
		}
	}
	link, _ := os.Readlink(path) // before same: what same has seen must be what is moved
	if is, err := same(path, sig); err != nil || !is {
		return err
	}
	if err := store.Move(path, aside); err != nil {
		return err
	}
	if is, err := stillSame(aside, sig, link); !is {
		return errors.Join(bringBack(aside, path), err)
	}
	return removeAside(aside)
}

// removeAside deletes what was put aside; it may have gone already.
func removeAside(aside string) error {
	if err := os.Remove(aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// stillSame is same for a file that was just renamed, which counts as a change
// of its inode. One that was a link, and which, is compared by that: where it
// lies now it may lead nowhere.
func stillSame(path string, sig store.Sig, link string) (bool, error) {
	if now, err := os.Readlink(path); err == nil || link != "" {
		return now == link, nil
	}
	now, err := watcher.Lstat(path)
	if err != nil {
		return false, nil
	}
	sig.ChangeTime = now.ChangeTime
	return same(path, sig)
}

// bringBack undoes the move of a file. If its place is taken by now it gets a
// name beside it.
func bringBack(from, to string) error {
	for n := 1; ; n++ {
		err := store.Move(from, numbered(to, n))
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("bring file back: %w", err)
		}
		return nil
	}
}
