package main

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/digime-sync/digime-sync/store"
)

// A daemon that has the database but does not listen is waited for, as long as a
// deleted socket takes to be there again.
func TestADaemonThatListensAgainIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const away = 7 * time.Second // socketCheck, and a slow machine
		began, alone := time.Now(), 0
		err := untilHeard(t.Context(), func() error {
			if time.Since(began) < away {
				return errNoDaemon
			}
			return nil
		}, func() error {
			alone++
			return &store.LockedError{Path: "state.db", PID: 17}
		})
		if err != nil || alone == 0 || time.Since(began) < away {
			t.Errorf("%v after %s; alone %d times", err, time.Since(began), alone)
		}
	})
}

// One that stays silent is said to be: asking it once more would be no advice.
func TestADaemonThatStaysSilentIsSaidToBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := untilHeard(t.Context(), func() error { return errNoDaemon }, func() error {
			return &store.LockedError{Path: "state.db", PID: 17}
		})
		got := explain(err)
		if got.Error() != "state.db is in use by process 17, which does not answer" || got.code != exitRunning || !strings.Contains(got.hint, "digime-sync service status") {
			t.Errorf("error: %v\nhint: %s\nexit %d", got, got.hint, got.code)
		}
	})
}

// A command that needs a daemon tells one that does not listen from none.
func TestACommandThatNeedsADaemon(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // what asks leaves nothing that looks like a daemon
		if err := askRunning(t.Context(), dir, "POST", "/rescan", nil); err == nil || !strings.HasPrefix(err.Error(), "no daemon is running") {
			t.Fatalf("without a daemon: %v", err)
		}
	}
	s, err := store.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	var locked *store.LockedError
	if err := store.InUse(dir); !errors.As(err, &locked) {
		t.Errorf("a store that is open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := store.InUse(dir); err != nil {
		t.Errorf("a store that is closed: %v", err)
	}
}
