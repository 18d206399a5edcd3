package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// backUp writes a backup of an open store.
func backUp(t testing.TB, s *Store) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "backup.tar")
	f, err := os.Create(path)
	must(t, err)
	must(t, errors.Join(s.Backup(f), f.Close()))
	return path
}

// later takes a token that says it is the later one: its first letter counts.
func later(_ string, backup, inPlace []byte) bool { return backup[0] > inPlace[0] }

func restored(t testing.TB, dir, backup string, force bool) *Restored {
	t.Helper()
	done, err := Restore(dir, backup, RestoreOptions{Force: force, Newer: later, Log: textLog(logWriter{t})})
	must(t, err)
	return done
}

// A backup taken at any moment of a busy store is consistent: restored
// elsewhere it is without fault, and knows everything acknowledged before.
func TestBackupOfABusyStore(t *testing.T) {
	dir := t.TempDir()
	v := vault(t, dir)
	must(t, v.Save("alice", []byte("1 alice")))
	s := open(t, dir)
	var mu sync.Mutex
	acked := map[string]File{}
	stop := make(chan struct{})
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				f := file(fmt.Sprintf("/in/%d/%d", worker, i), "alice", fmt.Sprint(worker, i))
				if err := deliver(s, f); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acked[f.Path] = f
				mu.Unlock()
			}
		})
	}
	for range 10 {
		mu.Lock()
		var before []File
		for _, f := range acked {
			before = append(before, f)
		}
		mu.Unlock()
		backup := backUp(t, s)
		checked, err := s.Check(v)
		must(t, err)
		if len(checked.Faults) > 0 {
			t.Fatalf("the busy store: %+v", checked.Faults)
		}
		elsewhere := t.TempDir()
		restored(t, elsewhere, backup, false)
		noFaults(t, elsewhere)
		r := open(t, elsewhere)
		wantDelivered(t, r, before[max(0, len(before)-100):])
		must(t, r.Close())
		wantToken(t, vault(t, elsewhere), "alice", "1 alice")
	}
	close(stop)
	group.Wait()
	t.Logf("%d files while 10 backups were made", len(acked))
}

func noFaults(t testing.TB, dir string) {
	t.Helper()
	c, err := CheckDir(dir, textLog(logWriter{t}))
	must(t, err)
	if len(c.Faults) > 0 {
		t.Fatalf("faults: %+v", c.Faults)
	}
}

// week makes a state folder, backs it up, and goes on for a week: one file that
// was queued is delivered, another comes, and alice's tokens are renewed.
func week(t *testing.T) (dir, backup string, before, since []File) {
	dir = t.TempDir()
	v := vault(t, dir)
	must(t, v.Save("alice", []byte("1 old")))
	must(t, v.Save("bob", []byte("5 same")))
	s := open(t, dir)
	for i := range 50 {
		f := file(fmt.Sprintf("/in/%d", i), "alice", fmt.Sprint("old ", i))
		must(t, deliver(s, f))
		before = append(before, f)
	}
	queued := file("/in/queued", "alice", "queued")
	enqueue(t, s, queued, Queued)
	backup = backUp(t, s)
	must(t, v.Save("alice", []byte("2 new")))
	must(t, v.Save("carol", []byte("1 carol")))
	push(t, s, "/in/queued")
	since = append(since, queued)
	for i := range 20 {
		f := file(fmt.Sprintf("/in/new/%d", i), "alice", fmt.Sprint("new ", i))
		must(t, deliver(s, f))
		since = append(since, f)
	}
	must(t, s.Close())
	return dir, backup, before, since
}

