package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
)

// readable gives a library a read contract, with the consent of its person.
func (r *rig) readable(library string) {
	r.t.Helper()
	r.api.AddContract(sandbox.KindRead, "read", &contractKey().PublicKey, "http://localhost/")
	token, err := r.api.NewToken(r.users[library], "read", time.Hour, 24*time.Hour)
	must(r.t, err)
	must(r.t, r.vault.Save(ReadToken(library), token))
	lib := r.libs[library]
	lib.Read = &digime.Contract{ID: "read", Key: contractKey(), RedirectURI: "http://localhost/"}
	r.libs[library] = lib
	r.reopen()
}

// reopen is restart, without the pauses of a reading.
func (r *rig) reopen() {
	r.restart()
	r.engine.pause = time.Millisecond
}

// pushed puts a file into a library by another way than a folder.
func (r *rig) pushed(library, content string, d digime.Descriptor) {
	r.t.Helper()
	access, err := r.engine.access(r.t.Context(), r.libs[library], "")
	must(r.t, err)
	must(r.t, r.engine.Client.Push(r.t.Context(), r.libs[library].Contract, access, digime.Upload{
		Descriptor: d, Size: int64(len(content)), SHA256: sha256.Sum256([]byte(content)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil },
	}))
}

func described(account, reference string) digime.Descriptor {
	return digime.Descriptor{MimeType: "text/plain", Accounts: []digime.Account{{AccountID: account}}, Reference: []string{reference}}
}

// copies counts how often the library got a content.
func (r *rig) copies(content string) int {
	sum := sha256.Sum256([]byte(content))
	n := 0
	for _, d := range r.api.Deliveries() {
		if d.SHA256 == hex.EncodeToString(sum[:]) {
			n++
		}
	}
	return n
}

// noise is content that no compression makes small.
func noise(n int) string {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // never fails
	return string(b)
}

// The answer is lost, the file has arrived: it is found, and not sent again.
func TestInDoubtFoundInTheLibrary(t *testing.T) {
	for _, c := range []struct{ policy, content string }{
		{"resend", ""}, {"hold", "short"}, {"resend", strings.Repeat("text ", 100_000)}, {"resend", noise(300_000)},
	} {
		r := newRig(t, func(f *Folder) { f.InDoubt, f.AllowEmpty = c.policy, true }, "alice")
		r.readable("alice")
		r.pushed("alice", "another", described("acc-alice", "another.txt"))
		r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoLose})
		path := r.drop("alice", "scan.txt", c.content)
		r.start()
		r.untilState(path, store.Delivered)
		r.until("receipt", func() bool { return exist(path + ReceiptSuffix) })
		if n := r.copies(c.content); n != 1 {
			t.Errorf("%s, %d bytes: %d copies", c.policy, len(c.content), n)
		}
		if got := r.receipt(path); got.MayBeDouble || got.Reason != "found in the library after an answer was lost" || got.Attempts != 1 {
			t.Errorf("%s: receipt %+v", c.policy, got)
		}
	}
}

// lostOnTheWay is a fault by which a whole file does not arrive, and no answer
// comes.
var lostOnTheWay = sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoGarbage, AfterBody: true}

// What is not quite the file is not taken for it.
func TestInDoubtNotFound(t *testing.T) {
	content := strings.Repeat("0123456789", 20_000)
	other := content[:len(content)-1] + "x"
	r := newRig(t, nil, "alice")
	r.readable("alice")
	r.pushed("alice", content, described("acc-alice", "other.txt"))
	r.pushed("alice", content, described("acc-bob", "scan.txt"))
	for _, decoy := range []string{other, content + "x", content[1:], ""} {
		r.pushed("alice", decoy, described("acc-alice", "scan.txt"))
	}
	r.api.Fail(lostOnTheWay)
	path := r.drop("alice", "scan.txt", content)
	r.start()
	r.untilState(path, store.Delivered)
	r.until("receipt", func() bool { return exist(path + ReceiptSuffix) })
	if n := r.copies(content); n != 3 {
		t.Errorf("%d copies of the content, want the two decoys and the file", n)
	}
	if got := r.receipt(path); !got.MayBeDouble {
		t.Errorf("receipt %+v", got)
	}
}

