package store

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

var t0 = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

func sum(content string) string {
	s := sha256.Sum256([]byte(content))
	return hex.EncodeToString(s[:])
}

// file is a file of a library whose content is named by a word.
func file(path, library, content string) File {
	return File{
		Path: path, Folder: "/in", Library: library, Dest: "library " + library, SHA256: sum(content), After: "keep",
		Sig: Sig{Size: int64(len(content)), ModTime: 1, ID: path}, SidecarSig: Sig{Size: 9, ModTime: 2}, Sidecar: "x.meta.json",
	}
}

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir, textLog(logWriter{t}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func textLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

type logWriter struct{ t testing.TB }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func enqueue(t testing.TB, s *Store, f File, want State) {
	t.Helper()
	got, err := s.Enqueue(f, t0)
	must(t, err)
	if got != want {
		t.Fatalf("Enqueue(%s) = %s, want %s", f.Path, got, want)
	}
}

// push takes a queued file through a push that succeeds.
func push(t testing.TB, s *Store, path string) {
	t.Helper()
	f, ok, err := s.Begin(path, t0, false)
	must(t, err)
	if !ok {
		t.Fatalf("Begin(%s): nothing to push, state %s", path, f.State)
	}
	must(t, s.Released(path))
	must(t, s.Delivered(f, t0))
}

func state(t testing.TB, s *Store, path string) State {
	t.Helper()
	f, ok, err := s.Get(path)
	must(t, err)
	if !ok {
		return "none"
	}
	return f.State
}

func TestWayOfAFile(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	f := file("/in/a.pdf", "alice", "one")
	enqueue(t, s, f, Queued)
	enqueue(t, s, f, Queued)
	if !s.Known(f.Path, f.Sig, f.SidecarSig) {
		t.Error("a queued file is not known")
	}
	got, due, ok, err := s.Next("alice", t0, nil)
	must(t, err)
	if !ok || got.Path != f.Path || !due.Equal(t0) {
		t.Fatalf("Next = %v, %v, %v", got.Path, due, ok)
	}
	push(t, s, f.Path)
	must(t, s.Close())

	s = open(t, dir)
	if got := state(t, s, f.Path); got != Delivered {
		t.Fatalf("state after opening again = %s", got)
	}
	enqueue(t, s, f, Delivered)
	enqueue(t, s, file("/in/b.pdf", "alice", "one"), Duplicate)
	enqueue(t, s, file("/in/c.pdf", "bob", "one"), Queued)
	if _, _, ok, _ := s.Next("alice", t0, nil); ok {
		t.Error("something is queued for alice")
	}
}

func remove(t testing.TB, dir, name string) {
	t.Helper()
	must(t, os.Remove(filepath.Join(dir, name)))
}

// deliver takes a file all its way.
func deliver(s *Store, f File) error {
	if _, err := s.Enqueue(f, t0); err != nil {
		return err
	}
	begun, ok, err := s.Begin(f.Path, t0, false)
	if err != nil || !ok {
		return err
	}
	if err := s.Released(f.Path); err != nil {
		return err
	}
	return s.Delivered(begun, t0)
}

// parallel runs fn for 0 to n-1, 64 at a time.
func parallel(t testing.TB, n int, fn func(i int) error) {
	t.Helper()
	var group errgroup.Group
	group.SetLimit(64)
	for i := range n {
		group.Go(func() error { return fn(i) })
	}
	must(t, group.Wait())
}
