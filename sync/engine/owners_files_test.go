package engine

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/watcher"
)

// What somebody else has put where a receipt or a note would go stays as it is;
// ours goes beside it, and a note of ours goes away all the same.
func TestOwnersFilesUnderOurNames(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "alice")
	foreign := map[string]string{}
	put := func(path, text string) {
		foreign[path] = text
		must(t, os.WriteFile(path, []byte(text), 0o644))
	}
	dir := filepath.Join(r.dir, "alice")
	put(filepath.Join(dir, "a.txt"+ReceiptSuffix), `{"file": "a.txt", "till": 7}`)
	put(filepath.Join(dir, "a.txt"+NoteSuffix), "a.txt has gone wrong: ask Bob")
	put(filepath.Join(dir, "a (2).txt"+NoteSuffix), "")
	must(t, os.Mkdir(filepath.Join(dir, "a (2).txt"+ReceiptSuffix), 0o755))
	path := r.drop("alice", "a.txt", "content")
	r.describe(path, `{"mimeType": "text/plain", "accounts": [{"accountId": "nobody's"}]}`)
	r.start()
	r.untilState(path, store.Refused)
	note := filepath.Join(dir, "a (3).txt"+NoteSuffix)
	r.until("the note is there", func() bool { return exist(note) })
	r.describe(path, `{"mimeType": "text/plain"}`)
	r.untilState(path, store.Delivered)
	r.until("the receipt is there", func() bool { return exist(filepath.Join(dir, "a (3).txt"+ReceiptSuffix)) })
	r.until("the note has gone", func() bool { return !exist(note) })
	for path, text := range foreign {
		if data, err := os.ReadFile(path); err != nil || string(data) != text {
			t.Errorf("%s holds %q, %v", filepath.Base(path), data, err)
		}
	}
}

// A receipt and a note of ours are replaced where they are, whatever the name.
func TestOwnNotesAreKnown(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "alice")
	names := []string{"a.txt", strings.Repeat("n", 250), "b.txt.meta.json"}
	if runtime.GOOS != "windows" {
		names = append(names, "bad\xff\xfe<>&.txt", "line\nbreak.txt")
	}
	for _, name := range names {
		dir := t.TempDir()
		f := store.File{Path: filepath.Join(dir, name), Folder: dir, State: store.Refused, SHA256: strings.Repeat("0", 64), DeliveredAt: time.Now()}
		receipt, err := r.engine.receiptText(f)
		must(t, err)
		for range 2 {
			must(t, r.engine.put(f, f.Path, ReceiptSuffix, receipt))
			must(t, r.engine.put(f, notedFile(f.Path), NoteSuffix, noteText(f)))
		}
		if names, err := os.ReadDir(dir); err != nil || len(names) != 2 {
			t.Errorf("%q: %v, %v", name, names, err)
		}
	}
}

// What was put in the place of a note since is not removed with it.
func TestNoteThatWasReplaced(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "alice")
	path := r.drop("alice", "a.txt", "content")
	r.describe(path, `{"mimeType": "text/plain", "accounts": [{"accountId": "nobody's"}]}`)
	r.once()
	must(t, os.WriteFile(path+NoteSuffix, []byte("my own notes"), 0o644))
	r.describe(path, `{"mimeType": "text/plain"}`)
	r.once()
	if data, err := os.ReadFile(path + NoteSuffix); err != nil || string(data) != "my own notes" {
		t.Errorf("%q, %v", data, err)
	}
	if f := r.state(path); f.State != store.Delivered {
		t.Errorf("%+v", f)
	}
}

