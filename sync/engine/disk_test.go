package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/digime-sync/digime-sync/store"
)

func tokenFiles(t *testing.T, r *rig, library string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(r.dir, "state", "tokens", library+"-*.token*"))
	must(t, err)
	var tokens []string
	for _, file := range files {
		if !strings.HasSuffix(file, ".lock") && !strings.Contains(file, ".damaged-") {
			tokens = append(tokens, file)
		}
	}
	if len(tokens) != 2 {
		t.Fatalf("token files: %v", files)
	}
	return tokens
}

// guardSays waits until the guard, which looks now, says something, or does not.
func (r *rig) guardSays(what string, said bool) {
	r.t.Helper()
	r.until(fmt.Sprintf("%q is said: %v", what, said), func() bool {
		must(r.t, r.engine.guardOnce(time.Now()))
		return strings.Contains(r.engine.troubled(), what) == said
	})
}

// One damaged copy of a token is made good from the other. With both damaged that
// library is held, which is said, and the others go on; a new consent ends it.
func TestDamagedTokens(t *testing.T) {
	r := newRig(t, nil, "alice", "bob")
	r.start()
	for _, file := range tokenFiles(t, r, "alice") {
		must(t, os.WriteFile(file, []byte("{"), 0o600))
		r.guardSays("was damaged", true)
		path := r.drop("alice", filepath.Base(file)+".txt", file)
		r.untilState(path, store.Delivered)
	}
	both := tokenFiles(t, r, "alice")
	r.until("that no copy is left is said", func() bool {
		for _, file := range both { // again: the guard looks by itself too, maybe between the two
			must(t, os.WriteFile(file, []byte("{"), 0o600))
		}
		must(t, r.engine.guardOnce(time.Now()))
		return strings.Contains(r.engine.troubled(), "no copy of a token is left")
	})
	held, other := r.drop("alice", "held.txt", "held"), r.drop("bob", "other.txt", "other")
	r.untilState(other, store.Delivered)
	r.untilState(held, store.Held)
	r.consent("alice", time.Hour)
	r.untilState(held, store.Delivered)
	r.guardSays("no copy of a token is left", false)
}

// What was mended is said for an hour.
func TestWhatTheGuardSays(t *testing.T) {
	now := time.Now()
	w := trouble{disk: "full", guard: "key", mended: "database", mendedAt: now}
	for _, word := range []string{"cannot be written to: full", "key", "database"} {
		if !strings.Contains(w.words(now), word) {
			t.Errorf("%q does not say %q", w.words(now), word)
		}
	}
	w = trouble{mended: "database", mendedAt: now.Add(-mendedShown)}
	if w.words(now) != "" {
		t.Errorf("after an hour: %q", w.words(now))
	}
}

// A disk that fails for ten minutes ends the engine, for a new start; one that
// works in between does not, and none while an answer is held on to.
func TestDiskThatFailsForLong(t *testing.T) {
	r := newRig(t, nil, "alice")
	e := r.engine
	failing := fmt.Errorf("commit: %w", syscall.EIO)
	for name, c := range map[string]struct {
		between func()
		answers int32
		ends    bool
	}{
		"for ten minutes":         {func() {}, 0, true},
		"it worked in between":    {e.storeWorks, 0, false},
		"an answer is held on to": {func() {}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			e.storeWorks()
			synctest.Test(t, func(t *testing.T) {
				if err := e.storeFault(failing); err != nil {
					t.Fatalf("at once: %v", err)
				}
				time.Sleep(diskPatience - time.Second)
				if err := e.storeFault(failing); err != nil {
					t.Fatalf("before: %v", err)
				}
				c.between()
				e.answers.Store(c.answers)
				time.Sleep(2 * time.Second)
				if err := e.storeFault(failing); (err != nil) != c.ends {
					t.Errorf("storeFault = %v", err)
				}
			})
			e.answers.Store(0)
		})
	}
	e.storeWorks()
}

// An answer that cannot be recorded is held on to for a minute in a single pass,
// and by the daemon as long as it runs.
func TestAnswerInASinglePass(t *testing.T) {
	r := newRig(t, nil, "alice")
	full := fmt.Errorf("record: %w", syscall.ENOSPC)
	for _, single := range []bool{true, false} {
		r.engine.single.Store(single)
		synctest.Test(t, func(t *testing.T) {
			stop, began := make(chan struct{}), time.Now()
			time.AfterFunc(time.Hour, func() { close(stop) })
			if err := r.engine.holdOn(store.File{Path: "a"}, stop, func() error { return full }); err == nil {
				t.Error("no error")
			}
			if took := time.Since(began); took < diskGrace || single != (took < 2*diskGrace) {
				t.Errorf("single pass %v: held on to for %s", single, took)
			}
		})
	}
	r.engine.storeWorks()
}
