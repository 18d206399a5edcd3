package store

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A pause lasts over restarts and over the loss of the database; one library's
// and that of all are apart.
func TestPauseLasts(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	since := time.Now().Add(-time.Hour).UTC().Round(0)
	must(t, s.SetPause(Pause{Library: "alice", Reason: "new contract", Since: since}))
	must(t, s.SetPause(Pause{Library: "alice", Reason: "newer", Since: time.Now()}))
	must(t, s.Close())
	remove(t, dir, dbName)
	s = open(t, dir)
	if p, ok := s.Paused("alice"); !ok || p.Reason != "newer" || !p.Since.Equal(since) {
		t.Errorf("alice: %+v, %t", p, ok)
	}
	if p, ok := s.Paused("bob"); ok {
		t.Errorf("bob is paused: %+v", p)
	}
	must(t, s.SetPause(Pause{Since: since}))
	if _, ok := s.Paused("bob"); !ok || len(s.Pauses()) != 2 {
		t.Errorf("not all are paused: %+v", s.Pauses())
	}
	for _, library := range []string{"", "alice"} {
		if ok, err := s.ClearPause(library); !ok || err != nil {
			t.Errorf("resume %q: %t, %v", library, ok, err)
		}
	}
	if ok, err := s.ClearPause("alice"); ok || err != nil {
		t.Errorf("resumed twice: %t, %v", ok, err)
	}
	must(t, s.Close())
	if left := open(t, dir).Pauses(); len(left) != 0 {
		t.Errorf("still paused: %+v", left)
	}
}

// While it cannot be read what is paused, everything is, until a person says
// otherwise; a file that is deleted comes back.
func TestPauseIsNotLost(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, pausedName)
	must(t, os.WriteFile(path, make([]byte, 80), 0o600)) // as a power cut may leave it
	s := open(t, dir)
	if _, ok := s.Paused("alice"); !ok {
		t.Fatal("a damaged file pauses nothing")
	}
	must(t, os.Remove(path))
	if did, err := s.Mend(); err != nil || len(did) != 1 {
		t.Errorf("Mend: %q, %v", did, err)
	}
	must(t, s.Close())
	s = open(t, dir)
	if ok, err := s.ClearPause(""); !ok || err != nil {
		t.Errorf("resume: %t, %v", ok, err)
	}
	if did, err := s.Mend(); err != nil || len(did) != 0 {
		t.Errorf("Mend: %q, %v", did, err)
	}
}
