//go:build linux || darwin

package watcher

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// special puts what is no file into dir: opening the FIFO would block for good.
func special(t *testing.T, dir string) {
	t.Helper()
	must(t, unix.Mkfifo(filepath.Join(dir, "fifo.pdf"), 0o600))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "socket.pdf"), Net: "unix"})
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
}

func TestNamesAreKeptAsTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		names := []string{
			"two  spaces.pdf", " leading", "trailing ", "new\nline.pdf", "tab\t.pdf", "-rf", "*", "a\\b", "…",
			"u\u0308.pdf", "\u00fc.pdf", // NFD and NFC
			"Case.pdf", "case.pdf",
			strings.Repeat("n", 255), strings.Repeat("\u00e9", 127),
			"latin1-\xfc.pdf", "\xff\xfe",
		}
		want := map[string]bool{}
		for _, name := range names {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
				t.Logf("this file system refuses %q: %v", name, err)
				continue
			}
			want[path] = true
		}
		for path, f := range collect(t, poll(t, Folder{Path: dir, Settle: time.Second}, never), want) {
			if f.Err != nil || f.Sig.Size != int64(len(filepath.Base(path))) {
				t.Errorf("%q: %+v", path, f)
			}
		}
	})
}

func TestEventsKeepNames(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := start(t, Folder{Path: dir}, never)
	until(t, "first scan", scanned(w))
	want := map[string]bool{}
	for _, name := range []string{"new\nline.pdf", "\u00fc.pdf", "u\u0308.pdf", strings.Repeat("n", 255)} {
		want[write(t, filepath.Join(dir, name), "1")] = true
	}
	collect(t, w, want)
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	special(t, dir)
	for _, name := range []string{"fifo.pdf", "socket.pdf", "."} {
		if f, err := Open(filepath.Join(dir, name)); err == nil {
			_ = f.Close()
			t.Errorf("Open %q: no error", name)
		}
	}
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of no file: %v", err)
	}
}

func TestLstatFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "a"), "123")
	link := filepath.Join(dir, "link")
	must(t, os.Symlink("a", link))
	want, err := Lstat(path)
	must(t, err)
	if got, err := Lstat(link); err != nil || got != want {
		t.Errorf("link: %+v, %v, want %+v", got, err, want)
	}
	f, err := Open(link)
	must(t, err)
	defer func() { _ = f.Close() }()
	if got, err := Fstat(f); err != nil || got != want {
		t.Errorf("Fstat: %+v, %v, want %+v", got, err, want)
	}
	must(t, os.Rename(path, path+".old"))
	write(t, path, "123")
	if got, err := Lstat(path); err != nil || got == want {
		t.Errorf("another file of that name has the same Sig %+v, %v", got, err)
	}
}

func TestDeviceCache(t *testing.T) {
	var c deviceCache
	c.known.Store(uint64(7), false)
	if c.of(7, "/") {
		t.Error("the cached answer does not count")
	}
	if !c.of(8, t.TempDir()) {
		t.Skip("the temporary folder is on a file system that renumbers")
	}
	if _, ok := c.known.Load(uint64(8)); !ok {
		t.Error("the answer was not kept")
	}
}
