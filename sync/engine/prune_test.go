package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
)

// pruneAt makes a pass as it would be made at that time.
func (r *rig) pruneAt(now time.Time) {
	r.t.Helper()
	var p pruner
	for more := true; more; {
		var err error
		more, err = r.engine.prune(&p, now)
		must(r.t, err)
	}
}

// recorded says whether there is a record of the file.
func (r *rig) recorded(path string) bool {
	r.t.Helper()
	_, ok, err := r.store.Get(path)
	must(r.t, err)
	return ok
}

// Files that went long ago leave no record, whichever way they went. They are not
// pushed again when they come again.
func TestRecordsOfGoneFilesAreDropped(t *testing.T) {
	r := newRig(t, func(f *Folder) { f.After = filepath.Base(f.Path) }, "keep", "move", "delete")
	lies := r.drop("keep", "lies.txt", "it lies there still")
	gone := []string{r.drop("keep", "gone.txt", "deleted by a person"), r.drop("move", "m.txt", "moved"), r.drop("delete", "d.txt", "deleted")}
	r.once()
	must(t, os.Remove(gone[0]))
	r.once()
	now := time.Now()
	r.pruneAt(now.Add(keepGone - time.Hour))
	for _, path := range append(gone, lies) {
		if !r.recorded(path) {
			t.Errorf("the record of %s was dropped too early", path)
		}
	}
	r.pruneAt(now.Add(keepGone + pruneEvery))
	for _, path := range gone {
		if r.recorded(path) {
			t.Errorf("the record of %s was kept", path)
		}
	}
	if !r.recorded(lies) {
		t.Error("the record of a file that lies there was dropped")
	}
	pushes := r.pushes.Load()
	r.drop("keep", "gone.txt", "deleted by a person")
	other := r.drop("keep", "other.txt", "deleted by a person")
	r.drop("move", "m.txt", "moved")
	r.drop("delete", "d.txt", "deleted")
	r.once()
	if n := r.pushes.Load() - pushes; n > 0 {
		t.Errorf("%d were pushed again", n)
	}
	if f := r.state(gone[0]); f.State != store.Delivered {
		t.Errorf("it is %s", f.State)
	}
	if f := r.state(other); f.State != store.Duplicate {
		t.Errorf("its copy is %s", f.State)
	}
}

// The clock jumps a year ahead, and back: records go early, nothing else.
func TestRecordsDroppedByAWrongClock(t *testing.T) {
	r := newRig(t, nil, "alice")
	path, refused := r.drop("alice", "a.txt", "one"), r.drop("alice", "empty.txt", "")
	r.once()
	must(t, os.Remove(path))
	r.pruneAt(time.Now().AddDate(1, 0, 0))
	if r.recorded(path) || !r.recorded(refused) {
		t.Errorf("recorded: %t and %t", r.recorded(path), r.recorded(refused))
	}
	pushes := r.pushes.Load()
	r.drop("alice", "a.txt", "one")
	r.once()
	must(t, os.Remove(path))
	r.pruneAt(time.Now()) // it is due although the last pass was in the future
	if r.pushes.Load() != pushes || !r.recorded(path) {
		t.Errorf("%d pushes, recorded: %t", r.pushes.Load()-pushes, r.recorded(path))
	}
	r.pruneAt(time.Now().AddDate(-1, 0, 0))
	if r.recorded(path) {
		t.Error("a record from a year ahead stays for that year")
	}
}

// Nothing in a folder that is away counts as gone.
func TestFolderThatIsAwayIsNotPruned(t *testing.T) {
	r := newRig(t, nil, "alice", "bob")
	path, other := r.drop("alice", "a.txt", "one"), r.drop("bob", "b.txt", "two")
	r.once()
	must(t, os.Remove(other))
	folder := filepath.Join(r.dir, "alice")
	must(t, os.Rename(folder, folder+".away"))
	r.pruneAt(time.Now().AddDate(1, 0, 0))
	if !r.recorded(path) || r.recorded(other) {
		t.Errorf("recorded: %t and %t", r.recorded(path), r.recorded(other))
	}
	r.restart()
	r.start()
	must(t, r.store.Put(store.File{Path: other, Folder: filepath.Dir(other), State: store.Ignored, UpdatedAt: time.Now().AddDate(-1, 0, 0)}))
	must(t, r.store.SetPruned(time.Now().AddDate(0, 0, -2)))
	r.until("both folders were looked at", func() bool {
		return r.engine.looksWhole(filepath.Dir(other)) && r.engine.missing(folder)
	})
	r.pruneAt(time.Now().AddDate(1, 0, 0))
	if !r.recorded(path) || r.recorded(other) {
		t.Errorf("while it runs, recorded: %t and %t", r.recorded(path), r.recorded(other))
	}
}

// The daemon does it by itself, once it has looked at the folder.
func TestDaemonPrunes(t *testing.T) {
	r := newRig(t, nil, "alice")
	long := time.Now().Add(-keepGone - time.Hour)
	path := func(i int) string { return filepath.Join(r.dir, "alice", fmt.Sprint(i)) }
	for i := range 10 {
		must(t, r.store.Put(store.File{Path: path(i), Folder: filepath.Dir(path(i)), State: store.Ignored, UpdatedAt: long}))
	}
	must(t, r.store.Put(store.File{Path: path(10), Folder: filepath.Dir(path(10)), State: store.Ignored}))
	r.start()
	r.until("the records are dropped", func() bool { return !r.recorded(path(9)) })
	if r.recorded(path(0)) || !r.recorded(path(10)) {
		t.Errorf("recorded: %t and %t", r.recorded(path(0)), r.recorded(path(10)))
	}
}
