//go:build failpoint

package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/store/failpoint"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
)

// By default a few steps fail with one error each; a fault takes some ten seconds to
// be over.
var (
	faultSteps = flag.String("disk.steps", "^(intake.queue|push.record|push.begun|audit.flushed|store.committed|file.flush|vault.saved|after.done)$", "steps that fail, as a regular expression")
	everyErrno = flag.Bool("disk.all", false, "let each of them fail with every error, not with one")
)

// stepsOfTheWay are the marks that files on their way, and tokens, come by.
var stepsOfTheWay = []string{
	"intake.queue", "intake.queued", "push.begin", "push.begun", "push.release", "push.released", "push.answered",
	"push.record", "push.recorded", "refresh.send", "refresh.answered",
	"store.commit", "store.committed", "audit.write", "audit.written", "audit.flushed",
	"file.create", "file.write", "file.flush", "file.rename", "file.renamed",
	"move.rename", "move.renamed", "vault.replace", "vault.saved", "vault.keep",
	"after.receipt", "after.marked", "after.moved", "after.sidecar", "after.delete", "after.deleted", "after.done",
	"intake.verdict", "note.written", "note.remove",
}

// faults is a rig whose steps can be made to fail.
type faults struct {
	*rig
	plan, hits string
	dropped    map[string]int // content hash to how often it must be there
	rounds     int
}

func newFaults(t *testing.T) *faults {
	dir := t.TempDir()
	f := &faults{plan: filepath.Join(dir, "plan"), hits: filepath.Join(dir, "hits"), dropped: map[string]int{}}
	t.Setenv(failpoint.PlanEnv, f.plan)
	t.Setenv(failpoint.LogEnv, f.hits)
	f.rig = newRig(t, func(folder *Folder) {
		switch filepath.Base(folder.Path) {
		case "mover":
			folder.After = "move"
		case "deleter":
			folder.After = "delete"
		}
	}, "keeper", "mover", "deleter")
	f.log = &tail{}
	f.restart()
	return f
}

// tail keeps the log's lines.
type tail struct{ bytes.Buffer }

func (f *faults) countHits(mark string) int {
	data, err := os.ReadFile(f.hits)
	if err != nil {
		return 0
	}
	return strings.Count(string(data), mark+"\n")
}

// round drops files of each kind while one step fails, lets it work again after
// three hits or seconds, and waits until all is well.
func (f *faults) round(mark, errno string) {
	f.t.Helper()
	f.rounds++
	for _, user := range f.users {
		f.api.ExpireAccess(user)
	}
	must(f.t, os.WriteFile(f.hits, nil, 0o600))
	must(f.t, os.WriteFile(f.plan, []byte(mark+" "+errno+"\n"), 0o600))
	var paths []string
	for _, library := range []string{"keeper", "mover", "deleter"} {
		for size, name := range map[int]string{10: "small", int(digime.LastChunk) + 100: "large"} {
			content := fmt.Sprintf("%s %d ", library, f.rounds) + strings.Repeat("x", size)
			sum := sha256.Sum256([]byte(content))
			f.dropped[hex.EncodeToString(sum[:])]++
			paths = append(paths, f.drop(library, fmt.Sprintf("%d-%s.txt", f.rounds, name), content))
		}
	}
	wrong := filepath.Join(f.dir, "keeper", fmt.Sprintf("%d-wrong.txt", f.rounds))
	must(f.t, os.WriteFile(wrong, []byte(wrong), 0o644))
	f.describe(wrong, `{"mimeType": "text/plain", "accounts": [{"accountId": "nobody's"}]}`)
	if mark == "note.remove" { // comes when it is corrected
		f.until("the note of "+wrong, func() bool { return exist(wrong + NoteSuffix) })
		must(f.t, os.Remove(wrong+".meta.json"))
		f.describe(wrong, `{"mimeType": "text/plain", "accounts": [{"accountId": "acc-keeper"}]}`)
		sum := sha256.Sum256([]byte(wrong))
		f.dropped[hex.EncodeToString(sum[:])]++
		paths = append(paths, wrong)
	}
	var first time.Time
	f.until(mark+" is hit with "+errno, func() bool {
		n := f.countHits(mark)
		if n > 0 && first.IsZero() {
			first = time.Now()
		}
		return n >= 3 || n > 0 && time.Since(first) > 3*time.Second // some are come by once for a file
	})
	must(f.t, os.Remove(f.plan))
	for _, path := range paths {
		f.untilState(path, store.Delivered)
		f.until("the after-action of "+path, func() bool { return f.settled(path) })
	}
	if mark != "note.remove" {
		f.until("the note of "+wrong, func() bool { return exist(wrong+NoteSuffix) || f.engine.diverts(filepath.Dir(wrong)) })
	}
	f.until("no trouble after "+mark, func() bool {
		s, err := f.engine.Status("nowhere")
		return err == nil && !strings.Contains(s.Trouble, "cannot be written to")
	})
}