// Restored over a state that went on for a week: nothing the newer audit log or
// database knows is pushed again, and no consent is replaced by one that it made void.
func TestRestoreOfLastWeek(t *testing.T) {
	for name, damage := range map[string]func(dir string){
		"whole":                    func(string) {},
		"the audit log is gone":    func(dir string) { must(t, os.Remove(filepath.Join(dir, auditName))) },
		"the database is gone":     func(dir string) { must(t, os.Remove(filepath.Join(dir, dbName))) },
		"the database is damaged":  func(dir string) { must(t, os.WriteFile(filepath.Join(dir, dbName), make([]byte, 9000), 0o600)) },
		"the audit log has a hole": func(dir string) { hole(t, filepath.Join(dir, auditName)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, backup, before, since := week(t)
			damage(dir)
			if _, err := Restore(dir, backup, RestoreOptions{Newer: later}); !errors.Is(err, ErrStateExists) {
				t.Fatalf("Restore without force = %v", err)
			}
			done := restored(t, dir, backup, true)
			if !slices.Equal(done.Kept, []string{"alice"}) || len(done.Tokens) != 0 {
				t.Errorf("tokens kept %v, taken %v", done.Kept, done.Tokens)
			}
			if c, err := CheckDir(dir, nil); err != nil || len(c.Faults) > 0 && !strings.Contains(name, "hole") {
				t.Fatalf("afterwards: %+v, %v", c, err)
			}
			s := open(t, dir)
			defer s.Close()
			wantDelivered(t, s, slices.Concat(before, since))
			if f, ok, err := s.Begin("/in/queued", t0, false); ok || err != nil {
				t.Fatalf("what the backup had queued is pushed again: %+v, %v", f, err)
			}
			enqueue(t, s, file("/in/later", "alice", "later"), Queued)
			v := vault(t, dir)
			wantToken(t, v, "alice", "2 new")
			wantToken(t, v, "bob", "5 same")
			wantToken(t, v, "carol", "1 carol")
		})
	}
}

// hole damages a line in the middle of a file.
func hole(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	clear(data[len(data)/2 : len(data)/2+200])
	must(t, os.WriteFile(path, data, 0o600))
}

// Restored to an empty machine: what came since is not known, the rest is.
func TestRestoreOnANewMachine(t *testing.T) {
	_, backup, before, since := week(t)
	dir := t.TempDir()
	done := restored(t, dir, backup, false)
	if done.Later != 0 || done.Deliveries != len(before) || !slices.Equal(done.Tokens, []string{"alice", "bob"}) {
		t.Errorf("Restore = %+v", done)
	}
	noFaults(t, dir)
	s := open(t, dir)
	defer s.Close()
	wantDelivered(t, s, before)
	if got := state(t, s, "/in/queued"); got != Queued {
		t.Errorf("what was queued is %s", got)
	}
	enqueue(t, s, since[1], Queued) // pushed again: nothing knows it
	wantToken(t, vault(t, dir), "alice", "1 old")
}

// The backup's key takes the place of one that is gone. What it opens is newer
// than the backup and stays; what it does not open is set aside. An older token in
// place is replaced.
func TestRestoreOfTokens(t *testing.T) {
	dir, backup, _, _ := week(t)
	remove(t, dir, keyName)
	remove(t, dir, keyCopyName)
	done := restored(t, dir, backup, true)
	if !slices.Contains(done.Kept, "alice") {
		t.Errorf("kept: %v", done.Kept)
	}
	v := vault(t, dir)
	wantToken(t, v, "alice", "2 new")
	remove(t, dir, keyName)
	remove(t, dir, keyCopyName)
	must(t, vault(t, dir).Save("carol", []byte("3 carol"))) // with a new key
	remove(t, dir, keyName)
	remove(t, dir, keyCopyName)
	done = restored(t, dir, backup, true)
	if !slices.Equal(done.Tokens, []string{"alice", "bob"}) {
		t.Errorf("taken from the backup: %v", done.Tokens)
	}
	v = vault(t, dir)
	wantToken(t, v, "alice", "1 old")
	if aside, _ := filepath.Glob(filepath.Join(dir, tokenDir, "carol-*.before-restore-*")); len(aside) != 2 {
		t.Errorf("the tokens without their key are not kept: %v", aside)
	}
	must(t, v.Save("alice", []byte("0 older")))
	restored(t, dir, backup, true)
	wantToken(t, vault(t, dir), "alice", "1 old")
	noFaults(t, dir)
}