func TestInDoubtNotFoundIsHeldWhereTheFolderSaysSo(t *testing.T) {
	r := newRig(t, func(f *Folder) { f.InDoubt = "hold" }, "alice")
	r.readable("alice")
	r.api.Fail(lostOnTheWay)
	path := r.drop("alice", "scan.txt", "content")
	r.start()
	if f := r.untilState(path, store.Held); !strings.Contains(f.Hint, "push --again") {
		t.Errorf("%+v", f)
	}
	r.until("note", func() bool { return exist(path + NoteSuffix) })
	r.stop()
	files, err := r.engine.Push(t.Context(), []string{path}, true)
	if err != nil || files[0].State != store.Delivered || r.copies("content") != 1 {
		t.Errorf("push --again: %+v, %v, %d copies", files, err, r.copies("content"))
	}
}

// A library that takes files and answers nothing is not filled with copies,
// nor asked for ever.
func TestThirdDoubtIsHeldThoughTheLibraryWasAsked(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.readable("alice")
	fault := lostOnTheWay
	fault.Count = -1
	r.api.Fail(fault)
	path := r.drop("alice", "scan.txt", "content")
	r.start()
	if f := r.untilState(path, store.Held); f.Attempts != mostDoubts {
		t.Errorf("%+v", f)
	}
}

// Where the library cannot be asked it is as the folder says.
func TestInDoubtCannotAsk(t *testing.T) {
	for policy, want := range map[string]store.State{"resend": store.Delivered, "hold": store.Held} {
		r := newRig(t, func(f *Folder) { f.InDoubt = policy }, "alice")
		var log bytes.Buffer
		r.log = &log
		r.readable("alice")
		r.api.Fail(sandbox.Fault{Kind: sandbox.ReqTrigger, Do: sandbox.DoRefuse, Status: 403, Code: "InsufficientScope", Count: -1})
		r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoLose})
		path := r.drop("alice", "scan.txt", "content")
		r.start()
		r.untilState(path, want)
		r.stop()
		if !strings.Contains(log.String(), "could not be asked") {
			t.Errorf("%s: nothing is said of it:\n%s", policy, log.String())
		}
		if n, most := r.copies("content"), map[string]int{"resend": 2, "hold": 1}[policy]; n != most {
			t.Errorf("%s: %d copies, want %d", policy, n, most)
		}
	}
}

// The service died after the last piece had left: the file has arrived.
func TestInDoubtAfterACrashFoundInTheLibrary(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.readable("alice")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 503})
	path := r.drop("alice", "scan.txt", "content")
	r.once()
	if _, ok, err := r.store.Begin(path, time.Now(), true); !ok || err != nil {
		t.Fatal(ok, err)
	}
	r.pushed("alice", "content", described("acc-alice", "scan.txt"))
	r.reopen()
	r.start()
	r.untilState(path, store.Delivered)
	r.until("receipt", func() bool { return exist(path + ReceiptSuffix) })
	if n := r.copies("content"); n != 1 || r.receipt(path).MayBeDouble {
		t.Errorf("%d copies, receipt %+v", n, r.receipt(path))
	}
}

// A file that was delivered under another name meanwhile is no second delivery.
func TestInDoubtFoundButDeliveredMeanwhile(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.readable("alice")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoLose})
	path := r.drop("alice", "scan.txt", "content")
	r.once()
	f, ok, err := r.store.Get(path)
	if !ok || err != nil || f.Doubts != 1 {
		t.Fatalf("%+v, %v", f, err)
	}
	twin := f
	twin.Path = filepath.Join(r.dir, "alice", "twin.txt")
	must(t, r.store.Delivered(twin, time.Now()))
	r.start()
	if f := r.untilState(path, store.Duplicate); f.MayBeDouble {
		t.Errorf("%+v", f)
	}
}

// What a person sends again is not taken for the copy that was there before.
func TestSentAgainIsNotLookedFor(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.readable("alice")
	path := r.drop("alice", "scan.txt", "content")
	r.once()
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoLose})
	if files, err := r.engine.Push(t.Context(), []string{path}, true); err != nil || files[0].State != store.Retrying {
		t.Fatalf("%+v, %v", files, err)
	}
	r.start()
	if f := r.untilState(path, store.Delivered); !f.MayBeDouble || r.copies("content") != 3 {
		t.Errorf("%+v, %d copies", f, r.copies("content"))
	}
}

