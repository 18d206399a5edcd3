package engine

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/watcher"
)

// What a killed process has put aside is removed if it is the file that was meant.
// Another one comes back, and what lies in its place is removed all the same.
func TestWhatAKilledProcessPutAside(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		put  map[string]string // by name: what lies there
		of   string            // whose file is meant
		left map[string]string
	}{
		"the file that was meant":           {map[string]string{"aside": "old"}, "aside", map[string]string{}},
		"the same, and one came meanwhile":  {map[string]string{"aside": "old", "a.txt": "new"}, "aside", map[string]string{"a.txt": "new"}},
		"another one":                       {map[string]string{"aside": "old", "a.txt": "newer"}, "a.txt", map[string]string{"a (2).txt": "old"}},
		"another one, and nothing is there": {map[string]string{"aside": "old"}, "none", map[string]string{"a.txt": "old"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "a.txt")
			aside := filepath.Join(dir, asidePrefix+shortHash(path))
			sig := store.Sig{Size: 99}
			for name, text := range c.put {
				at := map[string]string{"aside": aside, "a.txt": path}[name]
				must(t, os.WriteFile(at, []byte(text), 0o644))
				if name == c.of {
					s, err := watcher.Lstat(at)
					must(t, err)
					sig = store.Sig(s)
				}
			}
			must(t, removeSettled(path, sig))
			left := map[string]string{}
			entries, err := os.ReadDir(dir)
			must(t, err)
			for _, e := range entries {
				data, err := os.ReadFile(filepath.Join(dir, e.Name()))
				must(t, err)
				left[e.Name()] = string(data)
			}
			if len(left) != len(c.left) {
				t.Errorf("left are %v, want %v", left, c.left)
			}
			for name, text := range c.left {
				if left[name] != text {
					t.Errorf("left are %v, want %v", left, c.left)
				}
			}
		})
	}
}
