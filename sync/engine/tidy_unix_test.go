//go:build unix

package engine

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The next start removes what a killed process left in the watched folders, and
// nothing of what links lead to.
func TestTempsOfAKilledProcess(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(f *Folder) { f.Recursive = true }, "alice")
	alice, elsewhere := filepath.Join(r.dir, "alice"), t.TempDir()
	must(t, os.MkdirAll(filepath.Join(alice, sentFolder, "sub"), 0o755))
	must(t, os.Symlink(elsewhere, filepath.Join(alice, "link")))
	left := func(dir string) string {
		path := filepath.Join(dir, ".digime-123.tmp")
		must(t, os.WriteFile(path, nil, 0o600))
		minute := time.Now().Add(-time.Minute)
		must(t, os.Chtimes(path, minute, minute))
		return path
	}
	stays := left(elsewhere)
	gone := []string{left(alice), left(filepath.Join(alice, sentFolder, "sub"))}
	r.engine.tidy(t.Context(), &r.folders[0])
	for _, path := range gone {
		if exist(path) {
			t.Errorf("%s is left", path)
		}
	}
	if !exist(stays) {
		t.Error("a link was followed")
	}
}
