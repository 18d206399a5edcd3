package watcher

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Files below a path that is too long for the system cannot be read by it. That is said.
func TestPathTooLongIsSaid(t *testing.T) {
	dir := t.TempDir()
	deep, err := os.Open(dir)
	must(t, err)
	name := strings.Repeat("d", 200)
	for range 21 {
		must(t, unix.Mkdirat(int(deep.Fd()), name, 0o755))
		fd, err := unix.Openat(int(deep.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, err)
		_ = deep.Close()
		deep = os.NewFile(uintptr(fd), name)
	}
	fd, err := unix.Openat(int(deep.Fd()), "scan.pdf", unix.O_CREAT|unix.O_WRONLY, 0o644)
	must(t, err)
	_ = unix.Close(fd)
	_ = deep.Close()
	path := write(t, filepath.Join(dir, "near.pdf"), "1")
	w := start(t, Folder{Path: dir, Recursive: true}, never)
	if f := receive(t, w); f.Path != path {
		t.Errorf("got %+v", f)
	}
	until(t, "said", func() bool { return strings.Contains(w.Status()[0].Reason, "file name too long") })
}
