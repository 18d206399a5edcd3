package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
)

// A database of a newer version is nothing that a restart mends.
func TestNewerDatabaseIsExplained(t *testing.T) {
	var said bytes.Buffer
	a := &app{err: &said}
	if code := a.report(fmt.Errorf("open database: schema 2: %w", store.ErrNewer)); code != exitConfig {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(said.String(), "hint: install that version again") {
		t.Errorf("it says %q", said.String())
	}
}

// A full disk is no riddle.
func TestFullDiskIsExplained(t *testing.T) {
	var said bytes.Buffer
	a := &app{err: &said}
	if code := a.report(fmt.Errorf("replay audit log: %w", syscall.ENOSPC)); code != exitError {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(said.String(), "hint: make room") {
		t.Errorf("it says %q", said.String())
	}
}

// A backup's token replaces the one in place only if it was given or refreshed
// later, and to the same person.
func TestNewerToken(t *testing.T) {
	token := func(user string, access, refresh int64) []byte {
		data, err := json.Marshal(digime.Token{UserID: user, Access: digime.TokenPart{Value: "a", Expiry: 1700000000 + access}, Refresh: digime.TokenPart{Value: "r", Expiry: 1700000000 + refresh}})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	inPlace := token("ann", 200, 2000)
	for name, c := range map[string]struct {
		backup, inPlace []byte
		want            bool
	}{
		"the same":                         {inPlace, inPlace, false},
		"older consent":                    {token("ann", 300, 1000), inPlace, false},
		"newer consent":                    {token("ann", 100, 3000), inPlace, true},
		"older refresh of one consent":     {token("ann", 100, 2000), inPlace, false},
		"newer refresh of one consent":     {token("ann", 300, 2000), inPlace, true},
		"another person's":                 {token("bob", 300, 3000), inPlace, false},
		"what is in place cannot be read":  {token("ann", 100, 1000), []byte("{"), true},
		"what is in the backup cannot be":  {[]byte("{"), inPlace, false},
		"of which nobody says whose it is": {token("", 300, 3000), inPlace, true},
	} {
		if got := newerToken("ann", c.backup, c.inPlace); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A consent that was there and is gone is a fault, one that was never given a
// remark; and what was lost with database and log is said.
func TestStateCheckTellsOfLostConsents(t *testing.T) {
	c := newClinic(t)
	check := func(code int, lines ...string) {
		t.Helper()
		stdout, stderr := c.runs(t, code, "state", "check")
		for _, line := range lines {
			if !strings.Contains(stdout, line) {
				t.Errorf("%q is missing in:\n%s%s", line, stdout, stderr)
			}
		}
	}
	check(exitDone, "remark: there are consents, but neither database nor audit log", "no faults")
	if err := c.vault.Remove("bob"); err != nil {
		t.Fatal(err)
	}
	c.drop(t, "one.txt", "one")
	c.runs(t, exitDone, "sync")
	check(exitDone, "remark: library bob has no consent yet", "do: digime-sync authorize bob", "no faults")

	token := c.token(t, "alice")
	if err := c.vault.Remove("alice"); err != nil {
		t.Fatal(err)
	}
	check(exitHeld, "FAULT: the consent of library alice is lost", "or have the consent given again: digime-sync authorize alice")
	c.reconfigure(t, "library: alice, settle", "library: bob, settle")
	c.reconfigure(t, "\n  alice:", "\n  anna:")
	check(exitDone, "remark: library alice has got files, but has no consent any more", "no faults")
	c.reconfigure(t, "\n  anna:", "\n  alice:")
	c.save(t, "alice", token)
	check(exitDone, "no faults")

	for _, name := range []string{"state.db", "audit.log"} {
		if err := os.Remove(filepath.Join(c.dir, "state", name)); err != nil {
			t.Fatal(err)
		}
	}
	check(exitHeld, "FAULT: there is neither database nor audit log, but ", "one.txt.receipt.json tells of a delivery", "do: mount it, or digime-sync state restore FILE")
}

// A damaged backup is refused with what to do.
func TestDamagedBackupIsExplained(t *testing.T) {
	c := newClinic(t)
	c.drop(t, "one.txt", "one")
	c.runs(t, exitDone, "sync")
	backup := filepath.Join(c.dir, "backup.tar")
	c.runs(t, exitDone, "state", "backup", backup)
	must(t, os.Truncate(backup, 5000))
	_, stderr := c.runs(t, exitError, "state", "restore", "--force", backup)
	if !strings.Contains(stderr, "is damaged: it is no whole backup") || !strings.Contains(stderr, "hint: nothing was changed; copy the backup here again") {
		t.Error(stderr)
	}
}
