package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestMoveToAnotherFileSystem(t *testing.T) {
	to := filepath.Join(tmpfs(t, "1m"), "to")
	from := filepath.Join(t.TempDir(), "from")
	must(t, os.WriteFile(from, make([]byte, 100<<10), 0o600))
	must(t, Move(from, to))
	if _, err := os.Stat(from); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the original: %v", err)
	}
	must(t, os.WriteFile(from, nil, 0o600))
	if err := Move(from, to); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("onto an existing file: %v", err)
	}
	must(t, os.Remove(to))
	must(t, os.WriteFile(from, make([]byte, 2<<20), 0o600))
	if err := Move(from, to); err == nil {
		t.Fatal("a file went where there is no room for it")
	}
	if info, err := os.Stat(from); err != nil || info.Size() != 2<<20 {
		t.Fatalf("the original: %v", err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(to)); len(entries) != 0 {
		t.Fatalf("left behind: %v", entries)
	}
}

// The copy of a file that somebody took away meanwhile is the only one.
func TestMoveKeepsTheOnlyCopy(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	must(t, os.WriteFile(from, []byte("content"), 0o600))
	must(t, os.WriteFile(to, []byte("content"), 0o600))
	before, err := os.Lstat(from)
	must(t, err)
	must(t, os.WriteFile(from, []byte("other content"), 0o600))
	if err := removeOriginal(from, to, before); err == nil {
		t.Error("a file that had changed was moved")
	}
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the copy of a file that changed: %v", err)
	}
	must(t, os.WriteFile(to, []byte("content"), 0o600))
	must(t, os.Remove(from))
	must(t, removeOriginal(from, to, before))
	if data, err := os.ReadFile(to); string(data) != "content" {
		t.Errorf("the only copy: %q, %v", data, err)
	}
}

func TestLinkNew(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	must(t, os.WriteFile(from, []byte("content"), 0o600))
	must(t, linkNew(from, to))
	if data, _ := os.ReadFile(to); string(data) != "content" {
		t.Fatalf("%q", data)
	}
	must(t, os.WriteFile(from, nil, 0o600))
	if err := linkNew(from, to); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("onto an existing file: %v", err)
	}
}

// What an administrator's command makes belongs to the owner of the folder.
func TestFilesBelongToTheFoldersOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	dir := t.TempDir()
	must(t, os.Chown(dir, 12345, 12345))
	must(t, open(t, dir).Close())
	v := vault(t, dir)
	unlock, err := v.Lock("alice")
	must(t, err)
	unlock()
	must(t, v.Save("alice", []byte("token")))
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		must(t, err)
		if uid := owner(info); uid != 12345 {
			t.Errorf("%s belongs to %d", path, uid)
		}
		return nil
	}))
}

func owner(info fs.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Uid }
