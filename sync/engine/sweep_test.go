package engine

import (
	"os"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
)

// What sweep has listed may have been delivered before sweep comes to it: it gets
// no note then, and is not forgotten because it lies there no more.
func TestSweepOfWhatWasDeliveredMeanwhile(t *testing.T) {
	for _, after := range []string{"keep", "move", "delete"} {
		for _, listed := range []store.State{store.Queued, store.Held, store.Refused} {
			t.Run(after+" "+string(listed), func(t *testing.T) {
				r := newRig(t, func(f *Folder) { f.After = after }, "alice")
				path := r.drop("alice", "report.txt", "content")
				r.once()
				f, ok, err := r.store.Get(path)
				if err != nil || !ok || f.State != store.Delivered {
					t.Fatal(f.State, ok, err)
				}
				f.State = listed
				held := func(f store.File) store.File { return withHold(f, store.Hold{Reason: "no consent", Since: time.Now()}) }
				must(t, r.engine.sweepFile(f, held, time.Now()))
				if exist(path + NoteSuffix) {
					t.Error("a note says that it has not been delivered")
				}
				if got := r.state(path); got.State != store.Delivered {
					t.Errorf("known as %+v", got)
				}
			})
		}
	}
}

// A note that was written just before the process was killed is known to nobody.
func TestNoteThatWasNotRecordedGoesWithTheDelivery(t *testing.T) {
	for _, after := range []string{"keep", "move", "delete"} {
		r := newRig(t, func(f *Folder) { f.After = after }, "alice")
		path, other := r.drop("alice", "report.txt", "content"), r.drop("alice", "other.txt", "more")
		must(t, os.WriteFile(path+NoteSuffix, noteText(store.File{Path: path, Reason: "no consent"}), 0o644))
		must(t, os.WriteFile(other+NoteSuffix, []byte("a person's own words"), 0o644))
		r.once()
		if exist(path + NoteSuffix) {
			t.Errorf("%s: the note of a delivered file stays", after)
		}
		if !exist(other + NoteSuffix) {
			t.Errorf("%s: a person's file was taken for a note", after)
		}
	}
}

// What was delivered while sweep had the file is finished by sweep.
func TestSweepFinishesWhatItHeldUp(t *testing.T) {
	r := newRig(t, func(f *Folder) { f.After = "delete" }, "alice")
	path := r.drop("alice", "report.txt", "content")
	finishing.Store(path, true)
	r.once()
	finishing.Delete(path)
	must(t, r.engine.sweepOnce(time.Now()))
	if exist(path) || r.receipt(path).State != "delivered" {
		t.Error("what comes after its delivery is not done")
	}
}
