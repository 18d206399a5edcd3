package store

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func vault(t testing.TB, dir string) *Vault {
	t.Helper()
	v, err := OpenVault(dir)
	must(t, err)
	v.Log = textLog(logWriter{t})
	return v
}

func wantToken(t testing.TB, v *Vault, library, want string) {
	t.Helper()
	if got, err := v.Load(library); err != nil || string(got) != want {
		t.Fatalf("Load(%q) = %q, %v, want %q", library, got, err, want)
	}
}

func TestVault(t *testing.T) {
	dir := t.TempDir()
	v := vault(t, dir)
	names := []string{"alice", "Alice", "Jörg Müller", "Praxis M\xfcller", "a b", "a_b", strings.Repeat("ü", 300), "..", "con"}
	for _, name := range names {
		if _, err := v.Load(name); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("Load(%q) before Save = %v", name, err)
		}
		must(t, v.Save(name, []byte("first of "+name)))
		must(t, v.Save(name, []byte("token of "+name)))
	}
	v = vault(t, dir)
	for _, name := range names {
		wantToken(t, v, name, "token of "+name)
	}
	list, err := v.List()
	must(t, err)
	slices.Sort(names)
	if !slices.Equal(list, names) {
		t.Fatalf("List = %q", list)
	}
	must(t, v.Remove("alice"))
	must(t, v.Remove("alice"))
	if _, err := v.Load("alice"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Load after Remove = %v", err)
	}
	for _, bad := range []string{"", "a\x00b"} {
		if err := v.Save(bad, nil); err == nil {
			t.Errorf("library %q is accepted", bad)
		}
	}
}

func TestVaultShowsNoToken(t *testing.T) {
	dir := t.TempDir()
	v := vault(t, dir)
	secret := []byte("refresh-token-4711")
	must(t, v.Save("alice", secret))
	must(t, v.Save("alice", secret))
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		info, statErr := d.Info()
		if bytes.Contains(data, secret) || statErr != nil || modeBits && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, shows the token: %v", path, info.Mode(), bytes.Contains(data, secret))
		}
		return err
	}))
}

func TestChanged(t *testing.T) {
	v := vault(t, t.TempDir())
	if stamp, err := v.Changed("alice"); stamp != "" || err != nil {
		t.Fatalf("Changed = %q, %v", stamp, err)
	}
	seen := map[string]bool{"": true}
	for range 20 {
		must(t, v.Save("alice", []byte("the same")))
		stamp, err := v.Changed("alice")
		must(t, err)
		if again, _ := v.Changed("alice"); seen[stamp] || again != stamp {
			t.Fatal("the stamp does not tell one Save from another")
		}
		seen[stamp] = true
	}
}

func TestVaultLock(t *testing.T) {
	dir := t.TempDir()
	a, b := vault(t, dir), vault(t, dir)
	n := 0 // not atomic: the lock is what guards it
	var inside atomic.Int32
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			v := []*Vault{a, b}[i%2] // b stands for another process
			unlock, err := v.Lock("alice")
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock()
			if inside.Add(1) != 1 {
				t.Error("two have the lock")
			}
			if v == a {
				n++
			}
			inside.Add(-1)
		})
	}
	unlock, err := a.Lock("bob") // another library is not held up
	must(t, err)
	unlock()
	group.Wait()
	if n != 10 {
		t.Fatalf("%d of 10 had the lock", n)
	}
}

func tokenFile(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, tokenDir, "*"+tokenSuffix))
	must(t, err)
	if len(found) != 1 {
		t.Fatalf("token files: %v", found)
	}
	return found[0]
}

func TestRandomDamageOfATokenFile(t *testing.T) {
	dir := t.TempDir()
	v := vault(t, dir)
	must(t, v.Save("alice", []byte("first")))
	must(t, v.Save("alice", []byte("second")))
	path := tokenFile(t, dir)
	whole, err := os.ReadFile(path)
	must(t, err)
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 5))
		data := hurt(rng, whole)
		must(t, os.WriteFile(path, data, 0o600))
		got, err := v.Load("alice")
		switch {
		case err != nil:
			t.Fatalf("seed %d: %v", seed, err)
		case string(got) != "second":
			t.Fatalf("seed %d: Load = %q", seed, got)
		}
	}
	must(t, os.WriteFile(path, make([]byte, len(whole)), 0o600))
	if names, err := v.List(); err != nil || len(names) != 1 {
		t.Errorf("List with a damaged file = %v, %v", names, err)
	}
	must(t, v.Save("alice", []byte("third"))) // must not put the damaged file in place of the good copy
	must(t, os.WriteFile(path, nil, 0o600))
	wantToken(t, v, "alice", "third")
	must(t, os.Remove(path))
	wantToken(t, v, "alice", "third")
	must(t, os.WriteFile(path, nil, 0o600))
	must(t, os.WriteFile(path+copySuffix, []byte("{"), 0o600))
	damaged := new(DamagedError)
	if _, err := v.Load("alice"); !errors.As(err, &damaged) {
		t.Fatalf("both generations damaged: %v", err)
	}
	if _, err := v.List(); !errors.As(err, &damaged) {
		t.Fatalf("List = %v", err)
	}
}

