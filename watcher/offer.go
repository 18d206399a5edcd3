package watcher

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

const (
	// offerStale is how old the last check of a file may be that is being offered.
	offerStale = 3 * time.Second
	// offerSlice is how many files of the line are checked before the loop sees to the rest.
	offerSlice = 64
)

// offer is the file at the head of the line, checked.
type offer struct {
	path      string // "" for none
	place     uint64
	file      File
	checked   time.Time
	undecided bool // the line is longer than what was checked in one go
}

// head gives the file to be handed over next. What waits in line may have
// changed or become known meanwhile; only a file just opened and found the
// same is offered, and it is checked again if nobody takes it.
func (t *tree) head(now time.Time) (File, bool) {
	t.offered.undecided = false
	for range offerSlice {
		t.hang.enter(time.Now())
		t.mu.Lock()
		first := t.settler.first()
		if first == nil {
			t.mu.Unlock()
			t.offered = offer{}
			return File{}, false
		}
		it := *first
		t.mu.Unlock()
		same := t.offered.path == it.file.Path && t.offered.place == it.place
		if same && now.Sub(t.offered.checked) < offerStale {
			return t.offered.file, true
		}
		if file, ok := t.verify(&it, now); ok {
			t.offered = offer{path: file.Path, place: it.place, file: file, checked: now}
			return file, true
		}
	}
	t.offered = offer{undecided: true}
	return File{}, false
}

// handedOver notes that the consumer took the file.
func (t *tree) handedOver(f File, now time.Time) {
	t.offered = offer{}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settler.handedOver(f.Path, now, f.Err == nil)
}

// verify opens the file and its sidecar. Unless both are what was seen and
// nobody writes to them, the file leaves the line.
func (t *tree) verify(it *item, now time.Time) (File, bool) {
	f := it.file
	err := t.unchanged(f.Path, f.Sig)
	if err == nil && f.Sidecar != "" && f.Err == nil {
		if err = t.unchanged(f.Sidecar, f.SidecarSig); err != nil && !passing(err) {
			err = fmt.Errorf("sidecar: %w", err)
		}
	}
	switch {
	case err == nil && it.refusals > 0: // what is known is only that it could not be opened
		return f, true
	case err == nil:
		known := t.isKnown(f)
		if known {
			t.forget(f.Path)
		}
		return f, !known
	case passing(err):
		t.back(f.Path, now, !errors.Is(err, ErrInUse))
		return f, false
	}
	t.mu.Lock()
	refusals := t.settler.refused(f.Path)
	t.mu.Unlock()
	if refusals < 2 { // a virus scanner may hold it for a moment
		t.back(f.Path, now, false)
		return f, false
	}
	known := t.isKnown(f)
	f.Err = err
	if known {
		t.handedOver(f, now)
	}
	return f, !known
}

func (t *tree) isKnown(f File) bool {
	f.Err = nil
	return t.known(f)
}

// back has a file settle again; soon has it looked at soon.
func (t *tree) back(path string, now time.Time, soon bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settler.back(path, now, soon)
}

// errChanged says that a file is not what was seen.
var errChanged = errors.New("it has changed")

// passing says that the file will be looked at again and there is nothing to
// tell of it: it is in use, has changed or gone.
func passing(err error) bool {
	changed := errors.Is(err, errChanged) || errors.Is(err, errNotRegular) || absent(err)
	return changed || errors.Is(err, ErrInUse)
}

// unchanged opens the file at path and compares.
func (t *tree) unchanged(path string, sig Sig) error {
	// A directory above it may have been replaced by a link since. On Windows
	// only links themselves were resolved, which the look before did.
	if runtime.GOOS != "windows" && !inside(t.real, path) {
		return errChanged
	}
	f, err := Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	now, err := Fstat(f)
	if err != nil {
		return err
	}
	if now != sig {
		return errChanged
	}
	return nil
}
