package engine

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/digime-sync/digime-sync/sidecar"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/watcher"
)

func TestRoute(t *testing.T) {
	contract := digime.Contract{ID: "c"}
	e := &Engine{Options: Options{Libraries: map[string]Library{
		"alice": {Name: "alice", Accounts: []string{"P-1", "shared"}},
		"bob":   {Name: "bob", Accounts: []string{"P-2", "shared"}},
	}}}
	accounts := func(ids ...string) (s sidecar.Sidecar) {
		for _, id := range ids {
			s.Accounts = append(s.Accounts, sidecar.Account{AccountID: id})
		}
		return s
	}
	for _, c := range []struct {
		rule     string
		contract *digime.Contract
		rel      string
		side     sidecar.Sidecar
		want     string // a library, or part of the reason
	}{
		{"alice", nil, "x.txt", accounts(), "alice"},
		{"carol", nil, "x.txt", accounts(), `no library named "carol"`},
		{BySubfolder, nil, "bob/x.txt", accounts(), "bob"},
		{BySubfolder, nil, "bob/2026/x.txt", accounts(), "bob"},
		{BySubfolder, nil, "x.txt", accounts(), "outside of every person's folder"},
		{BySubfolder, nil, "carol/x.txt", accounts(), `no library named "carol"`},
		{BySubfolder, &contract, "carol/x.txt", accounts(), "carol"},
		{ByAccount, nil, "x.txt", accounts("P-1"), "alice"},
		{ByAccount, nil, "x.txt", accounts("P-2", "P-2"), "bob"},
		{ByAccount, nil, "x.txt", accounts("P-1", "P-2"), "more than one library: alice, bob"},
		{ByAccount, nil, "x.txt", accounts("shared"), "more than one library: alice, bob"},
		{ByAccount, nil, "x.txt", accounts("P-9"), `no library has the account "P-9"`},
		{ByAccount, nil, "x.txt", accounts("P-1", "P-9"), `no library has the account "P-9"`},
		{ByAccount, &contract, "x.txt", accounts(), "names no account"},
	} {
		root := filepath.FromSlash("/in")
		folder := &Folder{Folder: watcher.Folder{Path: root}, Library: c.rule, Contract: c.contract}
		lib, err := e.route(folder, filepath.Join(root, filepath.FromSlash(c.rel)), c.side)
		if err == nil && lib.Name != c.want || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s of %s %v: %q, %v; want %s", c.rule, c.rel, c.side.Accounts, lib.Name, err, c.want)
		}
	}
}

func TestGuard(t *testing.T) {
	lib := Library{Name: "alice", Accounts: []string{"P-1", "P-2"}}
	mine := sidecar.Sidecar{Descriptor: sidecar.Descriptor{Accounts: []sidecar.Account{{AccountID: "P-2"}}}}
	if err := guard(lib, mine); err != nil {
		t.Error(err)
	}
	both := sidecar.Sidecar{Descriptor: sidecar.Descriptor{Accounts: []sidecar.Account{{AccountID: "P-2"}, {AccountID: "P-3"}}}}
	if err := guard(lib, both); err == nil || !strings.Contains(err.Error(), `names account "P-3", but library "alice" is for P-1, P-2`) {
		t.Error(err)
	}
	if err := guard(Library{Name: "anybody"}, both); err != nil {
		t.Error(err)
	}
}

// The destination is the person and the accounts, in whatever order.
func TestDestination(t *testing.T) {
	side := func(ids ...string) (s sidecar.Sidecar) {
		for _, id := range ids {
			s.Accounts = append(s.Accounts, sidecar.Account{AccountID: id})
		}
		return s
	}
	alice, bob := Library{Name: "alice"}, Library{Name: "bob"}
	if destination(PushLibrary, alice, side("a", "b")) != destination(PushLibrary, alice, side("b", "a", "a")) {
		t.Error("order or repetition of accounts makes another destination")
	}
	seen := map[string]bool{}
	for _, d := range []string{destination(PushLibrary, alice, side("a")), destination(PushLibrary, bob, side("a")), destination(PushLibrary, alice, side("a", "b")), destination(PushLibrary, alice, side(`a","b`))} {
		if seen[d] {
			t.Errorf("two destinations are one: %s", d)
		}
		seen[d] = true
	}
}
