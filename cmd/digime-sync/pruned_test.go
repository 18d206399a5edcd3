package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/digime-sync/digime-sync/sidecar"
	"github.com/digime-sync/digime-sync/store"
)

// Of a file whose record was dropped the audit log tells still, where it was
// moved too; by that a reading is compared with what was delivered.
func TestAuditTellsOfPrunedFiles(t *testing.T) {
	c := newClinic(t)
	inbox := filepath.Join(c.dir, "inbox", "alice")
	c.reconfigure(t, "library: alice, settle: 1s}", "library: alice, settle: 1s, after: move}")
	c.drop(t, "titled.txt", "values")
	path := filepath.Join(inbox, "titled.txt")
	write(t, path+sidecar.Suffix, `{"mimeType": "text/plain", "accounts": [{"accountId": "P-1001"}], "reference": ["Blood test"]}`)
	c.runs(t, 0, "sync")

	s, err := store.Open(filepath.Join(c.dir, "state"), nil)
	if err != nil {
		t.Fatal(err)
	}
	records, _, err := s.Resting(inbox, "")
	if err != nil || len(records) != 1 || records[0].MovedTo == "" {
		t.Fatalf("records %+v, %v", records, err)
	}
	if n, err := s.Prune(records); n != 1 || err != nil {
		t.Fatalf("%d dropped, %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(inbox, "Sent", "titled.txt")
	stdout, _ := c.runs(t, 0, "audit", path)
	if lines := strings.Split(strings.TrimSpace(stdout), "\n"); len(lines) != 2 ||
		!strings.Contains(lines[0], "delivered  "+path) || !strings.Contains(lines[1], "moved to "+moved) {
		t.Error(stdout)
	}
	c.newShelf(t, shelved{"1", "Blood test", "other values"})
	stdout, _ = c.runs(t, exitHeld, "read", "alice", "--verify")
	if !strings.Contains(stdout, "missing: 0\ndifferent: 1\n") {
		t.Error(stdout)
	}
}
