package store

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// mended runs Mend, which must say something about each of the words.
func mended(t *testing.T, v *Vault, words ...string) {
	t.Helper()
	did, err := v.Mend()
	must(t, err)
	if len(did) != len(words) {
		t.Fatalf("Mend = %q, want %d things", did, len(words))
	}
	for i, word := range words {
		if !strings.Contains(did[i], word) {
			t.Errorf("Mend says %q, not %q", did[i], word)
		}
	}
}

// Of the two copies of a token either may be deleted, damaged or exchanged
// while the vault is open: it comes back with the newest tokens.
func TestVaultMendsTokens(t *testing.T) {
	dir := t.TempDir()
	v := vault(t, dir)
	must(t, v.Save("alice", []byte("old")))
	must(t, v.Save("alice", []byte("new")))
	must(t, v.Save("bob", []byte("bob's")))
	mended(t, v)
	alice, err := v.path("alice")
	must(t, err)
	bob, err := v.path("bob")
	must(t, err)
	whole, err := os.ReadFile(alice)
	must(t, err)
	both := func() {
		t.Helper()
		for _, path := range []string{alice, alice + copySuffix} {
			if got, err := os.ReadFile(path); err != nil || string(got) != string(whole) {
				t.Fatalf("%s was not made whole again: %v", path, err)
			}
		}
		wantToken(t, v, "alice", "new")
		mended(t, v) // and then nothing more is to be done
	}
	for _, path := range []string{alice, alice + copySuffix} {
		must(t, os.Remove(path))
		mended(t, v, "deleted")
		both()
		for seed := range uint64(60) {
			must(t, os.WriteFile(path, append(hurt(rand.New(rand.NewPCG(seed, 9)), whole), '!'), 0o600))
			mended(t, v, "damaged")
			both()
		}
		if aside, _ := filepath.Glob(path + ".damaged-*"); len(aside) == 0 {
			t.Errorf("damaged %s was not kept", path)
		}
		other, err := os.ReadFile(bob)
		must(t, err)
		must(t, os.WriteFile(path, other, 0o600))
		mended(t, v, "damaged")
		both()
	}
}

// A Save that was killed, or found no room, between the two copies leaves the
// newer one first; it is the one that counts.
func TestVaultMendsABrokenSave(t *testing.T) {
	dir := t.TempDir()
	v := vault(t, dir)
	must(t, v.Save("alice", []byte("old")))
	path, err := v.path("alice")
	must(t, err)
	old, err := os.ReadFile(path)
	must(t, err)
	must(t, v.Save("alice", []byte("new")))
	must(t, os.WriteFile(path+copySuffix, old, 0o600))
	mended(t, v)
	must(t, os.Remove(path))
	wantToken(t, v, "alice", "new")
}

// A token of which nothing is left is said each time, until there is one again;
// the others are mended all the same.
func TestVaultSaysWhatIsLost(t *testing.T) {
	dir := t.TempDir()
	v := vault(t, dir)
	must(t, v.Save("alice", []byte("a")))
	must(t, v.Save("bob", []byte("b")))
	mended(t, v)
	alice, err := v.path("alice")
	must(t, err)
	bob, err := v.path("bob")
	must(t, err)
	must(t, os.Remove(alice))
	must(t, os.WriteFile(alice+copySuffix, []byte("{"), 0o600))
	must(t, os.Remove(bob))
	for range 2 {
		if did, err := v.Mend(); err == nil || !strings.Contains(err.Error(), filepath.Base(alice)) || strings.Contains(err.Error(), filepath.Base(bob)) {
			t.Fatalf("Mend = %q, %v", did, err)
		}
		wantToken(t, v, "bob", "b")
	}
	must(t, v.Save("alice", []byte("again")))
	mended(t, v)
}

// The key's files are written again from memory; one that holds another key is
// left to a person.
func TestVaultMendsItsKey(t *testing.T) {
	dir := t.TempDir()
	v := vault(t, dir)
	must(t, v.Save("alice", []byte("token")))
	remove(t, dir, keyName)
	remove(t, dir, keyCopyName)
	mended(t, v, keyName, keyCopyName)
	must(t, os.WriteFile(filepath.Join(dir, keyName), []byte("x"), 0o600))
	mended(t, v, keyName)
	wantToken(t, vault(t, dir), "alice", "token")
	must(t, os.WriteFile(filepath.Join(dir, keyName), encodeKey(newKey()), 0o600))
	if did, err := v.Mend(); err == nil || len(did) > 0 {
		t.Fatalf("Mend = %q, %v", did, err)
	}
}

// A version before this one kept no second copy of a token that was saved once:
// it is made without a word, and guarded from then on.
func TestVaultCompletesAnEarlierVersions(t *testing.T) {
	dir := t.TempDir()
	v := vault(t, dir)
	must(t, v.Save("alice", []byte("a")))
	path, err := v.path("alice")
	must(t, err)
	content, err := os.ReadFile(path)
	must(t, err)
	earlier := strings.Replace(string(content), `,"twice":true`, "", 1)
	if earlier == string(content) {
		t.Fatalf("no mark of a second copy in %s", content)
	}
	must(t, os.WriteFile(path, []byte(earlier), 0o600))
	must(t, os.Remove(path+copySuffix))
	v = vault(t, dir)
	mended(t, v)
	if second, err := os.ReadFile(path + copySuffix); err != nil || string(second) != earlier {
		t.Fatalf("second copy: %q, %v", second, err)
	}
	must(t, os.Remove(path+copySuffix))
	mended(t, v, "deleted")
	must(t, v.Save("alice", []byte("b")))
	must(t, os.Remove(path+copySuffix))
	mended(t, vault(t, dir), "deleted") // also by whoever did so while nothing ran
}
