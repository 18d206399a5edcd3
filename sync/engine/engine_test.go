package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
	"github.com/digime-sync/digime-sync/watcher"
)

func TestDroppedFileArrives(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.start()
	path := r.drop("alice", "report.txt", "all well")
	r.untilState(path, store.Delivered)
	r.until("receipt", func() bool { return exist(path + ReceiptSuffix) })

	got := r.api.Deliveries()
	sum := sha256.Sum256([]byte("all well"))
	if len(got) != 1 || got[0].SHA256 != hex.EncodeToString(sum[:]) || got[0].User != r.users["alice"] {
		t.Fatalf("deliveries: %+v", got)
	}
	want := `{"mimeType":"text/plain","accounts":[{"accountId":"acc-alice"}],"reference":["report.txt"]}`
	if string(got[0].Descriptor) != want {
		t.Errorf("descriptor %s, want %s", got[0].Descriptor, want)
	}
	if receipt := r.receipt(path); receipt.State != "delivered" || receipt.MayBeDouble || receipt.Attempts != 1 {
		t.Errorf("receipt %+v", receipt)
	}
}

// Every push in three fates, each followed by a restart: nothing is lost, and
// nothing is double but where an answer was lost, which the receipt says.
func TestThreeFatesThenRestart(t *testing.T) {
	for _, fate := range []struct {
		name   string
		fault  *sandbox.Fault
		copies int
		state  store.State // before the restart
	}{
		{"ok", nil, 1, store.Delivered},
		{"refused in passing", &sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 503, AfterBody: true}, 1, store.Retrying},
		{"body cut", &sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoCut, Bytes: 100_000}, 1, store.Retrying},
		{"taken but the answer lost", &sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoLose}, 2, store.Retrying},
	} {
		t.Run(fate.name, func(t *testing.T) {
			r := newRig(t, nil, "alice")
			if fate.fault != nil {
				r.api.Fail(*fate.fault)
			}
			path := r.drop("alice", "scan.txt", strings.Repeat("0123456789", 1<<17))
			r.once()
			if f := r.state(path); f.State != fate.state {
				t.Fatalf("before the restart: %+v", f)
			}
			r.restart()
			r.start()
			r.untilState(path, store.Delivered)
			r.until("receipt", func() bool { return exist(path + ReceiptSuffix) })
			r.restart()
			r.once()
			if n := len(r.api.Deliveries()); n != fate.copies {
				t.Errorf("%d copies arrived, want %d", n, fate.copies)
			}
			if r.receipt(path).MayBeDouble != (fate.copies > 1) {
				t.Errorf("receipt %+v", r.receipt(path))
			}
		})
	}
}

// A process that died is told apart by what it wrote down before: only a push
// whose last chunk may have left is in doubt.
func TestCrashDuringPush(t *testing.T) {
	for _, released := range []bool{false, true} {
		t.Run(fmt.Sprintf("released=%v", released), func(t *testing.T) {
			r := newRig(t, nil, "alice")
			r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 503})
			path := r.drop("alice", "scan.txt", "content")
			r.once()
			if _, ok, err := r.store.Begin(path, time.Now(), released); err != nil || !ok {
				t.Fatal(ok, err)
			}
			r.restart()
			r.start()
			r.untilState(path, store.Delivered)
			r.until("receipt", func() bool { return exist(path + ReceiptSuffix) })
			if r.receipt(path).MayBeDouble != released {
				t.Errorf("receipt %+v", r.receipt(path))
			}
		})
	}
}

func TestInDoubtHold(t *testing.T) {
	r := newRig(t, func(f *Folder) { f.InDoubt = "hold" }, "alice")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoLose})
	path := r.drop("alice", "scan.txt", "content")
	r.once()
	r.restart()
	r.once()
	if f := r.state(path); f.State != store.Held || !strings.Contains(f.Hint, "push --again") {
		t.Errorf("%+v", f)
	}
	if n := len(r.api.Deliveries()); n != 1 {
		t.Errorf("%d copies arrived", n)
	}
	if !exist(path + NoteSuffix) {
		t.Error("no note")
	}
}

func TestThirdDoubtIsHeld(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoLose, Count: -1})
	path := r.drop("alice", "scan.txt", "content")
	r.start()
	r.untilState(path, store.Held)
	if n := len(r.api.Deliveries()); n != mostDoubts {
		t.Errorf("%d copies, want %d", n, mostDoubts)
	}
}

