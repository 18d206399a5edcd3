package store

import (
	"bytes"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"go.etcd.io/bbolt"
)

var damageSeeds = flag.Uint64("damage.seeds", 100, "how many databases are damaged at random")

// hurt damages bytes in one of the ways disks and power cuts do.
func hurt(rng *rand.Rand, data []byte) []byte {
	data = slices.Clone(data)
	at := rng.IntN(len(data))
	switch rng.IntN(5) {
	case 0: // a bit flips
		data[at] ^= 1 << rng.IntN(8)
	case 1: // the end is missing
		return data[:at]
	case 2: // a sector of zeros
		at -= at % 512
		clear(data[at:min(len(data), at+512*(1+rng.IntN(16)))])
	case 3: // a sector of something else
		at -= at % 512
		for i := at; i < min(len(data), at+512); i++ {
			data[i] = byte(rng.Uint32())
		}
	case 4: // a page of another place, as after a misdirected write
		page := os.Getpagesize()
		from, to := rng.IntN(len(data)/page+1)*page, rng.IntN(len(data)/page+1)*page
		copy(data[min(to, len(data)):], data[min(from, len(data)):min(from+page, len(data))])
	}
	return data
}

// usedPages reads a database without the room at its end, where damage does no harm.
func usedPages(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	im, err := readImage(bytes.NewReader(data), int64(len(data)))
	must(t, err)
	return data[:int64(im.pages)*im.pageSize]
}

// Whatever happens to the database file, nothing panics, nothing is pushed
// twice, and what was not found whole is said.
func TestRandomDamageOfTheDatabase(t *testing.T) {
	master := t.TempDir()
	files := fill(t, master, 120)
	db := usedPages(t, filepath.Join(master, dbName))
	audit, err := os.ReadFile(filepath.Join(master, auditName))
	must(t, err)
	aside := 0
	for seed := range *damageSeeds {
		rng := rand.New(rand.NewPCG(seed, 1))
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, dbName), hurt(rng, db), 0o600))
		must(t, os.WriteFile(filepath.Join(dir, auditName), audit, 0o600))
		checked, err := CheckDir(dir, nil)
		must(t, err)
		s, err := Open(dir, nil)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if (s.Repaired() == "") != (len(checked.Faults) == 0) {
			t.Errorf("seed %d: opening repaired %q, the check found %v", seed, s.Repaired(), checked.Faults)
		}
		if s.Repaired() != "" {
			aside++
		} else if got := state(t, s, "/in/queued"); got != Queued {
			t.Fatalf("seed %d: the queued file is %s, silently", seed, got)
		}
		wantDelivered(t, s, files)
		if err := s.Close(); err != nil {
			t.Fatalf("seed %d: close: %v", seed, err)
		}
	}
	t.Logf("%d of %d were set aside", aside, *damageSeeds)
	if aside < 10 {
		t.Error("damage was hardly ever noticed")
	}
}

// leftMapped gives a folder for a database that is found damaged while it is
// open: it stays mapped until the process ends, and Windows removes no mapped file.
func leftMapped(t *testing.T) string {
	t.Helper()
	if runtime.GOOS != "windows" {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("", "damaged")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Damage that happens while the store is open is an error, and has the next Open
// rebuild.
func TestDamageFoundWhileRunning(t *testing.T) {
	master := t.TempDir()
	files := fill(t, master, 200)
	db := usedPages(t, filepath.Join(master, dbName))
	audit, err := os.ReadFile(filepath.Join(master, auditName))
	must(t, err)
	found := 0
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 2))
		dir := leftMapped(t)
		must(t, os.WriteFile(filepath.Join(dir, dbName), db, 0o600))
		must(t, os.WriteFile(filepath.Join(dir, auditName), audit, 0o600))
		s, err := Open(dir, nil)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		_, err = s.file.WriteAt(hurt(rng, db), 0)
		must(t, err)
		err = errors.Join(s.Files("", func(File) error { return nil }), deliver(s, file("/in/new", "alice", "new")), s.Close())
		damaged := new(DamagedError)
		if err == nil || errors.Is(err, ErrNotPushing) { // what was read is whole, and maybe old
			continue
		}
		if !errors.As(err, &damaged) {
			t.Fatalf("seed %d: %v", seed, err)
		}
		found++
		s, err = Open(dir, nil)
		if err != nil {
			t.Fatalf("seed %d: again: %v", seed, err)
		}
		wantDelivered(t, s, files)
		must(t, s.Close())
	}
	t.Logf("found while running: %d of 40", found)
	if found == 0 {
		t.Error("no damage was found while running")
	}
}

// Where the list of free pages says that it is far larger than the file, no
// commit believes it.
func TestDamagedListOfFreePages(t *testing.T) {
	dir := leftMapped(t)
	files := fill(t, dir, 50)
	s, err := Open(dir, nil)
	must(t, err)
	im, err := openImage(s.file)
	must(t, err)
	_, err = s.file.WriteAt([]byte{0xff, 0xff, 0xff, 0xff}, int64(im.freelist)*im.pageSize+12)
	must(t, err)
	damaged := new(DamagedError)
	if err := errors.Join(deliver(s, file("/in/new", "alice", "new")), s.Close()); !errors.As(err, &damaged) {
		t.Fatalf("deliver = %v", err)
	}
	s, err = Open(dir, nil)
	must(t, err)
	wantDelivered(t, s, files)
	must(t, s.Close())
}

