package engine

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/watcher"
)

// record has the store know so many files of alice's, each in the same state.
func (r *rig) record(n int, state store.State, reason string) {
	r.t.Helper()
	var group errgroup.Group
	for i := range n {
		group.Go(func() error {
			f := store.File{Path: filepath.Join(r.dir, "alice", fmt.Sprintf("%s%s-%04d.txt", state, reason, i)),
				Folder: filepath.Join(r.dir, "alice"), Library: "alice", Dest: "alice", State: state, Reason: reason}
			if state != store.Queued {
				return r.store.Put(f)
			}
			f.SHA256 = fmt.Sprintf("%064x", i)
			_, err := r.store.Enqueue(f, time.Now())
			return err
		})
	}
	must(r.t, group.Wait())
}

// An overview tells what a person can read and all that it leaves out, and counts
// everything as the whole status does.
func TestOverviewTellsNoMoreThanAPersonReads(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.record(mostTold+7, store.Refused, "no")
	r.record(mostQuiet+5, store.Delivered, "")
	r.record(1, store.Delivered, "its sidecar was changed")
	r.record(mostQuiet+3, store.Ignored, "gone")
	r.record(mostQuiet+2, store.Queued, "")
	folder := filepath.Join(r.dir, "alice")
	all, err := r.engine.Status("")
	must(t, err)
	for _, c := range []struct {
		prefix string
		shown  map[store.State]int
		more   []More
	}{
		{"", map[store.State]int{store.Refused: mostTold, store.Delivered: 1, store.Queued: mostQuiet},
			[]More{{folder, store.Queued, 2}, {folder, store.Refused, 7}}},
		{folder, map[store.State]int{store.Refused: mostTold, store.Delivered: mostQuiet + 1, store.Ignored: mostQuiet, store.Queued: mostQuiet},
			[]More{{folder, store.Delivered, 5}, {folder, store.Ignored, 3}, {folder, store.Queued, 2}, {folder, store.Refused, 7}}},
	} {
		got, err := r.engine.Overview(c.prefix)
		must(t, err)
		shown := map[store.State]int{}
		for _, f := range got.Files {
			shown[f.State]++
		}
		if !maps.Equal(shown, c.shown) || !slices.Equal(got.More, c.more) {
			t.Errorf("overview of %q shows %v, and of more %v", c.prefix, shown, got.More)
		}
		if !maps.Equal(got.Counts, all.Counts) || got.Unsent() != mostQuiet+2 || got.Libraries[0].Queued != all.Libraries[0].Queued {
			t.Errorf("overview of %q counts %v, %d unsent; the status %v", c.prefix, got.Counts, got.Unsent(), all.Counts)
		}
	}
	if n := len(all.Files); n != mostTold+3*mostQuiet+18 || len(all.More) > 0 {
		t.Errorf("the status has %d files, and more: %v", n, all.More)
	}
}

// What could not be finished after a delivery is told, though its record has no
// reason.
func TestOverviewTellsWhatIsUnfinished(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.record(1, store.Delivered, "")
	r.engine.unfinished[filepath.Join(r.dir, "alice", "delivered-0000.txt")] = "delivered, but it could not be moved"
	if s, err := r.engine.Overview(""); err != nil || len(s.Files) != 1 || s.Files[0].Reason != "delivered, but it could not be moved" {
		t.Errorf("%+v, %v", s.Files, err)
	}
}

// Right after a start nothing is known of a folder, and that alone is said.
func TestAFolderThatIsNotLookedAtYet(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.record(1, store.Queued, "")
	r.engine.running = true // and its watcher has not come to look
	s, err := r.engine.Overview("")
	must(t, err)
	if f := s.Folders[0]; f.State != watcher.StateUnseen || f.Reason != "not looked at yet" {
		t.Errorf("the folder is %s: %s", f.State, f.Reason)
	}
	if f := s.Files[0]; f.State != store.Queued || f.Reason != "" {
		t.Errorf("its file is %s: %s", f.State, f.Reason)
	}
	if !r.engine.missing(s.Folders[0].Path) {
		t.Error("a file that is not found there would be taken for one that was taken away")
	}
}

// Of a path that nobody has recorded it is said why, and what to do.
func TestStatusOfAPathThatNobodyRecorded(t *testing.T) {
	r := newRig(t, nil, "alice")
	in := func(name string) string { return filepath.Join(r.dir, "alice", filepath.FromSlash(name)) }
	for _, dir := range []string{"sub", "Sent", "Failed"} {
		must(t, os.Mkdir(in(dir), 0o755))
	}
	for _, name := range []string{"new.txt", "new.txt.meta.json", "scan.pdf", "scan.meta.json", "scan.pdf.error.txt", "scan.pdf.receipt.json", "draft.tmp", "sub/a.txt", "Sent/a.txt", "Failed/a.txt"} {
		must(t, os.WriteFile(in(name), []byte("x"), 0o644))
	}
	for _, path := range []string{in(""), r.dir} {
		if s, err := r.engine.Status(path); err != nil || s.Reason != "" || len(s.Files) > 0 {
			t.Errorf("%s: %+v, %v; there is nothing to say but how the folder stands", path, s, err)
		}
	}
	must(t, r.store.Put(store.File{Path: in("moved.txt"), Folder: in(""), State: store.Delivered}))
	must(t, r.store.SetMoved(in("moved.txt"), in("Sent/moved.txt")))
	for _, c := range []struct{ path, state, reason, hint string }{
		{filepath.Join(r.dir, "nope"), "", "it lies in none of the watched folders", in("")},
		{in("nope.txt"), "", "there is no such file", "digime-sync audit " + in("nope.txt")},
		{in("sub/nope.txt"), "", "there is no such file", "check the path"},
		{in("new.txt"), "", "it has not been looked at yet", "digime-sync push " + in("new.txt")},
		{in("sub"), "ignored", "recursive: false", "recursive:"},
		{in("sub/a.txt"), "ignored", "recursive: false", "recursive:"},
		{in("new.txt.meta.json"), "ignored", "it is a sidecar", "digime-sync status " + in("new.txt")},
		{in("scan.meta.json"), "ignored", "it is a sidecar", "digime-sync status " + in("scan.pdf")},
		{in("scan.pdf.error.txt"), "ignored", "written by digime-sync itself", "digime-sync status " + in("scan.pdf")},
		{in("scan.pdf.receipt.json"), "ignored", "written by digime-sync itself", "digime-sync status " + in("scan.pdf")},
		{in("draft.tmp"), "ignored", "temporary file", "rename it"},
		{in("Sent"), "ignored", "hold what is finished", "digime-sync audit"},
		{in("Sent/a.txt"), "ignored", "hold what is finished", "digime-sync audit"},
		{in("Failed/a.txt"), "ignored", "hold what is finished", "move it and its sidecar back to " + in("")},
		{in("Sent/moved.txt"), "delivered", "", ""},
	} {
		for _, ask := range []func(string) (Status, error){r.engine.Status, r.engine.Overview} {
			s, err := ask(c.path)
			must(t, err)
			state, reason, hint := "", s.Reason, s.Hint
			for _, f := range s.Files {
				state, reason, hint = string(f.State), f.Reason, f.Hint
			}
			if state != c.state || !strings.Contains(reason, c.reason) || c.reason == "" && reason != "" || !strings.Contains(hint, c.hint) || len(s.Files) > 1 {
				t.Errorf("%s: %s, why: %s, do: %s", c.path, state, reason, hint)
			}
		}
	}
}
