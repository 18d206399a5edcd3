package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// modeBits says whether permission bits mean anything: Windows has access lists,
// and a file's come from its folder.
const modeBits = runtime.GOOS != "windows"

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "receipt.json")
	for _, content := range []string{"first, longer", "second", ""} {
		must(t, WriteFile(path, []byte(content), 0o640))
		if data, err := os.ReadFile(path); err != nil || string(data) != content {
			t.Fatalf("content %q, %v", data, err)
		}
	}
	if info, err := os.Stat(path); err != nil || modeBits && info.Mode().Perm() != 0o640 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Fatalf("left behind: %v", entries)
	}
}

func TestWriteFileNamesTheStep(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "taken", "inside"), 0o700))
	for path, step := range map[string]string{filepath.Join("missing", "a"): "create", "taken": "rename"} {
		err := WriteFile(filepath.Join(dir, path), nil, 0o600)
		if err == nil || !strings.Contains(err.Error(), step) || !strings.Contains(err.Error(), path) {
			t.Errorf("WriteFile(%s) = %v, want the step %q in it", path, err, step)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Fatalf("left behind: %v", entries)
	}
}

func TestMove(t *testing.T) {
	for name, move := range map[string]func(from, to string) error{"rename": Move, "copy": moveAcross} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			from, to := filepath.Join(dir, "from"), filepath.Join(dir, "Sent-to")
			when := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
			must(t, os.WriteFile(from, []byte("content"), 0o640))
			must(t, os.Chmod(from, 0o640)) // whatever the umask
			must(t, os.Chtimes(from, when, when))
			must(t, os.WriteFile(to, []byte("somebody else's"), 0o600))
			if err := move(from, to); !errors.Is(err, fs.ErrExist) {
				t.Fatalf("onto an existing file: %v", err)
			}
			if data, _ := os.ReadFile(to); string(data) != "somebody else's" {
				t.Fatalf("overwritten with %q", data)
			}
			must(t, os.Remove(to))
			must(t, move(from, to))
			info, err := os.Stat(to)
			must(t, err)
			if data, _ := os.ReadFile(to); string(data) != "content" || !info.ModTime().Equal(when) || modeBits && info.Mode().Perm() != 0o640 {
				t.Fatalf("%q, %v, %v", data, info.ModTime(), info.Mode())
			}
			if entries, _ := os.ReadDir(dir); len(entries) != 1 {
				t.Fatalf("left behind: %v", entries)
			}
			if err := move(from, to+"2"); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("of a missing file: %v", err)
			}
		})
	}
}

func TestRemoveTempsLeavesWhatIsInUse(t *testing.T) {
	name := "scans [2026]"
	if runtime.GOOS != "windows" {
		name += " *"
	}
	dir := filepath.Join(t.TempDir(), name)
	start := time.Now()
	before, after := start.Add(-time.Minute), start.Add(time.Minute)
	if err := os.MkdirAll(filepath.Join(dir, ".digime-5.tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		at   time.Time
		stay bool
	}{
		".digime-1.tmp": {before, false}, ".digime-4294967295.tmp": {before, false}, ".digime-2.tmp": {after, true},
		"mine.tmp": {before, true}, ".digime-notes.tmp": {before, true}, ".digime-.tmp": {before, true}, ".digime-3.tmp.pdf": {before, true},
		"x.digime-3.tmp": {before, true}, ".digime-5.tmp": {before, true},
	} {
		path := filepath.Join(dir, name)
		if name != ".digime-5.tmp" { // a folder
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chtimes(path, c.at, c.at); err != nil {
			t.Fatal(err)
		}
		if err := RemoveTemps(dir, start); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(path); (err == nil) != c.stay {
			t.Errorf("%s: there is %v, want %v", name, err == nil, c.stay)
		}
	}
	if err := RemoveTemps(filepath.Join(dir, "absent"), start); err != nil {
		t.Error(err)
	}
}