// Cut off anywhere, or with any byte changed, a backup is refused, and nothing is touched.
func TestDamagedBackup(t *testing.T) {
	_, backup, _, _ := week(t)
	whole, err := os.ReadFile(backup)
	must(t, err)
	dir := t.TempDir()
	cut := filepath.Join(t.TempDir(), "cut.tar")
	try := func(what string, data []byte) {
		t.Helper()
		must(t, os.WriteFile(cut, data, 0o600))
		damaged := new(DamagedError)
		if _, err := Restore(dir, cut, RestoreOptions{Newer: later}); !errors.As(err, &damaged) {
			t.Fatalf("%s: %v", what, err)
		}
	}
	last := len(bytes.TrimRight(whole, "\x00")) // behind it is only padding
	for n := 0; n < last; n += 2003 {
		try(fmt.Sprintf("cut at %d", n), whole[:n])
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Fatalf("left behind: %v", entries)
	}
	refused := 0
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 11))
		data := slices.Clone(whole[:last])
		data[rng.IntN(last)] ^= 1 << rng.IntN(8)
		must(t, os.WriteFile(cut, data, 0o600))
		elsewhere := filepath.Join(t.TempDir(), "state")
		_, err := Restore(elsewhere, cut, RestoreOptions{Newer: later})
		if err != nil {
			refused++
			if _, err := os.Stat(elsewhere); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("seed %d: refused, but something was written", seed)
			}
			continue
		}
		noFaults(t, elsewhere) // a bit of a date or of padding
	}
	t.Logf("%d of 150 flipped bits refused, the others changed nothing that counts", refused)
	if refused < 100 {
		t.Error("damage was hardly ever noticed")
	}
}

// Restore broken off after any of its steps and called again ends as if it had
// not been.
func TestRestoreTwice(t *testing.T) {
	dir, backup, before, since := week(t)
	first := restored(t, dir, backup, true)
	second := restored(t, dir, backup, true)
	if first.Deliveries != second.Deliveries {
		t.Errorf("%d deliveries, then %d", first.Deliveries, second.Deliveries)
	}
	must(t, os.Remove(filepath.Join(dir, dbName))) // the step before the database is put in place
	s := open(t, dir)
	wantDelivered(t, s, slices.Concat(before, since))
	must(t, s.Close())
	restored(t, dir, backup, true)
	noFaults(t, dir)
}

// While a daemon has the state, it is not restored.
func TestRestoreWhileOpen(t *testing.T) {
	dir, backup, _, _ := week(t)
	s := open(t, dir)
	defer s.Close()
	locked := new(LockedError)
	if _, err := Restore(dir, backup, RestoreOptions{Force: true, Newer: later}); !errors.As(err, &locked) {
		t.Fatalf("Restore = %v", err)
	}
	if got := state(t, s, "/in/queued"); got != Delivered {
		t.Errorf("the queued file is %s", got)
	}
}

// A reader of a backup that hangs holds up no change, and one that goes away is an error.
func TestBackupToASlowReader(t *testing.T) {
	dir := t.TempDir()
	vault(t, dir)
	s := open(t, dir)
	must(t, deliver(s, file("/in/a", "alice", "a")))
	w := &slowWriter{asked: make(chan struct{}), resume: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- s.Backup(w) }()
	<-w.asked
	must(t, deliver(s, file("/in/b", "alice", "b")))
	close(w.resume)
	if err := <-done; err == nil || !strings.Contains(err.Error(), "gone") {
		t.Fatalf("Backup = %v", err)
	}
	if w.waited {
		t.Error("a delivery waited for the backup's reader")
	}
	must(t, deliver(s, file("/in/c", "alice", "c")))
}

// slowWriter hangs in its first write, and then fails.
type slowWriter struct {
	once          sync.Once
	asked, resume chan struct{}
	waited        bool // until it gave up; read when Backup has returned
}

func (w *slowWriter) Write([]byte) (int, error) {
	w.once.Do(func() { close(w.asked) })
	select {
	case <-w.resume:
	case <-time.After(time.Minute):
		w.waited = true
	}
	return 0, errors.New("the reader has gone")
}
