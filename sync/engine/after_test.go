package engine

import (
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
	"github.com/digime-sync/digime-sync/watcher"
)

func TestMoveToSent(t *testing.T) {
	r := newRig(t, func(f *Folder) { f.After, f.Recursive = "move", true }, "alice")
	for i, content := range []string{"first", "second"} {
		path := r.drop("alice", "sub/report.txt", content)
		r.once()
		if exist(path) || exist(path+".meta.json") {
			t.Errorf("%d: still there", i)
		}
		f := r.state(path)
		if f.State != store.Delivered || f.MovedTo == "" {
			t.Fatalf("%+v", f)
		}
		got, err := os.ReadFile(f.MovedTo)
		must(t, err)
		if string(got) != content || !exist(f.MovedTo+".meta.json") || !exist(f.MovedTo+ReceiptSuffix) {
			t.Errorf("%s holds %q", f.MovedTo, got)
		}
	}
	sent := filepath.Join(r.dir, "alice", "Sent", "sub")
	if !exist(filepath.Join(sent, "report.txt")) || !exist(filepath.Join(sent, "report (2).txt")) {
		t.Error("the second did not get a name of its own")
	}
	r.restart()
	r.once()
	if n := len(r.api.Deliveries()); n != 2 {
		t.Errorf("%d deliveries: what lies in Sent was pushed", n)
	}
}

func TestDelete(t *testing.T) {
	r := newRig(t, func(f *Folder) { f.After = "delete" }, "alice")
	path := r.drop("alice", "report.txt", "content")
	r.once()
	if exist(path) || exist(path+".meta.json") {
		t.Error("still there")
	}
	if r.receipt(path).State != "delivered" {
		t.Error("no receipt")
	}
}

// What lies there is not deleted or moved unless it is what was delivered.
func TestChangedFileIsNeitherDeletedNorMoved(t *testing.T) {
	for _, after := range []string{"delete", "move"} {
		r := newRig(t, func(f *Folder) { f.After = after }, "alice")
		path := r.drop("alice", "report.txt", "content")
		sig, err := watcher.Lstat(path)
		must(t, err)
		rec := store.File{Path: path, Folder: filepath.Dir(path), Library: "alice", Sidecar: "report.txt.meta.json", Sig: store.Sig(sig), After: after, State: store.Delivered}
		must(t, os.WriteFile(path, []byte("newer content"), 0o644))
		must(t, r.engine.settleDown(rec))
		if got, err := os.ReadFile(path); err != nil || string(got) != "newer content" {
			t.Errorf("%s: %q, %v", after, got, err)
		}
		if !exist(path + ".meta.json") {
			t.Errorf("%s: the sidecar of the new content has gone", after)
		}
	}
}

// A death between delivery and what comes after is mended at the next start.
func TestAfterIsFinishedAfterACrash(t *testing.T) {
	r := newRig(t, func(f *Folder) { f.After = "move" }, "alice")
	path := r.drop("alice", "report.txt", "content")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 503})
	r.once()
	f, ok, err := r.store.Begin(path, time.Now(), true)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	f.After = "move"
	must(t, r.store.Delivered(f, time.Now()))
	r.restart()
	r.start()
	r.until("moved", func() bool { return exist(filepath.Join(r.dir, "alice", "Sent", "report.txt")) && !exist(path) })
	if n := len(r.api.Deliveries()); n != 0 {
		t.Errorf("%d deliveries", n)
	}
}

func TestMoveToFailed(t *testing.T) {
	r := newRig(t, func(f *Folder) { f.OnFailure = "move" }, "alice")
	path := r.drop("alice", "report.txt", "content")
	r.describe(path, `{"mimeType": "text/plain", "accounts": [{"accountId": "somebody else"}]}`)
	r.once()
	failed := filepath.Join(r.dir, "alice", "Failed", "report.txt")
	if exist(path) || !exist(failed) || !exist(failed+".meta.json") || !exist(failed+NoteSuffix) {
		t.Error("not moved to Failed with its sidecar and note")
	}
	r.once()
	if s, err := r.engine.Status(path); err != nil || len(s.Files) != 1 || s.Files[0].Path != failed || s.Files[0].State != store.Refused {
		t.Errorf("%+v, %v", s.Files, err)
	}
	if n := len(r.api.Deliveries()); n != 0 {
		t.Errorf("%d deliveries", n)
	}
}