func TestStopInTheMiddleOfAnUpload(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("body sent=%v", after), func(t *testing.T) {
			r := newRig(t, nil, "alice")
			r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoStall, AfterBody: after})
			path := r.drop("alice", "large.bin", strings.Repeat("x", 8<<20))
			r.start()
			r.until("the push has begun", func() bool { return r.pushes.Load() > 0 })
			if after {
				r.until("the body has arrived", func() bool { return r.bodies.Load() > 0 })
			}
			if took := r.stop(); took > 5*time.Second {
				t.Errorf("stopped after %s", took)
			}
			r.restart()
			r.start()
			r.untilState(path, store.Delivered)
			r.until("receipt", func() bool { return exist(path + ReceiptSuffix) })
			if got := r.receipt(path); got.MayBeDouble != after || len(r.api.Deliveries()) != 1 {
				t.Errorf("receipt %+v, %d deliveries", got, len(r.api.Deliveries()))
			}
		})
	}
}

func TestDeadConsentHoldsItsLibraryAlone(t *testing.T) {
	r := newRig(t, nil, "alice", "bob")
	r.api.ExpireAccess(r.users["alice"])
	r.api.KillRefresh(r.users["alice"])
	r.start()
	one := r.drop("alice", "one.txt", "one")
	f := r.untilState(one, store.Held)
	if !strings.Contains(f.Hint, "token import alice") || f.Code != "InvalidToken" {
		t.Errorf("%+v", f)
	}
	r.until("note", func() bool { return exist(one + NoteSuffix) })
	two := r.drop("alice", "two.txt", "two")
	r.untilState(two, store.Held)
	r.untilState(r.drop("bob", "other.txt", "bob's"), store.Delivered)

	r.consent("alice", time.Hour)
	r.untilState(one, store.Delivered)
	r.untilState(two, store.Delivered)
	r.until("no note", func() bool { return !exist(one + NoteSuffix) })
	for _, d := range r.api.Deliveries() {
		if d.Size == 3 && d.User != r.users["alice"] {
			t.Errorf("alice's file went to %s", d.User)
		}
	}
}

func TestNoTokenIsHeldUntilThereIsOne(t *testing.T) {
	r := newRig(t, nil, "alice")
	must(t, r.vault.Remove("alice"))
	r.start()
	path := r.drop("alice", "one.txt", "one")
	if f := r.untilState(path, store.Held); !strings.Contains(f.Reason, "no consent") {
		t.Errorf("%+v", f)
	}
	r.consent("alice", time.Hour)
	r.untilState(path, store.Delivered)
}

// The refreshed pair is in the vault whatever becomes of the push, and a lost
// answer is repeated at once with the old token.
func TestRefreshIsSavedBeforeItIsUsed(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.consent("alice", -time.Minute)
	before, err := r.vault.Load("alice")
	must(t, err)
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqRefresh, Do: sandbox.DoLose})
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 500, Count: -1})
	path := r.drop("alice", "one.txt", "one")
	r.once()
	if f := r.state(path); f.State != store.Retrying || f.Attempts != 1 {
		t.Fatalf("%+v", f)
	}
	after, err := r.vault.Load("alice")
	must(t, err)
	if bytes.Equal(before, after) {
		t.Fatal("the refreshed token was not saved")
	}
	r.api.ClearFaults()
	r.restart()
	r.start()
	r.untilState(path, store.Delivered)
}

func TestForgedRefreshAnswerIsNotBelieved(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.consent("alice", -time.Minute)
	before, err := r.vault.Load("alice")
	must(t, err)
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqRefresh, Do: sandbox.DoForeignKey, Count: -1})
	path := r.drop("alice", "one.txt", "one")
	r.once()
	after, err := r.vault.Load("alice")
	must(t, err)
	var old, kept digime.Token
	must(t, old.UnmarshalJSON(before))
	must(t, kept.UnmarshalJSON(after))
	if old != kept {
		t.Error("a forged answer reached the vault")
	}
	if f := r.state(path); f.State != store.Retrying {
		t.Errorf("%+v", f)
	}
	r.api.ClearFaults()
	r.start()
	r.untilState(path, store.Delivered)
}

// One library with many files does not keep another's single file waiting.
func TestFairBetweenLibraries(t *testing.T) {
	r := newRig(t, nil, "alice", "bob")
	for i := range 200 {
		r.drop("alice", fmt.Sprintf("%03d.txt", i), fmt.Sprint("file ", i))
	}
	bobs := r.drop("bob", "zzz.txt", "bob's")
	r.once()
	if f := r.state(bobs); f.State != store.Delivered {
		t.Fatalf("%+v", f)
	}
	for i, d := range r.api.Deliveries() {
		if d.User == r.users["bob"] && i > 2*pushesInAll {
			t.Errorf("bob's file was number %d", i)
		}
	}
	if n := len(r.api.Deliveries()); n != 201 {
		t.Errorf("%d deliveries", n)
	}
}

