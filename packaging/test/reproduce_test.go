//go:build packaging

package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Two checkouts of one commit, in folders of different names and depths, give
// the same bytes.
func TestTwoCheckoutsGiveTheSame(t *testing.T) {
	need(t, "git")
	var sums []string
	for _, place := range []string{"a", filepath.Join("another", "place", "of", "the", "same")} {
		dir := filepath.Join(t.TempDir(), place)
		if out, err := exec.Command("git", "clone", "-q", "--no-local", filepath.Join("..", ".."), dir).CombinedOutput(); err != nil {
			t.Fatalf("clone: %v\n%s", err, out)
		}
		out := filepath.Join(dir, "dist")
		buildRelease(t, filepath.Join(dir, "packaging", "build"), first, out, allTargets...)
		data, err := os.ReadFile(filepath.Join(out, "SHA256SUMS"))
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, string(data))
	}
	if sums[0] != sums[1] {
		t.Errorf("the first checkout gives\n%s\nthe second\n%s", sums[0], sums[1])
	}
}
