package watcher

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// lined gives a tree with one file and its sidecar at the head of the line.
func lined(t *testing.T) (tree *tree, path, sidecarPath string) {
	t.Helper()
	dir := t.TempDir()
	path = write(t, filepath.Join(dir, "a.pdf"), "1")
	sidecarPath = write(t, path+".meta.json", "{}")
	tree = newTree(Folder{Path: dir, Mode: ModePoll}, never, nil, logOf(t))
	tree.checkRoot(epoch)
	for range 2 {
		tree.beginScan()
		tree.sweepSome(epoch)
	}
	return tree, path, sidecarPath
}

// Nothing but the last check before a file is handed over sees these changes.
func TestWhatChangedInLineIsNotOffered(t *testing.T) {
	for name, change := range map[string]func(path, sidecarPath string) error{
		"file written":    func(path, _ string) error { return os.WriteFile(path, []byte("12"), 0o600) },
		"file removed":    func(path, _ string) error { return os.Remove(path) },
		"file is another": func(path, _ string) error { return os.Rename(path+".twin", path) },
		"sidecar written": func(_, sc string) error { return os.WriteFile(sc, []byte("{ }"), 0o600) },
		"sidecar removed": func(_, sc string) error { return os.Remove(sc) },
		"folder for file": func(path, _ string) error { _ = os.Remove(path); return os.Mkdir(path, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			tree, path, sc := lined(t)
			write(t, path+".twin", "1")
			must(t, change(path, sc))
			if f, ok := tree.head(epoch); ok {
				t.Fatalf("offered %+v", f)
			}
			if due := tree.settler.due(epoch, 1); len(due) != 1 {
				t.Error("it is not looked at again at once")
			}
		})
	}
	tree, path, _ := lined(t)
	if f, ok := tree.head(epoch); !ok || f.Path != path {
		t.Errorf("unchanged, and not offered: %+v", f)
	}
	must(t, os.Remove(path))
	if _, ok := tree.head(epoch.Add(offerStale)); ok {
		t.Error("offered without being checked again")
	}
}

// What lies in a moved folder is watched under its new path, even if no event
// told of the move and a scan comes upon it.
func TestWatchesFollowMoves(t *testing.T) {
	dir := t.TempDir()
	sub := mkdir(t, dir, "a", "sub")
	w, err := newWatchset(dir, dir, false)
	must(t, err)
	defer func() { _ = w.fsw.Close() }()
	inbox := newInbox()
	inbox.reset(w.fsw)
	gathered := make(chan struct{})
	go func() {
		defer close(gathered)
		inbox.gather(w.fsw, dir)
	}()
	for _, d := range []string{dir, filepath.Dir(sub), sub} {
		must(t, w.add(d, false))
	}
	must(t, os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "b")))
	moved := filepath.Join(dir, "b", "sub")
	for _, d := range []string{dir, filepath.Dir(moved), moved} {
		must(t, w.add(d, false))
	}
	inbox.take()
	write(t, filepath.Join(moved, "file"), "1")
	seen := hints{}
	deadline := time.After(patienceOfTests)
	for seen.names[moved]["file"]&fsnotify.Create == 0 {
		select {
		case <-inbox.wake:
		case <-deadline:
			t.Fatalf("no event of the file at its new path, only %v", seen.names)
		}
		for d, names := range inbox.take().names {
			for name, op := range names {
				seen.add(d, name, op)
			}
		}
	}
	must(t, w.fsw.Close())
	<-gathered
}