// A file that always fails does not stop its neighbours.
func TestPoisonedFileStopsNobody(t *testing.T) {
	r := newRig(t, nil, "alice")
	var files []string
	for i := range 5 {
		files = append(files, r.drop("alice", fmt.Sprintf("%d.txt", i), fmt.Sprint("file ", i)))
	}
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 500})
	r.start()
	for _, path := range files {
		r.untilState(path, store.Delivered)
	}
}

func TestRefusedFileWaitsForACorrection(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 415, Code: "NoSuchType", Message: "what is this?"})
	path := r.drop("alice", "one.txt", "one")
	r.start()
	f := r.untilState(path, store.Refused)
	if f.Code != "NoSuchType" || f.Message != "what is this?" {
		t.Errorf("%+v", f)
	}
	r.until("note", func() bool { return exist(path + NoteSuffix) })
	note, err := os.ReadFile(path + NoteSuffix)
	must(t, err)
	for _, want := range []string{"one.txt has not been delivered", "NoSuchType what is this?", "Since:", "What to do:"} {
		if !strings.Contains(string(note), want) {
			t.Errorf("the note lacks %q:\n%s", want, note)
		}
	}
	r.describe(path, `{"mimeType": "text/html", "accounts": [{"accountId": "acc-alice"}]}`)
	r.untilState(path, store.Delivered)
	r.until("no note", func() bool { return !exist(path + NoteSuffix) })
}

// Configuration errors hold the library, with the setting to look at.
func TestWrongContractHoldsTheLibrary(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 403, Code: "InsufficientScope", Count: -1})
	path := r.drop("alice", "one.txt", "one")
	r.once()
	if f := r.state(path); f.State != store.Held || !strings.Contains(f.Hint, "contract write") {
		t.Errorf("%+v", f)
	}
}

func TestRetryAfterHoldsTheWholeLibrary(t *testing.T) {
	r := newRig(t, nil, "alice", "bob")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, User: r.users["alice"], Do: sandbox.DoRefuse, Status: 429, RetryAfter: "3600"})
	var alices []string
	for i := range 3 {
		alices = append(alices, r.drop("alice", fmt.Sprint(i, ".txt"), fmt.Sprint(i)))
	}
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, User: r.users["alice"], Do: sandbox.DoRefuse, Status: 429, RetryAfter: "3600", Count: 3})
	bobs := r.drop("bob", "b.txt", "bob's")
	r.start()
	r.untilState(bobs, store.Delivered)
	r.untilState(alices[0], store.Retrying)
	f := r.state(alices[0])
	if f.NextAttempt == nil || time.Until(*f.NextAttempt) < 50*time.Minute {
		t.Errorf("next attempt %v", f.NextAttempt)
	}
	if want := askedToWait(*f.NextAttempt); !strings.Contains(f.Reason, want) {
		t.Errorf("reason %q, want %q", f.Reason, want)
	}
	behind := r.drop("alice", "behind.txt", "behind")
	r.until("a file behind says what it waits for", func() bool {
		f := r.state(behind)
		return f.State == store.Queued && strings.HasPrefix(f.Reason, "digi.me asked to wait until") && f.NextAttempt != nil && time.Until(*f.NextAttempt) > 50*time.Minute
	})
	r.untilState(r.drop("bob", "c.txt", "bob's second"), store.Delivered)
	if n := len(r.api.Deliveries()); n != 2 {
		t.Errorf("%d deliveries, want bob's alone", n)
	}
}

func TestStrangeNames(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.start()
	names := []string{"with space.txt", "-dash.txt", "line\nbreak.txt", "caf\u00e9.txt", "cafe\u0301.txt", "Case.txt", "case.txt",
		strings.Repeat("n", 245), "bad\xff\xfebytes.txt", "100%.txt", "ünï.txt"}
	if runtime.GOOS != "linux" { // what no other system's disks can tell apart or hold
		names = []string{"with space.txt", "-dash.txt", "caf\u00e9.txt", strings.Repeat("n", 240), "100%.txt"}
	}
	var paths []string
	for i, name := range names {
		paths = append(paths, r.drop("alice", name, fmt.Sprint("content ", i)))
	}
	for _, path := range paths {
		r.untilState(path, store.Delivered)
	}
	if n := len(r.api.Deliveries()); n != len(names) {
		t.Errorf("%d deliveries, want %d", n, len(names))
	}
	r.until("each has its receipt", func() bool {
		receipts, err := filepath.Glob(filepath.Join(r.dir, "alice", "*"+ReceiptSuffix))
		must(t, err)
		return len(receipts) == len(names)
	})
}

