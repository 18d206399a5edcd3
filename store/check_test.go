package store

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// Check tells to whom something was delivered, as long as anything knows it, and
// whose consent there is, though it cannot be used.
func TestCheckNamesLibraries(t *testing.T) {
	dir := t.TempDir()
	check := func(what, delivered string, consents ...string) *Checked {
		t.Helper()
		c, err := CheckDir(dir, nil)
		must(t, err)
		if strings.Join(slices.Sorted(maps.Keys(c.Delivered)), " ") != delivered || !slices.Equal(c.Consents, consents) {
			t.Errorf("%s: delivered %v, consents %q", what, c.Delivered, c.Consents)
		}
		return c
	}
	if c := check("nothing", ""); !c.Empty || len(c.Faults) > 0 {
		t.Errorf("%+v", c)
	}
	v := vault(t, dir)
	must(t, v.Save("bob", []byte("token")))
	if c := check("only a consent", "", "bob"); !c.Empty || len(c.Faults) > 0 {
		t.Errorf("%+v", c)
	}
	fill(t, dir, 3)
	if c := check("all", "alice", "bob"); c.Empty || len(c.Faults) > 0 {
		t.Errorf("%+v", c)
	}
	remove(t, dir, keyName)
	remove(t, dir, keyCopyName)
	check("no key", "alice", "bob")
	remove(t, dir, auditName)
	check("no log", "alice", "bob")
}
