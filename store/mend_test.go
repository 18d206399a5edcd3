package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// needsUnlink skips a test where an open file cannot be removed.
func needsUnlink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows lets nobody remove an open file")
	}
}

// What is deleted, exchanged or cut under an open store is put back as it was:
// nothing queued and nothing delivered is forgotten, now or after a kill.
func TestMend(t *testing.T) {
	needsUnlink(t)
	foreign := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			must(t, os.Rename(filepath.Join(dir, name), filepath.Join(dir, name+".mine")))
			must(t, os.WriteFile(filepath.Join(dir, name), []byte("somebody else's"), 0o600))
		}
	}
	deleted := func(names ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			for _, name := range names {
				remove(t, dir, name)
			}
		}
	}
	for name, damage := range map[string]func(t *testing.T, dir string){
		"database deleted":      deleted(dbName),
		"audit log deleted":     deleted(auditName),
		"lock deleted":          deleted(pidName),
		"all three deleted":     deleted(dbName, auditName, pidName),
		"the folder deleted":    func(t *testing.T, dir string) { must(t, os.RemoveAll(dir)) },
		"database exchanged":    foreign(dbName),
		"audit log exchanged":   foreign(auditName),
		"audit log emptied":     func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, auditName), 0)) },
		"audit log cut":         func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, auditName), 1000)) },
		"audit log cut, in use": func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, auditName), 500)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			files := fill(t, dir, 30)
			s := open(t, dir)
			if did, err := s.Mend(); err != nil || len(did) > 0 {
				t.Fatalf("Mend of a whole state = %q, %v", did, err)
			}
			damage(t, dir)
			if strings.HasSuffix(name, "in use") { // before anybody looks
				must(t, deliver(s, file("/in/now", "alice", "now")))
			}
			did, err := s.Mend()
			if err != nil || len(did) == 0 {
				t.Fatalf("Mend = %q, %v", did, err)
			}
			must(t, deliver(s, file("/in/later", "alice", "later")))
			if did, err := s.Mend(); err != nil || len(did) > 0 {
				t.Fatalf("Mend again = %q, %v", did, err)
			}
			s.closeFilesAsIfKilled(t)
			noFaults(t, dir)
			s = open(t, dir)
			if got := state(t, s, "/in/queued"); got != Queued {
				t.Errorf("the queued file is %s", got)
			}
			wantDelivered(t, s, append(files, file("/in/later", "alice", "later")))
			must(t, s.Close())
			must(t, os.Remove(filepath.Join(dir, dbName))) // the log alone knows as much
			s = open(t, dir)
			wantDelivered(t, s, append(files, file("/in/later", "alice", "later")))
			if strings.HasSuffix(name, "exchanged") {
				if aside, _ := filepath.Glob(filepath.Join(dir, "*.damaged-*")); len(aside) != 1 {
					t.Errorf("what lay in its place is not kept: %v", aside)
				}
			}
		})
	}
}

// Where another process has taken the folder meanwhile, the store must end.
func TestMendOfATakenFolder(t *testing.T) {
	needsUnlink(t)
	dir := t.TempDir()
	s := open(t, dir)
	remove(t, dir, pidName)
	other, err := lockDir(dir)
	must(t, err)
	defer other.release()
	locked := new(LockedError)
	if _, err := s.Mend(); !errors.As(err, &locked) {
		t.Fatalf("Mend = %v", err)
	}
}

