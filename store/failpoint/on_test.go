//go:build failpoint

package failpoint

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestPlanIsFollowedAndReadAnew(t *testing.T) {
	plan := filepath.Join(t.TempDir(), "plan")
	t.Setenv(PlanEnv, plan)
	clear(hits) // of this process, of an earlier run too
	say := func(text string) {
		if err := os.WriteFile(plan, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	say("a.write ENOSPC 2-3\n")
	for hit, want := range []error{nil, syscall.ENOSPC, syscall.ENOSPC, nil} {
		if err := Hit("a.write"); !errors.Is(err, want) {
			t.Errorf("hit %d: %v, want %v", hit+1, err, want)
		}
		if err := Hit("b.write"); err != nil {
			t.Errorf("another step: %v", err)
		}
	}
	say("* EIO\n")
	if err := Hit("b.write"); !errors.Is(err, syscall.EIO) {
		t.Errorf("after the plan changed: %v, want EIO", err)
	}
}

func TestGoroutinesAreCounted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "count")
	t.Setenv(CountEnv, path)
	if err := Hit("a.write"); err != nil {
		t.Fatal(err)
	}
	if n, err := os.ReadFile(path); err != nil || len(n) == 0 || n[0] == '0' {
		t.Errorf("count %q, %v", n, err)
	}
}