func TestQuiet(t *testing.T) {
	r := newRig(t, func(f *Folder) { f.OnFailure = "quiet" }, "alice")
	path := r.drop("alice", "report.txt", "content")
	r.describe(path, `{`)
	r.once()
	if f := r.state(path); f.State != store.Refused || exist(path+NoteSuffix) {
		t.Errorf("%+v, note %v", f, exist(path+NoteSuffix))
	}
}

// Nobody is left waiting in silence: after ten minutes without a sidecar, or
// with a sidecar alone, a note says so, and goes away when the matter is solved.
func TestWaitingIsSaidAfterTenMinutes(t *testing.T) {
	r := newRig(t, nil, "alice")
	lone := filepath.Join(r.dir, "alice", "lone.txt")
	must(t, os.WriteFile(lone, []byte("x"), 0o644))
	orphan := filepath.Join(r.dir, "alice", "absent.txt")
	r.describe(orphan, `{}`)
	r.once()
	if f := r.state(lone); f.State != store.Waiting || !strings.Contains(f.Hint, "lone.txt.meta.json") {
		t.Fatalf("%+v", f)
	}
	if f := r.state(orphan + ".meta.json"); f.State != store.Waiting || !strings.Contains(f.Hint, "absent.txt") {
		t.Fatalf("%+v", f)
	}
	must(t, r.engine.sweepOnce(time.Now().Add(9*time.Minute)))
	if exist(lone+NoteSuffix) || exist(orphan+NoteSuffix) {
		t.Error("a note before ten minutes")
	}
	must(t, r.engine.sweepOnce(time.Now().Add(11*time.Minute)))
	if !exist(lone+NoteSuffix) || !exist(orphan+NoteSuffix) {
		t.Fatal("no note after ten minutes")
	}
	r.drop("alice", "absent.txt", "here it is")
	r.drop("alice", "lone.txt", "x")
	r.once()
	for _, path := range []string{lone, orphan} {
		if f := r.state(path); f.State != store.Delivered || exist(path+NoteSuffix) {
			t.Errorf("%+v, note %v", f, exist(path+NoteSuffix))
		}
	}
	if f, listed, err := r.store.Get(orphan + ".meta.json"); listed || err != nil {
		t.Errorf("the sidecar is still listed: %+v, %v", f, err)
	}
}

// A refused file that its owner takes away is forgotten, and its note with it.
func TestTakenAwayInsteadOfCorrected(t *testing.T) {
	r := newRig(t, nil, "alice")
	path := r.drop("alice", "report.txt", "")
	r.once()
	if f := r.state(path); f.State != store.Refused || !strings.Contains(f.Reason, "empty") || !exist(path+NoteSuffix) {
		t.Fatalf("%+v", f)
	}
	must(t, os.Remove(path))
	must(t, os.Remove(path+".meta.json"))
	r.once()
	if f := r.state(path); f.Path != "" || exist(path+NoteSuffix) {
		t.Errorf("%+v, note %v", f, exist(path+NoteSuffix))
	}
}

// The same file dropped again into a folder that moves what is delivered goes
// to Sent as well, beside the first, and is no second delivery.
func TestSameFileDroppedAgainIsMovedToo(t *testing.T) {
	r := newRig(t, func(f *Folder) { f.After = "move" }, "alice")
	for range 2 {
		path := r.drop("alice", "report.txt", "content")
		r.once()
		if exist(path) || exist(path+".meta.json") {
			t.Error("still there")
		}
	}
	sent := filepath.Join(r.dir, "alice", "Sent")
	for _, name := range []string{"report.txt", "report (2).txt"} {
		for _, suffix := range []string{"", ".meta.json", ReceiptSuffix} {
			if !exist(filepath.Join(sent, name+suffix)) {
				t.Errorf("no %s in Sent", name+suffix)
			}
		}
	}
	if n := len(r.api.Deliveries()); n != 1 {
		t.Errorf("%d deliveries", n)
	}
}

