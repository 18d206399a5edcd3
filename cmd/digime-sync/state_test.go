package main

import (
	"bytes"
	"encoding/json"
	"fmt"
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