// The token of one person never opens as that of another.
func TestTokenFilesAreNotInterchangeable(t *testing.T) {
	dir := t.TempDir()
	v := vault(t, dir)
	must(t, v.Save("alice", []byte("alice's")))
	must(t, v.Save("bob", []byte("bob's")))
	alice, err := v.path("alice")
	must(t, err)
	bob, err := v.path("bob")
	must(t, err)
	data, err := os.ReadFile(bob)
	must(t, err)
	must(t, os.WriteFile(alice, data, 0o600))
	must(t, os.WriteFile(alice+copySuffix, data, 0o600))
	damaged := new(DamagedError)
	if got, err := v.Load("alice"); !errors.As(err, &damaged) {
		t.Fatalf("alice's token is %q, %v", got, err)
	}
	must(t, os.WriteFile(alice, bytes.ReplaceAll(data, []byte(`"bob"`), []byte(`"alice"`)), 0o600))
	if got, err := v.Load("alice"); !errors.As(err, &damaged) {
		t.Fatalf("alice's token is %q, %v", got, err)
	}
}

func TestVaultKey(t *testing.T) {
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(textLog(logWriter{t})) // OpenVault has no other yet
	dir := t.TempDir()
	must(t, vault(t, dir).Save("alice", []byte("token")))
	key, copied := filepath.Join(dir, keyName), filepath.Join(dir, keyCopyName)
	whole, err := os.ReadFile(key)
	must(t, err)
	for _, path := range []string{key, copied} {
		for seed := range uint64(30) {
			data := hurt(rand.New(rand.NewPCG(seed, 6)), whole)
			must(t, os.WriteFile(path, data, 0o600))
			wantToken(t, vault(t, dir), "alice", "token")
			if now, _ := os.ReadFile(path); !bytes.Equal(now, whole) {
				t.Fatalf("%s was not made whole again", path)
			}
		}
		if aside, _ := filepath.Glob(path + ".damaged-*"); len(aside) == 0 {
			t.Errorf("damaged %s was overwritten", path)
		}
		must(t, os.Remove(path))
		wantToken(t, vault(t, dir), "alice", "token")
	}
	damaged := new(DamagedError)
	must(t, os.WriteFile(key, nil, 0o600))
	must(t, os.WriteFile(copied, whole[:20], 0o600))
	if _, err := vault(t, dir).Load("alice"); !errors.As(err, &damaged) || !errors.Is(err, ErrKeyLost) {
		t.Fatalf("both copies damaged: %v", err)
	}
	must(t, os.Remove(key))
	must(t, os.Remove(copied))
	v := vault(t, dir)
	if _, err := v.Load("alice"); !errors.Is(err, ErrKeyLost) {
		t.Fatalf("a new key is made although there are tokens: %v", err)
	}
	if _, err := v.Mend(); !errors.Is(err, ErrKeyLost) {
		t.Errorf("Mend = %v", err)
	}
	must(t, os.WriteFile(copied, whole, 0o600))
	wantToken(t, v, "alice", "token")
	wantToken(t, vault(t, dir), "alice", "token")
}

// Where the key is lost a new consent brings a new one. What the old one sealed is
// kept, and an open vault goes on with the new key.
func TestVaultKeyAnew(t *testing.T) {
	for name, leave := range map[string]func(path string) error{
		"missing": os.Remove,
		"damaged": func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			v := vault(t, dir)
			must(t, v.Save("alice", []byte("token")))
			must(t, v.Save("bob", []byte("token")))
			for _, key := range []string{keyName, keyCopyName} {
				must(t, leave(filepath.Join(dir, key)))
			}
			daemon, v := vault(t, dir), vault(t, dir)
			must(t, v.Save("alice", []byte("new")))
			if aside := v.NewKey(); len(aside) < 4 {
				t.Errorf("set aside: %q", aside)
			}
			for _, path := range v.NewKey() {
				if _, err := os.Stat(path); err != nil {
					t.Error(err)
				}
			}
			wantToken(t, daemon, "alice", "new")
			wantToken(t, vault(t, dir), "alice", "new")
			if _, err := daemon.Load("bob"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Load = %v", err)
			}
			if did, err := daemon.Mend(); err != nil || len(did) > 0 {
				t.Errorf("Mend = %q, %v", did, err)
			}
			if len(daemon.NewKey()) > 0 {
				t.Error("the other vault says that it made the key")
			}
		})
	}
}

func TestVaultOfANewerVersion(t *testing.T) {
	dir := t.TempDir()
	v := vault(t, dir)
	must(t, v.Save("alice", []byte("token")))
	must(t, v.Save("alice", []byte("token")))
	path := tokenFile(t, dir)
	data, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, bytes.Replace(data, []byte(`"version":1`), []byte(`"version":2`), 1), 0o600))
	if _, err := v.Load("alice"); !errors.Is(err, ErrNewer) {
		t.Fatalf("Load = %v", err)
	}
}