// A database of an earlier schema is migrated once, and a copy of it as it was
// is kept, which this version opens again.
func TestMigrationKeepsACopy(t *testing.T) {
	dir := t.TempDir()
	files := fill(t, dir, 20)
	migrations = append(migrations, func(tx *txn) error { return tx.put(metaBucket, []byte("new in 2"), []byte("x")) })
	s := open(t, dir)
	wantDelivered(t, s, files)
	must(t, s.Close())
	migrations = migrations[:1]

	copies, err := filepath.Glob(filepath.Join(dir, dbName+".v1-*"))
	must(t, err)
	if len(copies) != 1 {
		t.Fatalf("copies: %v", copies)
	}
	if info, err := os.Stat(copies[0]); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("the copy: %v, %v", info.Mode(), err)
	}
	before, err := os.ReadDir(dir)
	must(t, err)
	db, err := os.ReadFile(filepath.Join(dir, dbName))
	must(t, err)
	if _, err := Open(dir, nil); !errors.Is(err, ErrNewer) { // the version before
		t.Fatalf("Open of a newer schema = %v", err)
	}
	after, err := os.ReadDir(dir)
	must(t, err)
	if now, err := os.ReadFile(filepath.Join(dir, dbName)); err != nil || !bytes.Equal(now, db) || len(before) != len(after) {
		t.Errorf("the newer database was touched: %v, %v", after, err)
	}
	must(t, os.Rename(copies[0], filepath.Join(dir, dbName)))
	s = open(t, dir)
	wantDelivered(t, s, files)
	if got := state(t, s, "/in/queued"); got != Queued || s.Repaired() != "" {
		t.Errorf("the way back: the queued file is %s, repaired %q", got, s.Repaired())
	}
}

// A migration that fails, or is killed, leaves the database as it was.
func TestFailedMigration(t *testing.T) {
	dir := t.TempDir()
	files := fill(t, dir, 20)
	migrations = append(migrations,
		func(tx *txn) error { return tx.put(metaBucket, []byte("new in 2"), []byte("x")) },
		func(*txn) error { return errors.New("no") })
	_, err := Open(dir, nil)
	migrations = migrations[:1]
	if err == nil || !strings.Contains(err.Error(), "schema 3") {
		t.Fatalf("Open = %v", err)
	}
	s := open(t, dir)
	wantDelivered(t, s, files)
	if s.Repaired() != "" {
		t.Errorf("repaired: %s", s.Repaired())
	}
}

// Truncated to any length, the database is set aside or whole; nothing is pushed twice.
func TestTruncatedDatabase(t *testing.T) {
	master := t.TempDir()
	files := fill(t, master, 20)
	db, err := os.ReadFile(filepath.Join(master, dbName))
	must(t, err)
	audit, err := os.ReadFile(filepath.Join(master, auditName))
	must(t, err)
	page := os.Getpagesize()
	var lengths []int
	for at := 0; at <= min(len(db), 40*page); at += page {
		lengths = append(lengths, max(0, at-1), at, at+1, at+16, at+page/2)
	}
	tried := 0
	for _, n := range lengths {
		if n > len(db) {
			continue
		}
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, dbName), db[:n], 0o600))
		must(t, os.WriteFile(filepath.Join(dir, auditName), audit, 0o600))
		s, err := Open(dir, nil)
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		wantDelivered(t, s, files)
		must(t, s.Close())
		tried++
	}
	t.Logf("%d lengths", tried)
}

// zero leaves zeros in the audit log from a byte on, as a power cut may.
func zero(t *testing.T, dir string, from int) {
	t.Helper()
	path := filepath.Join(dir, auditName)
	data, err := os.ReadFile(path)
	must(t, err)
	clear(data[from:])
	must(t, os.WriteFile(path, data, 0o600))
}