// With the audit log damaged the database still knows, and with both damaged
// no more is lost than the lines whose record is gone too.
func TestRandomDamageOfTheAuditLog(t *testing.T) {
	master := t.TempDir()
	files := fill(t, master, 60)
	db := usedPages(t, filepath.Join(master, dbName))
	audit, err := os.ReadFile(filepath.Join(master, auditName))
	must(t, err)
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 3))
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, dbName), db, 0o600))
		must(t, os.WriteFile(filepath.Join(dir, auditName), hurt(rng, audit), 0o600))
		s, err := Open(dir, nil)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		wantDelivered(t, s, files)
		must(t, deliver(s, file("/in/new", "alice", "new")))
		must(t, s.Close())
	}
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 4))
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, dbName), hurt(rng, db), 0o600))
		must(t, os.WriteFile(filepath.Join(dir, auditName), hurt(rng, audit), 0o600))
		s, err := Open(dir, nil)
		if err != nil {
			t.Fatalf("seed %d: both damaged: %v", seed, err)
		}
		lost := 0
		must(t, s.view(func(tx *txn) error {
			for _, f := range files {
				if _, known, err := tx.delivery(contentKey(f.Dest, f.SHA256)); err != nil || !known {
					lost++
				}
			}
			return nil
		}))
		if lost > 0 && s.Repaired() == "" {
			t.Errorf("seed %d: %d deliveries are lost silently", seed, lost)
		}
		must(t, s.Close())
	}
}

// Damage of each kind that the check at Open is for, at the place it is for.
func TestDamageInPlace(t *testing.T) {
	for name, damage := range map[string]func(db []byte, im *image){
		"a letter in a record": func(db []byte, _ *image) {
			copy(db, bytes.ReplaceAll(db, []byte(`"library":"alice"`), []byte(`"library":"alIce"`)))
		},
		"a page that is free and in use": func(db []byte, im *image) {
			page := db[int64(im.freelist)*im.pageSize:]
			count := order.Uint16(page[10:])
			order.PutUint16(page[10:], count+1)
			order.PutUint64(page[pageHeader+8*int(count):], im.root)
		},
		"a bucket that leads to another's page": func(db []byte, im *image) {
			list, err := elements(db[int64(im.root)*im.pageSize:][:im.pageSize])
			must(t, err)
			var roots [][]byte
			for _, e := range list {
				if order.Uint64(e.value) != 0 {
					roots = append(roots, e.value[:8])
				}
			}
			copy(roots[0], roots[1])
		},
		"the newest meta page": func(db []byte, im *image) {
			clear(db[int64(im.txid%2)*im.pageSize:][:im.pageSize])
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			files := fill(t, dir, 150)
			path := filepath.Join(dir, dbName)
			db, err := os.ReadFile(path)
			must(t, err)
			f, err := os.Open(path)
			must(t, err)
			im, err := openImage(f)
			must(t, errors.Join(err, f.Close()))
			damage(db, im)
			must(t, os.WriteFile(path, db, 0o600))
			remove(t, dir, cleanName)
			s := open(t, dir)
			if s.Repaired() == "" {
				t.Error("not noticed")
			}
			wantDelivered(t, s, files)
		})
	}
}

// The own reader of the file format agrees with bbolt about whole databases, and
// accepts nothing that bbolt finds fault with.
func TestImageAgreesWithBolt(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 400)
	path := filepath.Join(dir, dbName)
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	im, err := openImage(f)
	must(t, err)
	ours := map[string]int{}
	must(t, im.check(true, func(bucket, _, _ []byte) error { ours[string(bucket)]++; return nil }))
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	must(t, err)
	defer db.Close()
	must(t, db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("bbolt: %v", err)
		}
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			if got, want := ours[string(name)], b.Stats().KeyN; got != want {
				t.Errorf("bucket %s: %d keys, bbolt has %d", name, got, want)
			}
			return nil
		})
	}))
}

// Damage that came after a clean close is found, and mended, by the same start.
func TestDamageAfterACleanClose(t *testing.T) {
	for seed := range uint64(20) {
		dir := t.TempDir()
		files := fill(t, dir, 200)
		must(t, open(t, dir).Close())
		path := filepath.Join(dir, dbName)
		data, err := os.ReadFile(path)
		must(t, err)
		used := usedPages(t, path)
		rng := rand.New(rand.NewPCG(seed, 1))
		for range 20 {
			data[rng.IntN(len(used))] ^= 0x55
		}
		must(t, os.WriteFile(path, data, 0o600))
		s := open(t, dir)
		wantDelivered(t, s, files)
		must(t, s.Put(File{Path: "/in/a", State: Refused}))
		must(t, s.Files("", func(File) error { return nil }))
		must(t, s.damage())
		must(t, s.Close())
	}
}
