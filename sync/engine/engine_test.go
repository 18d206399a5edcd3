package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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
		size   int // of the file; one that is cut must not fit into the system's buffers
		copies int
		state  store.State // before the restart
	}{
		{"ok", nil, 1 << 20, 1, store.Delivered},
		{"refused in passing", &sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 503, AfterBody: true}, 1 << 20, 1, store.Retrying},
		{"body cut", &sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoCut, Bytes: 100_000}, 32 << 20, 1, store.Retrying},
		{"taken but the answer lost", &sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoLose}, 1 << 20, 2, store.Retrying},
	} {
		t.Run(fate.name, func(t *testing.T) {
			r := newRig(t, nil, "alice")
			if fate.fault != nil {
				r.api.Fail(*fate.fault)
			}
			path := r.drop("alice", "scan.txt", strings.Repeat("0123456789", 1+fate.size/10))
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
			r.stall = 10 * time.Minute
			r.restart()
			r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoStall, AfterBody: after})
			path := r.drop("alice", "large.bin", strings.Repeat("x", 32<<20))
			r.start()
			r.until("the push has begun", func() bool { return r.pushes.Load() > 0 })
			if after {
				r.until("the body has arrived", func() bool { return r.bodies.Load() > 0 })
			}
			if took := r.stop(); took > stopLimit {
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