// until is the rig's with more patience: what failed is tried again by a sweep,
// which comes every 15 s, or less often on a slow disk.
func (f *faults) until(what string, fact func() bool) {
	f.t.Helper()
	deadline := time.After(4 * time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !fact() {
		select {
		case <-tick.C:
		case <-deadline:
			s, err := f.engine.Status("")
			f.t.Fatalf("%s: not in time; trouble %q, %v, %v", what, s.Trouble, s.Counts, err)
		}
	}
}

// diverts says whether notes of a folder go to the state folder at present.
func (e *Engine) diverts(folder string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.diverted[folder] != ""
}

// settled says whether nothing is left to do about a delivered file: its receipt
// is beside it or, while the folder could not be written to, in the state folder.
func (f *faults) settled(path string) bool {
	folder := filepath.Dir(path)
	if filepath.Base(folder) == "mover" {
		path = filepath.Join(folder, sentFolder, filepath.Base(path))
		return exist(path) && exist(path+ReceiptSuffix) && exist(path+".meta.json")
	}
	receipt := beside(path, ReceiptSuffix)
	written := exist(receipt) || exist(filepath.Join(f.engine.notesFolder(folder), flat(folder, receipt)))
	return written && (filepath.Base(folder) != "deleter" || !exist(path))
}

// check demands that every file arrived once, that no consent was lost, and
// that the state folder is without fault.
func (f *faults) check() {
	f.t.Helper()
	arrived := map[string]int{}
	for _, d := range f.api.Deliveries() {
		arrived[d.SHA256]++
	}
	for sum, n := range f.dropped {
		if arrived[sum] != n {
			f.t.Errorf("a file arrived %d times, not %d", arrived[sum], n)
		}
	}
	for name, lib := range f.libs {
		f.api.ExpireAccess(f.users[name])
		if _, err := f.engine.Refresh(context.Background(), lib, func(digime.Token) bool { return true }); err != nil {
			f.t.Errorf("the consent of %s is lost: %v", name, err)
		}
	}
	checked, err := f.store.Check(f.vault)
	must(f.t, err)
	if len(checked.Faults) > 0 {
		f.t.Errorf("the state folder has faults: %+v", checked.Faults)
	}
	for _, library := range []string{"keeper", "mover", "deleter"} {
		must(f.t, filepath.WalkDir(filepath.Join(f.dir, library), func(path string, d os.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ReceiptSuffix) || strings.HasSuffix(path, NoteSuffix) {
				if info, statErr := d.Info(); statErr == nil && info.Size() < 50 {
					f.t.Errorf("%s has %d bytes", path, info.Size())
				}
			}
			return err
		}))
	}
}

// Whatever step fails, with whatever a disk says, goes on by itself when it
// works again: every file arrives once, and no consent is lost. The errors are
// dealt out over the steps; -disk.steps=. -disk.all has each step fail with each.
func TestFaultsAtEveryStep(t *testing.T) {
	long(t)
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.DiscardHandler))
	f := newFaults(t)
	f.start()
	errnos := []string{"ENOSPC", "EIO", "EROFS", "EDQUOT"}
	steps := regexp.MustCompile(*faultSteps)
	for i, mark := range stepsOfTheWay {
		if !steps.MatchString(mark) {
			continue
		}
		tried := errnos[i%len(errnos) : i%len(errnos)+1]
		if *everyErrno {
			tried = errnos
		}
		for _, errno := range tried {
			began := time.Now()
			f.round(mark, errno)
			t.Logf("%s %s: %s", mark, errno, time.Since(began).Round(time.Millisecond))
		}
	}
	f.check()
	t.Logf("%d faults, %d files", f.rounds, len(f.dropped))
}

// While the disk is full the service holds on to an answer it cannot record. A
// stop tries it once more: with room by then nothing is in doubt, and without
// the file is sent again and its receipt says so.
func TestStopWithAnAnswerNotRecorded(t *testing.T) {
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.DiscardHandler))
	for name, room := range map[string]bool{"room at the stop": true, "no room": false} {
		t.Run(name, func(t *testing.T) {
			f := newFaults(t)
			must(t, os.WriteFile(f.plan, []byte("push.record ENOSPC\n"), 0o600))
			f.start()
			path := f.drop("keeper", "held.txt", "held")
			f.until("the answer is held on to", func() bool { return f.engine.answers.Load() == 1 && f.countHits("push.record") > 1 })
			if n := len(f.api.Deliveries()); n != 1 {
				t.Fatalf("%d deliveries", n)
			}
			if room {
				must(t, os.Remove(f.plan))
			}
			if took := f.stop(); took > stopLimit {
				t.Errorf("the stop took %s", took)
			}
			_ = os.Remove(f.plan) // it may be gone
			f.restart()
			f.start()
			f.untilState(path, store.Delivered)
			f.until("receipt", func() bool { return exist(path + ReceiptSuffix) })
			want := 2
			if room {
				want = 1
			}
			if n := len(f.api.Deliveries()); n != want || f.receipt(path).MayBeDouble == room {
				t.Errorf("%d deliveries, may be double: %v", n, f.receipt(path).MayBeDouble)
			}
		})
	}
}

// An answer other than a delivery is held on to as well: what the service has
// refused, or asked to send later, is not in doubt because the disk was full then.
func TestRefusalsThatCannotBeRecorded(t *testing.T) {
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.DiscardHandler))
	for name, c := range map[string]struct {
		status int
		ends   store.State
	}{
		"busy": {503, store.Delivered}, "refused": {422, store.Refused},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFaults(t)
			f.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: c.status, Code: "Some"})
			f.onPush = func(*http.Request) {
				if f.pushes.Load() == 1 {
					must(t, os.WriteFile(f.plan, []byte("store.commit ENOSPC\n"), 0o600))
				}
			}
			f.start()
			path := f.drop("keeper", "answered.txt", "answered")
			f.until("the answer is held on to", func() bool { return f.engine.answers.Load() == 1 })
			hits := f.countHits("store.commit")
			f.until("it is tried again", func() bool { return f.countHits("store.commit") > hits+1 })
			must(t, os.Remove(f.plan))
			if s := f.untilState(path, c.ends); s.MayBeDouble {
				t.Errorf("%+v: it was never in doubt", s)
			}
			want := map[store.State]int32{store.Delivered: 2, store.Refused: 1}[c.ends]
			if n := f.pushes.Load(); n != want {
				t.Errorf("%d pushes, want %d", n, want)
			}
		})
	}
}