// Sent/ or Failed/ may be a link to an archive, but not to where a file would be
// taken in anew, as another person's.
func TestSentThatLeadsIntoAnothersFolder(t *testing.T) {
	if runtime.GOOS == "windows" { // where only administrators make links, and Wine's are folders to Go
		t.Skip("links are for the other systems")
	}
	t.Parallel()
	r := newRig(t, func(f *Folder) { f.After, f.OnFailure = "move", "move" }, "alice", "bob")
	archive := t.TempDir()
	for _, name := range []string{sentFolder, failedFolder} {
		if err := os.Symlink(filepath.Join(r.dir, "bob"), filepath.Join(r.dir, "alice", name)); err != nil {
			t.Skip("no symbolic links here: ", err)
		}
	}
	must(t, os.Symlink(archive, filepath.Join(r.dir, "bob", sentFolder)))
	alices, bobs := r.drop("alice", "a.txt", "alice's"), r.drop("bob", "b.txt", "bob's")
	wrong := r.drop("alice", "wrong.txt", "wrong")
	r.describe(wrong, `{"mimeType": "text/plain", "accounts": [{"accountId": "nobody's"}]}`)
	r.start()
	r.untilState(alices, store.Delivered)
	r.untilState(bobs, store.Delivered)
	r.until("it is said", func() bool { return strings.Contains(r.state(alices).Reason, "which is watched") })
	r.until("bob's is in the archive", func() bool { return exist(filepath.Join(archive, "b.txt"+ReceiptSuffix)) && !exist(bobs) })
	r.until("the note is where the file is", func() bool { return exist(wrong + NoteSuffix) })
	for _, name := range []string{"a.txt", "a.txt" + ReceiptSuffix, "wrong.txt", "wrong.txt" + NoteSuffix} {
		if exist(filepath.Join(r.dir, "bob", name)) {
			t.Errorf("%s is in bob's folder", name)
		}
	}
	if !exist(alices) || !exist(wrong) {
		t.Error("alice's files have gone")
	}
	must(t, os.Remove(filepath.Join(r.dir, "alice", sentFolder)))
	must(t, r.engine.sweepOnce(time.Now()))
	r.until("it is moved after all", func() bool { return exist(filepath.Join(r.dir, "alice", sentFolder, "a.txt")) && !exist(alices) })
}

// Sent/ that is a file keeps what was delivered in its place, which is said.
func TestSentThatIsAFile(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(f *Folder) { f.After = "move" }, "alice")
	sent := filepath.Join(r.dir, "alice", sentFolder)
	must(t, os.WriteFile(sent, []byte("mine"), 0o644))
	must(t, os.WriteFile(sent+".meta.json", []byte("{}"), 0o644))
	path := r.drop("alice", "a.txt", "content")
	r.start()
	r.untilState(path, store.Delivered)
	r.until("it is said", func() bool { return strings.Contains(r.state(path).Reason, "could not be finished") })
	if data, err := os.ReadFile(sent); err != nil || string(data) != "mine" || !exist(path) {
		t.Errorf("%q, %v", data, err)
	}
}

// In a folder of many people's, a link to another person's file is not pushed
// into the library of the one in whose folder it lies.
func TestLinkToAnotherPersonsFile(t *testing.T) {
	if runtime.GOOS == "windows" { // where only administrators make links, and Wine's are folders to Go
		t.Skip("links are for the other systems")
	}
	t.Parallel()
	r := newRig(t, nil, "alice", "bob")
	people := filepath.Join(r.dir, "people")
	contract := digime.Contract{ID: "write", Key: contractKey()}
	r.folders = []Folder{{Folder: watcher.Folder{Path: people, Recursive: true, Settle: r.folders[0].Settle}, Library: BySubfolder,
		Contract: &contract, After: "keep", OnFailure: "report", InDoubt: "resend"}}
	bobs := r.drop("people/bob", "secret.txt", "bob's")
	r.describe(bobs, `{"mimeType": "text/plain"}`)
	own := r.drop("people/alice", "own.txt", "alice's")
	r.describe(own, `{"mimeType": "text/plain"}`)
	links := map[string]string{"out.txt": bobs, "in.txt": own}
	for name, to := range links {
		link := filepath.Join(people, "alice", name)
		if err := os.Symlink(to, link); err != nil {
			t.Skip("no symbolic links here: ", err)
		}
		r.describe(link, `{"mimeType": "text/plain"}`)
	}
	r.restart()
	r.once()
	if f := r.state(filepath.Join(people, "alice", "out.txt")); f.State != store.Refused || !strings.Contains(f.Reason, "leads out of the folder alice") {
		t.Errorf("%+v", f)
	}
	if f := r.state(filepath.Join(people, "alice", "in.txt")); f.State != store.Duplicate && f.State != store.Delivered {
		t.Errorf("a link to her own: %+v", f)
	}
	for _, d := range r.api.Deliveries() {
		if d.User == r.users["alice"] && d.Size == int64(len("bob's")) {
			t.Error("bob's file went to alice")
		}
	}
}
