//go:build linux || darwin

package watcher

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What Excluded says of files that exist is what the watcher does.
func TestOnlyRegularFilesInsideAreTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, outside := t.TempDir(), t.TempDir()
		secret := write(t, filepath.Join(outside, "secret.pdf"), "secret")
		mkdir(t, dir, "sub")
		mkdir(t, outside, "tree")
		write(t, filepath.Join(outside, "tree", "far.pdf"), "1")
		want := map[string]bool{write(t, filepath.Join(dir, "sub", "plain.pdf"), "plain"): true}
		links := map[string]string{
			"out.pdf":      secret,
			"relative.pdf": "../" + filepath.Base(outside) + "/secret.pdf",
			"twice.pdf":    "out.pdf",
			"nowhere.pdf":  "gone.pdf",
			"circle.pdf":   "circle.pdf",
			"folder.pdf":   "sub",
			"tree":         filepath.Join(outside, "tree"),
			"loop":         ".",
			"sub/loop":     "../sub",
			"sub/up":       dir,
			"in.pdf":       "sub/plain.pdf",
		}
		for name, target := range links {
			must(t, os.Symlink(target, filepath.Join(dir, name)))
		}
		special(t, dir)
		want[filepath.Join(dir, "in.pdf")] = true
		f := Folder{Path: dir, Recursive: true, Settle: time.Second}
		w := poll(t, f, never)
		for path, file := range collect(t, w, want) {
			if file.Sig.Size != 5 {
				t.Errorf("%q has size %d, want that of the plain file", path, file.Sig.Size)
			}
		}
		silence(t, w, 50*time.Second)
		names, err := os.ReadDir(dir)
		must(t, err)
		for _, e := range names {
			path := filepath.Join(dir, e.Name())
			if got := Excluded(f, path); (got == "") != want[path] {
				t.Errorf("Excluded %q: %q", e.Name(), got)
			}
		}
		if got := Excluded(f, filepath.Join(dir, "tree", "far.pdf")); !strings.Contains(got, "symbolic link") {
			t.Errorf("Excluded below a linked folder: %q", got)
		}
		if got, want := w.Status()[0].Ignored, len(names)-2+2; got != want { // all but sub and in.pdf, and the two links in sub
			t.Errorf("ignored %d, want %d", got, want)
		}
	})
}

// A directory that becomes a link to somewhere else between two looks must not
// let a file out there through.
func TestFolderSwappedForLinkIsNotFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, outside := t.TempDir(), t.TempDir()
		sub := mkdir(t, dir, "sub")
		path := write(t, filepath.Join(sub, "a.pdf"), "1")
		w := poll(t, Folder{Path: dir, Recursive: true, Settle: 2 * time.Second}, never)
		until(t, "settling", func() bool { return slices.Contains(w.Settling(), path) })
		must(t, os.Rename(path, filepath.Join(outside, "a.pdf"))) // the very same file
		must(t, os.Remove(sub))
		must(t, os.Symlink(outside, sub))
		silence(t, w, 5*time.Minute)
	})
}

func TestRootMayBeLink(t *testing.T) {
	t.Parallel()
	real := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(real, link))
	w := start(t, Folder{Path: link, Recursive: true}, never)
	until(t, "first scan", scanned(w))
	mkdir(t, real, "sub")
	write(t, filepath.Join(real, "sub", "a.pdf"), "1")
	if f := receive(t, w); f.Path != filepath.Join(link, "sub", "a.pdf") || f.Folder != link {
		t.Errorf("got %+v, want it below the link", f)
	}
}