// What was moved to Failed is corrected, brought back and delivered; its note goes.
func TestBroughtBackFromFailed(t *testing.T) {
	r := newRig(t, func(f *Folder) { f.OnFailure = "move" }, "alice")
	path := r.drop("alice", "report.txt", "content")
	r.describe(path, `{"mimeType": "text/plain", "acounts": []}`)
	r.once()
	failed := filepath.Join(r.dir, "alice", "Failed", "report.txt")
	note, err := os.ReadFile(failed + NoteSuffix)
	must(t, err)
	if !strings.Contains(string(note), "move the file and its sidecar back to "+filepath.Dir(path)) {
		t.Errorf("the note does not say how to bring it back:\n%s", note)
	}
	must(t, os.Rename(failed, path))
	must(t, os.Remove(failed+".meta.json"))
	r.describe(path, `{"mimeType": "text/plain", "accounts": [{"accountId": "acc-alice"}]}`)
	r.once()
	if f := r.state(path); f.State != store.Delivered || exist(failed+NoteSuffix) {
		t.Errorf("%+v, note %v", f, exist(failed+NoteSuffix))
	}
}

// Scanners use the same name every day: one refused file does not hide another,
// and a good one solves neither.
func TestRefusedFilesOfOneName(t *testing.T) {
	r := newRig(t, func(f *Folder) { f.OnFailure = "move" }, "alice")
	refuse := sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 413, Code: "TooLarge"}
	for _, content := range []string{"first", "second", "good"} {
		if content != "good" {
			r.api.Fail(refuse)
		}
		r.drop("alice", "scan.pdf", content)
		r.once()
	}
	for _, name := range []string{"scan.pdf", "scan (2).pdf"} {
		failed := filepath.Join(r.dir, "alice", "Failed", name)
		note, err := os.ReadFile(failed + NoteSuffix)
		if err != nil || !strings.Contains(string(note), name+" has not been delivered") {
			t.Errorf("%s: note %q, %v", name, note, err)
		}
		if f := r.state(failed); f.State != store.Refused {
			t.Errorf("%+v", f)
		}
	}
	s, err := r.engine.Status("")
	must(t, err)
	if s.Counts[store.Refused] != 2 || s.Counts[store.Delivered] != 1 {
		t.Errorf("%v", s.Counts)
	}
}

// A queued file that is taken away is said, and pushed when it is back.
func TestTakenAwayBeforeThePush(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 503})
	path := r.drop("alice", "report.txt", "content")
	r.once()
	aside := filepath.Join(r.dir, "aside")
	must(t, os.Rename(path, aside))
	r.start()
	r.untilState(path, store.Ignored)
	must(t, os.Rename(aside, path))
	r.untilState(path, store.Delivered)
}

// A folder that is away keeps its files: they are not gone.
func TestMissingFolderLosesNothing(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 503})
	path := r.drop("alice", "report.txt", "content")
	r.once()
	folder := filepath.Dir(path)
	must(t, os.Rename(folder, folder+".away"))
	r.start()
	r.until("said to be missing", func() bool { return strings.Contains(r.state(path).Reason, "missing") })
	must(t, os.Rename(folder+".away", folder))
	r.untilState(path, store.Delivered)
}

func TestFit(t *testing.T) {
	long := strings.Repeat("ä", 127)
	for _, name := range []string{"a.txt", long, long + "b", strings.Repeat("n", 255), strings.Repeat("\xff", 250)} {
		got := fit(name, ReceiptSuffix)
		if len(got) > longestName || !strings.HasSuffix(got, ReceiptSuffix) {
			t.Errorf("fit(%q) = %q of %d bytes", name, got, len(got))
		}
	}
	if fit(long+"b", NoteSuffix) == fit(long+"c", NoteSuffix) {
		t.Error("two names got one note")
	}
}

// Of two that come to an after-action at the same time, one does it.
func TestAfterActionIsDoneByOne(t *testing.T) {
	r := newRig(t, func(f *Folder) { f.After = "move" }, "alice")
	path := r.drop("alice", "report.txt", "content")
	finishing.Store(path, true)
	defer finishing.Delete(path)
	r.once()
	if f := r.state(path); f.State != store.Delivered || f.MovedTo != "" || !exist(path) {
		t.Fatalf("while another is at it: %+v", f)
	}
	finishing.Delete(path)
	must(t, r.engine.finish(path))
	if f := r.state(path); f.MovedTo == "" || exist(path) {
		t.Errorf("afterwards: %+v", f)
	}
}

