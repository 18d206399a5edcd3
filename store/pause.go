package store

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// What a person has paused is kept in a file of its own, paused.json: it must
// not go with a damaged database, since what is paused may be paused because it
// would go to the wrong person.
const pausedName = "paused.json"

// Pause says that a person wants nothing pushed, until a person says otherwise.
type Pause struct {
	Library string    `json:"library,omitzero"` // "": of all libraries
	Reason  string    `json:"reason,omitzero"`  // as the person gave it, "" for none
	Since   time.Time `json:"since"`
}

// readPauses reads what is paused. While that cannot be read everything is.
func (s *Store) readPauses() {
	s.pauses = map[string]Pause{}
	path := filepath.Join(s.dir, pausedName)
	var list []Pause
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = json.Unmarshal(data, &list)
	}
	if err != nil {
		s.log.Error("what is paused cannot be read; nothing is pushed", "path", path, "error", err)
		list = []Pause{{Reason: "what was paused cannot be read: " + err.Error(), Since: time.Now().UTC()}}
	}
	for _, p := range list {
		s.pauses[p.Library] = p
	}
}

// Paused says whether nothing of this library may be pushed, and since when.
func (s *Store) Paused(library string) (Pause, bool) {
	s.pauseMu.RLock()
	defer s.pauseMu.RUnlock()
	p, ok := s.pauses[""]
	if !ok {
		p, ok = s.pauses[library]
	}
	return p, ok
}

// Pauses returns what is paused, that of all libraries first.
func (s *Store) Pauses() []Pause {
	s.pauseMu.RLock()
	defer s.pauseMu.RUnlock()
	return sortedPauses(s.pauses)
}

func sortedPauses(m map[string]Pause) []Pause {
	return slices.SortedFunc(maps.Values(m), func(a, b Pause) int { return cmp.Compare(a.Library, b.Library) })
}

// SetPause pauses a library, or all for "". One that is paused stays so since
// when it was, for the new reason. An error means that it may not last.
func (s *Store) SetPause(p Pause) error {
	p.Since = p.Since.UTC()
	err := s.changePauses(func(m map[string]Pause) {
		if old, ok := m[p.Library]; ok {
			p.Since = old.Since
		}
		m[p.Library] = p
	})
	if err == nil {
		err = s.Audit("paused by a person", File{Library: p.Library, Reason: p.Reason})
	}
	if err != nil {
		return fmt.Errorf("pause: %w", err)
	}
	return nil
}

// ClearPause ends the pause of a library, or that of all for "". It returns
// false when there is none. After an error it is still there.
func (s *Store) ClearPause(library string) (bool, error) {
	s.pauseMu.RLock()
	p, ok := s.pauses[library]
	s.pauseMu.RUnlock()
	if !ok {
		return false, nil
	}
	err := s.Audit("resumed by a person", File{Library: library, Reason: p.Reason})
	if err == nil {
		err = s.changePauses(func(m map[string]Pause) { delete(m, library) })
	}
	if err != nil {
		return true, fmt.Errorf("resume: %w", err)
	}
	return true, nil
}

// changePauses writes a change down before it counts.
func (s *Store) changePauses(change func(map[string]Pause)) error {
	s.pauseMu.Lock()
	defer s.pauseMu.Unlock()
	next := maps.Clone(s.pauses)
	change(next)
	if err := s.writePauses(next); err != nil {
		return err
	}
	s.pauses = next
	return nil
}

func (s *Store) writePauses(m map[string]Pause) error {
	path := filepath.Join(s.dir, pausedName)
	if len(m) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return syncDir(s.dir)
	}
	data, err := json.MarshalIndent(sortedPauses(m), "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(path, append(data, '\n'), 0o600)
}

// mendPauses writes the file again where it was deleted.
func (s *Store) mendPauses() (string, error) {
	s.pauseMu.Lock()
	defer s.pauseMu.Unlock()
	path := filepath.Join(s.dir, pausedName)
	if _, err := os.Stat(path); len(s.pauses) == 0 || !errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err := s.writePauses(s.pauses); err != nil {
		return "", err
	}
	return path + " was deleted while the service ran; it was made again", nil
}
