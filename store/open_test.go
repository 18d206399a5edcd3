package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	locked := new(LockedError)
	if _, err := Open(dir, nil); !errors.As(err, &locked) || locked.PID != os.Getpid() || locked.Path != s.path {
		t.Fatalf("second Open = %v", err)
	}
	must(t, s.Close())
	db, err := bbolt.Open(filepath.Join(dir, dbName), 0o600, nil) // some other tool
	must(t, err)
	if _, err := Open(dir, nil); !errors.As(err, &locked) {
		t.Fatalf("Open while another tool has the database = %v", err)
	}
	must(t, db.Close())
	open(t, dir)
}

func TestNewer(t *testing.T) {
	dir := t.TempDir()
	must(t, open(t, dir).Close())
	path := filepath.Join(dir, dbName)
	db, err := bbolt.Open(path, 0o600, nil)
	must(t, err)
	must(t, db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(metaBucket).Put(schemaKey, binary.BigEndian.AppendUint64(nil, 2))
	}))
	must(t, db.Close())
	before, err := os.ReadFile(path)
	must(t, err)
	if _, err := Open(dir, nil); !errors.Is(err, ErrNewer) {
		t.Fatalf("Open = %v", err)
	}
	after, err := os.ReadFile(path)
	must(t, err)
	if string(before) != string(after) {
		t.Fatal("a database of a newer version was changed")
	}
}

func TestFirstCreation(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "state")
	must(t, os.MkdirAll(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, dbName), nil, 0o644))
	must(t, os.WriteFile(filepath.Join(dir, dbName+".new"), []byte("a creation that was broken off"), 0o644))
	s := open(t, dir)
	if s.Repaired() != "" {
		t.Errorf("Repaired() = %q for a new store", s.Repaired())
	}
	for _, name := range []string{"", dbName, auditName, pidName} {
		info, err := os.Stat(filepath.Join(dir, name))
		must(t, err)
		if modeBits && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%q has permissions %v", name, info.Mode())
		}
	}
	if _, err := os.Stat(filepath.Join(dir, dbName+".new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the temporary database is still there: %v", err)
	}
}

// fill makes a closed store with deliveries, and returns their files.
func fill(t testing.TB, dir string, n int) []File {
	t.Helper()
	s := open(t, dir)
	files := make([]File, n)
	for i := range files {
		files[i] = file(fmt.Sprintf("/in/%04d", i), "alice", fmt.Sprint(i))
	}
	parallel(t, n, func(i int) error { return deliver(s, files[i]) })
	enqueue(t, s, file("/in/queued", "alice", "queued"), Queued)
	must(t, s.Close())
	return files
}

// wantDelivered demands that nothing of files would be pushed again.
func wantDelivered(t testing.TB, s *Store, files []File) {
	t.Helper()
	parallel(t, len(files), func(i int) error {
		f := files[i]
		f.Path += ".copy"
		got, err := s.Enqueue(f, t0)
		if err == nil && got != Duplicate {
			err = fmt.Errorf("the content of %s would be pushed again: %s", f.Path, got)
		}
		return err
	})
}

func TestDatabaseLost(t *testing.T) {
	dir := t.TempDir()
	files := fill(t, dir, 50)
	remove(t, dir, dbName)
	s := open(t, dir)
	if s.Repaired() == "" {
		t.Error("a lost database is not mentioned")
	}
	for _, f := range files {
		if !s.Known(f.Path, f.Sig, f.SidecarSig) {
			t.Fatalf("%s is not known, it would be hashed again", f.Path)
		}
	}
	wantDelivered(t, s, files)
}

func TestAuditLogLost(t *testing.T) {
	dir := t.TempDir()
	files := fill(t, dir, 50)
	remove(t, dir, auditName)
	s := open(t, dir)
	if !strings.Contains(s.Repaired(), "audit log had lost") {
		t.Errorf("Repaired() = %q", s.Repaired())
	}
	must(t, s.Close())
	remove(t, dir, dbName)
	wantDelivered(t, open(t, dir), files) // from the copied lines alone
}