// What answers at a wrong address says nothing about the file: the library is
// held, and the files go once the address is right.
func TestWrongAddressRefusesNoFile(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoAnswer, Status: 404, Type: "text/plain", Body: "404 page not found\n"})
	path := r.drop("alice", "one.txt", "one")
	r.once()
	if f := r.state(path); f.State != store.Held || !strings.Contains(f.Hint, "api.base_url") {
		t.Fatalf("%+v", f)
	}
	r.restart()
	r.once()
	if f := r.state(path); f.State != store.Delivered {
		t.Errorf("%+v", f)
	}
}

// A person who pushes a held file by name is told what became of it now.
func TestSubmitTriesAHeldLibrary(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 403, Code: "InsufficientScope"})
	path := r.drop("alice", "one.txt", "one")
	r.start()
	r.until("held until its next attempt", func() bool {
		f := r.state(path)
		return f.State == store.Held && f.NextAttempt != nil && time.Until(*f.NextAttempt) > time.Minute
	})
	must(t, r.engine.Submit(t.Context(), path, false))
	f, err := r.engine.Outcome(t.Context(), path)
	if err != nil || f.State != store.Delivered {
		t.Errorf("%+v, %v", f, err)
	}
}

// When the service first hears of a refreshed access token, its pair is in the
// vault: a crash from then on costs nothing.
func TestTokenIsSavedWhenTheServiceHearsOfIt(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.consent("alice", -time.Minute)
	saved := false
	r.onPush = func(req *http.Request) {
		_, rest, _ := strings.Cut(req.Header.Get("Authorization"), ".")
		payload, _, _ := strings.Cut(rest, ".")
		text, err := base64.RawURLEncoding.DecodeString(payload)
		var claims struct {
			Access string `json:"access_token"`
		}
		data, loadErr := r.vault.Load("alice")
		if err = errors.Join(err, json.Unmarshal(text, &claims), loadErr); err != nil {
			t.Error(err)
		}
		saved = claims.Access != "" && bytes.Contains(data, []byte(claims.Access))
	}
	path := r.drop("alice", "one.txt", "one")
	r.once()
	if f := r.state(path); f.State != store.Delivered || !saved {
		t.Errorf("saved %v, %+v", saved, f)
	}
}

// Thousands of libraries are normal: each new person's folder is one.
func BenchmarkLibraries(b *testing.B) {
	for range b.N {
		r := newRig(b, nil)
		root := filepath.Join(r.dir, "people")
		must(b, os.Mkdir(root, 0o755))
		contract := digime.Contract{ID: "write", Key: contractKey()}
		r.folders = []Folder{{Folder: watcher.Folder{Path: root, Recursive: true, Settle: 50 * time.Millisecond}, Library: BySubfolder,
			Contract: &contract, After: "keep", OnFailure: "report", InDoubt: "resend"}}
		const people = 5000
		for i := range people {
			name := fmt.Sprintf("person-%04d", i)
			must(b, r.vault.Save(name, r.api.NewUser("write", time.Hour, 24*time.Hour)))
			must(b, os.Mkdir(filepath.Join(root, name), 0o755))
			path := filepath.Join(root, name, "one.txt")
			must(b, os.WriteFile(path, []byte(name), 0o644))
			r.describe(path, `{"mimeType": "text/plain", "accounts": [{"accountId": "x"}]}`)
		}
		r.restart()
		b.ResetTimer()
		r.once()
		b.StopTimer()
		if n := len(r.api.Deliveries()); n != people {
			b.Fatalf("%d deliveries", n)
		}
		b.ReportMetric(float64(people)/b.Elapsed().Seconds(), "files/s")
	}
}

// Pushes that were under way when the library was held do not end the hold:
// it would hold on in silence.
func TestHoldIsSaidThoughPushesBesideItSucceed(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 403, Code: "InsufficientScope"})
	for i := range 12 {
		r.drop("alice", fmt.Sprint(i, ".txt"), fmt.Sprint("file ", i))
	}
	r.once()
	s, err := r.engine.Status("")
	must(t, err)
	if s.Libraries[0].State != "held" || s.Counts[store.Held] == 0 || s.Counts[store.Queued] != 0 {
		t.Errorf("%v, library %+v", s.Counts, s.Libraries[0])
	}
	r.restart()
	r.once()
	if s, err = r.engine.Status(""); err != nil || s.Counts[store.Delivered] != 12 || s.Libraries[0].State != "ok" {
		t.Errorf("after the restart: %v, library %+v, %v", s.Counts, s.Libraries, err)
	}
}