// Check finds each kind of damage, says it in words, and changes nothing.
func TestCheckFindsDamage(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string)
		want   string
	}{
		"nothing":                 {func(*testing.T, string) {}, ""},
		"record":                  {func(t *testing.T, dir string) { replaceIn(t, dir, dbName, `"library":"alice"`, `"library":"alIce"`) }, "database is damaged"},
		"database gone":           {func(t *testing.T, dir string) { remove(t, dir, dbName) }, "no database"},
		"database cut":            {func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, dbName), 9000)) }, "database is damaged"},
		"log gone":                {func(t *testing.T, dir string) { remove(t, dir, auditName) }, "audit log is missing"},
		"log cut":                 {func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, auditName), 300)) }, "lost lines"},
		"log damaged":             {func(t *testing.T, dir string) { replaceIn(t, dir, auditName, `"library":"alice"`, `"library":"alIce"`) }, "lines of the audit log are damaged"},
		"log holed":               {func(t *testing.T, dir string) { hole(t, filepath.Join(dir, auditName)) }, "What was delivered is kept: the database is whole and knows 10 deliveries"},
		"log zeroed":              {func(t *testing.T, dir string) { zero(t, dir, 0) }, "from byte 0 on, as a power cut leaves them"},
		"log's end zeroed":        {func(t *testing.T, dir string) { zero(t, dir, 100) }, "bytes of the audit log are zeros, from byte 100 on"},
		"log zeroed, no database": {func(t *testing.T, dir string) { zero(t, dir, 100); remove(t, dir, dbName) }, "deliveries of which these lines told may be forgotten"},
		"key damaged":             {func(t *testing.T, dir string) { must(t, os.WriteFile(filepath.Join(dir, keyName), []byte("x"), 0o600)) }, keyName},
		"both keys gone":          {func(t *testing.T, dir string) { remove(t, dir, keyName); remove(t, dir, keyCopyName) }, keyName},
		"token damaged":           {func(t *testing.T, dir string) { must(t, os.WriteFile(tokenFile(t, dir), []byte("{"), 0o600)) }, "no token file"},
		"token's copy gone":       {func(t *testing.T, dir string) { must(t, os.Remove(tokenFile(t, dir)+copySuffix)) }, "is missing"},
		"an index contradicts":    {func(t *testing.T, dir string) { spoil(t, dir, openBucket) }, "contradicts itself"},
		"deliveries are missing":  {func(t *testing.T, dir string) { spoil(t, dir, deliveredBucket) }, "no delivery of their content"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, vault(t, dir).Save("alice", []byte("token")))
			fill(t, dir, 10)
			c.damage(t, dir)
			before := snapshot(t, dir)
			got, err := CheckDir(dir, nil)
			must(t, err)
			text := fmt.Sprint(got.Faults)
			if !strings.Contains(text, c.want) || (len(got.Faults) == 0) != (name == "nothing") {
				t.Errorf("faults %q, want %q", text, c.want)
			}
			for _, f := range got.Faults {
				if f.Hint == "" {
					t.Errorf("%q has no hint", f.What)
				}
			}
			if after := snapshot(t, dir); after != before {
				t.Errorf("it changed something:\n%s\n%s", before, after)
			}
		})
	}
}

// snapshot tells whether a folder's files were changed, but for the lock's.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == pidName {
			return err
		}
		info, err := d.Info()
		all = append(all, fmt.Sprint(d.Name(), info.Size(), info.ModTime().Format(time.RFC3339Nano)))
		return err
	}))
	return strings.Join(all, "\n")
}

func replaceIn(t *testing.T, dir, name, from, to string) {
	t.Helper()
	path := filepath.Join(dir, name)
	data, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, bytes.ReplaceAll(data, []byte(from), []byte(to)), 0o600))
}

// spoil removes the first entry of a bucket, as no change of the store does.
func spoil(t *testing.T, dir string, bucket []byte) {
	t.Helper()
	s := open(t, dir)
	must(t, s.update(func(tx *txn) error {
		k, _ := tx.bucket(bucket).Cursor().First()
		return tx.del(bucket, bytes.Clone(k))
	}))
	must(t, s.Close())
}

// What was deleted right before the end is not forgotten.
func TestDeletedBeforeClose(t *testing.T) {
	needsUnlink(t)
	dir := filepath.Join(t.TempDir(), "state")
	files := fill(t, dir, 30)
	s := open(t, dir)
	must(t, os.RemoveAll(dir))
	must(t, s.Close())
	s = open(t, dir)
	defer s.Close()
	wantDelivered(t, s, files)
	if s.New() {
		t.Error("the state is new")
	}
}