func TestDamagedDatabaseWithoutAuditLog(t *testing.T) {
	dir := t.TempDir()
	files := fill(t, dir, 50)
	remove(t, dir, auditName)
	path := filepath.Join(dir, dbName)
	data, err := os.ReadFile(path)
	must(t, err)
	clear(data[:2*os.Getpagesize()]) // both meta pages
	must(t, os.WriteFile(path, data, 0o600))
	s := open(t, dir)
	if !strings.Contains(s.Repaired(), "50 deliveries the audit log had lost were found") {
		t.Errorf("Repaired() = %q", s.Repaired())
	}
	wantDelivered(t, s, files)
	aside, err := filepath.Glob(path + ".damaged-*")
	must(t, err)
	if len(aside) != 1 {
		t.Fatalf("set aside: %v", aside)
	}
}

func TestIncompleteLastLine(t *testing.T) {
	for name, tail := range map[string]string{
		"half a line": `12345678 {"time":"2026`,
		"zeros":       strings.Repeat("\x00", 5000),
		"long":        strings.Repeat("x", 3*tailSection),
	} {
		dir := t.TempDir()
		files := fill(t, dir, 3)
		path := filepath.Join(dir, auditName)
		whole, err := os.ReadFile(path)
		must(t, err)
		must(t, os.WriteFile(path, append(whole, tail...), 0o600))
		s := open(t, dir)
		must(t, s.Audit("later", File{Path: "/in/a"}))
		must(t, s.Close())
		events := 0
		must(t, ReadAudit(dir, func(Entry) error { events++; return nil }))
		if events != 4 {
			t.Errorf("%s: %d entries, want 4", name, events)
		}
		// Without its newline alone, a line is whole.
		must(t, os.WriteFile(path, whole[:len(whole)-1], 0o600))
		remove(t, dir, dbName)
		wantDelivered(t, open(t, dir), files)
	}
}

func TestDamagedLinesAreCounted(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 10)
	path := filepath.Join(dir, auditName)
	data, err := os.ReadFile(path)
	must(t, err)
	lines := strings.SplitAfter(string(data), "\n")
	lines[3] = strings.Replace(lines[3], "alice", "alIce", 1)
	lines[5] = "\x00\x00" + lines[5] // zeros before a whole line do it no harm
	must(t, os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600))
	n := 0
	damaged := new(DamagedError)
	if err := ReadAudit(dir, func(Entry) error { n++; return nil }); !errors.As(err, &damaged) || n != 9 {
		t.Fatalf("ReadAudit: %d entries, %v", n, err)
	}
	remove(t, dir, dbName)
	s := open(t, dir)
	if !strings.Contains(s.Repaired(), "1 damaged lines") {
		t.Errorf("Repaired() = %q", s.Repaired())
	}
}

func TestCleanCloseIsOpenedWithoutAFullCheck(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 1)
	var log strings.Builder
	openWith := func() *Store {
		log.Reset()
		s, err := Open(dir, textLog(&log))
		must(t, err)
		return s
	}
	must(t, openWith().Close())
	if strings.Contains(log.String(), "checked") {
		t.Errorf("full check after a clean close: %s", log.String())
	}
	s := openWith()
	must(t, s.Put(File{Path: "/in/a", State: Refused}))
	must(t, s.closeFiles()) // a crash
	must(t, s.lock.release())
	must(t, openWith().Close())
	if !strings.Contains(log.String(), "checked") {
		t.Error("no full check after a crash")
	}
}

func TestMigrationsRunOnce(t *testing.T) {
	dir := t.TempDir()
	must(t, open(t, dir).Close())
	ran := 0
	migrations = append(migrations, func(*txn) error { ran++; return nil })
	defer func() { migrations = migrations[:1] }()
	for range 2 {
		s := open(t, dir)
		must(t, s.view(func(tx *txn) error {
			if tx.schema() != 2 {
				t.Errorf("schema %d, want 2", tx.schema())
			}
			return nil
		}))
		must(t, s.Close())
	}
	if ran != 1 {
		t.Errorf("the migration ran %d times", ran)
	}
}