func TestMoveToSentOnAnotherFileSystem(t *testing.T) {
	if runtime.GOOS == "windows" { // Wine has /dev/shm, and links that Go takes for folders
		t.Skip("there is no /dev/shm")
	}
	elsewhere, err := os.MkdirTemp("/dev/shm", "digime-sync-")
	if err != nil {
		t.Skip(err)
	}
	defer os.RemoveAll(elsewhere)
	r := newRig(t, func(f *Folder) { f.After = "move" }, "alice")
	must(t, os.Symlink(elsewhere, filepath.Join(r.dir, "alice", "Sent")))
	path := r.drop("alice", "report.txt", "content")
	r.once()
	f := r.state(path)
	if content, err := os.ReadFile(filepath.Join(elsewhere, "report.txt")); string(content) != "content" || f.MovedTo == "" || exist(path) {
		t.Errorf("%q, %v; %+v", content, err, f)
	}
	if !exist(filepath.Join(elsewhere, "report.txt.meta.json")) || !exist(filepath.Join(elsewhere, "report.txt"+ReceiptSuffix)) {
		t.Error("no sidecar or receipt beside it")
	}
}

// A move to another file system that was broken off after a copy is finished
// there: neither file nor sidecar lies in two places then.
func TestMoveBrokenOffAfterACopy(t *testing.T) {
	for _, fileToo := range []bool{false, true} {
		r := newRig(t, func(f *Folder) { f.After = "move" }, "alice")
		path := r.drop("alice", "report.txt", "content")
		sent := filepath.Join(r.dir, "alice", "Sent")
		must(t, os.WriteFile(sent, nil, 0o644)) // so that it cannot be moved yet
		r.once()
		must(t, os.Remove(sent))
		must(t, os.Mkdir(sent, 0o755))
		f, _, err := r.store.Get(path)
		must(t, err)
		receipt, err := r.engine.receiptText(f)
		must(t, err)
		side, err := os.ReadFile(path + ".meta.json")
		must(t, err)
		must(t, os.WriteFile(filepath.Join(sent, "report.txt"+ReceiptSuffix), receipt, 0o644))
		must(t, os.WriteFile(filepath.Join(sent, "report.txt.meta.json"), side, 0o644))
		if fileToo {
			must(t, os.Remove(path+".meta.json"))
			must(t, os.WriteFile(filepath.Join(sent, "report.txt"), []byte("content"), 0o644))
		}
		must(t, r.engine.finish(path))
		if exist(path) || exist(path+".meta.json") || r.state(path).MovedTo != filepath.Join(sent, "report.txt") {
			t.Errorf("file too %v: not finished: %+v", fileToo, r.state(path))
		}
		if entries, err := os.ReadDir(sent); len(entries) != 3 {
			t.Errorf("file too %v: in Sent lie %v, %v", fileToo, entries, err)
		}
		must(t, r.engine.finish(path))
		if entries, err := os.ReadDir(sent); len(entries) != 3 {
			t.Errorf("file too %v: done twice: %v, %v", fileToo, entries, err)
		}
	}
}

// A link to the sidecar, other rights, and a step that failed once and brought it
// back change its inode and nothing of what it says: it goes with its file. One that
// stayed would be taken for that of the next file of this name.
func TestSidecarGoesWhateverItsInodeWentThrough(t *testing.T) {
	for _, after := range []string{"delete", "move"} {
		r := newRig(t, func(f *Folder) { f.After = after }, "alice")
		path := r.drop("alice", "report.txt", "content")
		side := path + ".meta.json"
		r.onPush = func(*http.Request) {
			if err := os.Chmod(side, 0o600); err != nil {
				t.Error(err)
			}
			if err := os.Chmod(side, 0o640); err != nil {
				t.Error(err)
			}
		}
		r.once()
		if exist(path) || exist(side) {
			t.Errorf("%s: file %v, sidecar %v", after, exist(path), exist(side))
		}
	}
}

// A sidecar that cannot be taken away keeps its file where it is, so that none is
// left alone for the next file of this name; and the file stays a delivered one.
func TestSidecarGoesBeforeItsFile(t *testing.T) {
	r := newRig(t, func(f *Folder) { f.After = "delete" }, "alice")
	path := r.drop("alice", "report.txt", "content")
	finishing.Store(path, true)
	r.once()
	must(t, os.Remove(path+".meta.json")) // that far it came
	r.restart()
	r.once()
	if f := r.state(path); f.State != store.Delivered {
		t.Errorf("while it is not done: %+v", f)
	}
	finishing.Delete(path)
	r.once()
	if f := r.state(path); f.State != store.Delivered || exist(path) || exist(path+NoteSuffix) {
		t.Errorf("%+v, file %v, note %v", f, exist(path), exist(path+NoteSuffix))
	}
}