// In doubt again, it is the person's again.
func TestSentAgainInDoubtIsHeld(t *testing.T) {
	r := newRig(t, func(f *Folder) { f.InDoubt = "hold" }, "alice")
	r.readable("alice")
	path := r.drop("alice", "scan.txt", "content")
	r.once()
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoLose})
	if files, err := r.engine.Push(t.Context(), []string{path}, true); err != nil || files[0].State != store.Held {
		t.Fatalf("%+v, %v", files, err)
	}
}

// A file that breaks off while it is compared is compared anew.
func TestInDoubtFoundThoughTheReadingBreaksOff(t *testing.T) {
	r := newRig(t, nil, "alice")
	var broken atomic.Bool
	r.server.Close()
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Accept") != "application/octet-stream" || broken.Swap(true) {
			r.api.ServeHTTP(w, req)
			return
		}
		whole := httptest.NewRecorder()
		r.api.ServeHTTP(whole, req)
		w.Header().Set("X-Metadata", whole.Header().Get("X-Metadata"))
		w.Header().Set("Content-Length", strconv.Itoa(whole.Body.Len()))
		_, _ = w.Write(whole.Body.Bytes()[:whole.Body.Len()/2])
		panic(http.ErrAbortHandler)
	}))
	r.readable("alice")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoLose})
	content := noise(300_000)
	path := r.drop("alice", "scan.txt", content)
	r.start()
	if f := r.untilState(path, store.Delivered); f.MayBeDouble || r.copies(content) != 1 || !broken.Load() {
		t.Errorf("%+v, %d copies", f, r.copies(content))
	}
}

func TestCandidates(t *testing.T) {
	now := time.Now()
	files := []digime.RemoteFile{{Name: "old", Updated: now.Add(-1)}, {Name: "unknown"}, {Name: "new", Updated: now}, {Name: "newest", Updated: now.Add(1)}}
	var names []string
	for _, f := range candidates(files, now) {
		names = append(names, f.Name)
	}
	if got := strings.Join(names, " "); got != "newest new unknown" {
		t.Errorf("candidates: %s", got)
	}
}

// A library that cannot be asked in passing is asked some times more before the
// file is sent again, and not for ever.
func TestInDoubtIsAskedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		faults, copies int
	}{"found in the end": {2, 1}, "never": {-1, 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil, "alice")
			var log bytes.Buffer
			r.log = &log
			r.readable("alice")
			r.engine.asking = 20 * time.Millisecond
			r.api.Fail(sandbox.Fault{Kind: sandbox.ReqTrigger, Do: sandbox.DoRefuse, Status: 500, Count: c.faults * readTries})
			r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoLose})
			path := r.drop("alice", "scan.txt", "content")
			r.start()
			r.untilState(path, store.Delivered)
			r.stop()
			if n := r.copies("content"); n != c.copies {
				t.Errorf("%d copies", n)
			}
			want := c.faults
			if want < 0 {
				want = mostAsked
			}
			if n := strings.Count(log.String(), "could not be asked"); n != want {
				t.Errorf("asked in vain %d times, want %d:\n%s", n, want, log.String())
			}
		})
	}
}

// Where and when a file was queued by a clock that was wrong then, it is looked
// for all the same.
func TestInDoubtIsLookedForFromTheRightTime(t *testing.T) {
	r := newRig(t, nil, "alice")
	must(t, r.engine.Client.Reach(t.Context()))
	now := time.Now()
	for shift, want := range map[time.Duration]time.Time{-time.Hour: now.Add(-time.Hour), 365 * 24 * time.Hour: now} {
		if got := r.engine.queuedFor(store.File{QueuedAt: now.Add(shift)}, now); !got.Equal(want) {
			t.Errorf("queued %s from now: from %s", shift, got)
		}
	}
}

// Nothing is waited for after a crash: it was no fault of the destination.
func TestDoubtAfterACrashIsDueAtOnce(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse})
	path := r.drop("alice", "report.txt", "content")
	r.once()
	f, ok, err := r.store.Begin(path, time.Now(), true)
	must(t, err)
	if !ok {
		t.Fatalf("nothing to push: %+v", f)
	}
	f.Attempts = 9
	stop, err := r.engine.doubtAfterCrash(r.engine.folders[f.Folder], &f)
	must(t, err)
	now, _, err := r.store.Get(path)
	must(t, err)
	if stop || now.Doubts != 1 || now.NextAttempt.After(time.Now()) {
		t.Errorf("stop %v, %+v", stop, now)
	}
}
