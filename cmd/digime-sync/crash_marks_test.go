package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/engine"
)

// marksInSource finds the name of every failpoint in the program's source.
func marksInSource(t *testing.T) []string {
	t.Helper()
	call := regexp.MustCompile(`failpoint\.Hit\("([a-z.]+)"\)`)
	anyCall := regexp.MustCompile(`failpoint\.Hit\(`)
	var names []string
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		found := call.FindAllStringSubmatch(string(text), -1)
		if len(found) != len(anyCall.FindAllString(string(text), -1)) {
			t.Errorf("%s: a failpoint's name must be a literal of small letters and dots", path)
		}
		for _, m := range found {
			names = append(names, m[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	if once := slices.Compact(slices.Clone(names)); len(once) != len(names) {
		t.Errorf("failpoints must differ in name: %q", names)
	}
	if len(names) < 40 {
		t.Fatalf("only %d failpoints found: the test looks at the wrong place", len(names))
	}
	return names
}

// scene is what has to be so for a mark to be reached.
type scene struct {
	plan    string                // lines of the plan before the kill
	prepare func(p *crashProgram) // while no daemon runs
	during  func(p *crashProgram) // some time after the start, with the first files dropped
}

// scenes are for marks that ordinary rounds do not come by; the beginning of
// the name decides. firstStart and the damaged database have rounds of their own.
var scenes = []struct {
	prefix string
	scene
}{
	{"audit.cut", scene{prepare: (*crashProgram).tearAudit}},
	{"audit.reopen", scene{plan: "audit.flushed ENOSPC 1\n"}},
	{"store.reopen", scene{plan: "store.commit ENOSPC 2\n"}},
	{"store.closed", scene{during: (*crashProgram).terminate}},
	{"reload.", scene{during: (*crashProgram).reload}},
	{"vault.restore", scene{prepare: (*crashProgram).loseKeyCopy}},
	{"compact.", scene{prepare: (*crashProgram).waste}},
	{"prune.", scene{prepare: (*crashProgram).outlive}},
	{"note.", scene{prepare: (*crashProgram).badSidecar, during: (*crashProgram).mendSidecar}},
	{"refresh.kept", scene{prepare: (*crashProgram).changeKey}},
	{"push.doubt", scene{prepare: (*crashProgram).loseAnswer}},
	{"rebuild.", scene{prepare: (*crashProgram).damage}},
	{"store.migrate", scene{prepare: (*crashProgram).damage}},
}

func sceneOf(mark string) scene {
	for _, s := range scenes {
		if strings.HasPrefix(mark, s.prefix) {
			return s.scene
		}
	}
	return scene{}
}

// firstStartMarks are reached when there is no state folder yet.
var firstStartMarks = []string{"rebuild.create", "store.migrate", "rebuild.replace", "rebuild.replaced", "vault.key"}

// tearAudit leaves a line of the audit log half written.
func (p *crashProgram) tearAudit() {
	f, err := os.OpenFile(filepath.Join(p.rig.state(), "audit.log"), os.O_APPEND|os.O_WRONLY, 0)
	p.rig.must(err)
	_, err = f.WriteString(`0badc0de {"time":"2026-`)
	p.rig.must(err)
	p.rig.must(f.Close())
}

func (p *crashProgram) terminate() { _ = p.rig.daemon.cmd.Process.Signal(syscall.SIGTERM) }

func (p *crashProgram) reload() {
	p.rig.configure(fmt.Sprint("round ", p.round))
	_ = p.rig.daemon.cmd.Process.Signal(syscall.SIGHUP)
}

// badSidecar drops a file that mendSidecar makes good, once a note is beside it.
func (p *crashProgram) badSidecar() {
	d, content := p.writer.fresh(crashFolders[0])
	p.writer.put(d, content)
	p.rig.must(os.WriteFile(d.path+".meta.json", []byte("{not yet"), 0o644))
	p.bad = d
}

func (p *crashProgram) mendSidecar() {
	deadline := time.After(patience)
	for {
		if _, err := os.Stat(p.bad.path + engine.NoteSuffix); err == nil {
			break
		}
		select {
		case <-deadline:
			p.t.Fatalf("there is no note beside %s", p.bad.path)
		case <-p.rig.daemon.gone:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
	p.mend()
}

// changeKey has the service sign with a key that its key set shows after the
// round only, and all tokens renewed.
func (p *crashProgram) changeKey() {
	show, err := p.rig.server.RotateKey(p.round%2 == 0)
	p.rig.must(err)
	p.show = show
	for _, user := range p.rig.users {
		p.rig.server.ExpireAccess(user)
	}
}

// mend makes the sidecar good that badSidecar left, if one is, and shows the key
// that changeKey has hidden.
func (p *crashProgram) mend() {
	if p.show != nil {
		p.show()
		p.show = nil
	}
	if p.bad.path != "" {
		p.writer.describe(p.bad)
	}
	p.bad = drop{}
}

func (p *crashProgram) loseKeyCopy() {
	p.rig.must(os.Remove(filepath.Join(p.rig.state(), "vault.key.copy")))
}

// waste leaves the database with many free pages.
func (p *crashProgram) waste() {
	s, err := store.Open(p.rig.state(), nil)
	p.rig.must(err)
	reason := strings.Repeat("x", 12<<10)
	each := func(do func(path string) error) {
		var wg sync.WaitGroup
		for i := range 2000 {
			wg.Go(func() { p.rig.must(do(fmt.Sprintf("/nowhere/%d", i))) })
		}
		wg.Wait()
	}
	each(func(path string) error { return s.Put(store.File{Path: path, State: store.Ignored, Reason: reason}) })
	each(s.Forget)
	p.rig.must(s.Close())
}

// outlive leaves records of files that are gone for long.
func (p *crashProgram) outlive() {
	s, err := store.Open(p.rig.state(), nil)
	p.rig.must(err)
	folder := p.rig.folder(crashFolders[0].name)
	for i := range 10 {
		p.rig.must(s.Put(store.File{Path: filepath.Join(folder, fmt.Sprint("gone-", i)), Folder: folder, State: store.Ignored,
			UpdatedAt: time.Now().AddDate(-1, 0, -i)}))
	}
	p.rig.must(s.SetPruned(time.Now().AddDate(0, 0, -2)))
	p.rig.must(s.Close())
}

// damage waits until nothing is in doubt, since that is known to the database
// alone, and spoils the database then.
func (p *crashProgram) damage() {
	p.settle()
	p.writer.rested()
	f, err := os.OpenFile(filepath.Join(p.rig.state(), "state.db"), os.O_RDWR, 0)
	p.rig.must(err)
	junk := make([]byte, 64)
	for page := range int64(2) { // both meta pages
		_, err = f.WriteAt(junk, page*int64(os.Getpagesize())+16)
		p.rig.must(err)
	}
	p.rig.must(f.Close())
}

// killedAt says whether the daemon, which is gone, was killed by the mark itself.
func (p *crashProgram) killedAt(mark string) bool {
	data, err := os.ReadFile(p.rig.marks())
	p.rig.must(err)
	hits := strings.Fields(string(data))
	return len(hits) > 0 && hits[len(hits)-1] == mark
}

// listens waits until the daemon answers, or has gone: before that a signal ends
// it as it ends any process.
func (p *crashProgram) listens() {
	deadline := time.After(patience)
	for {
		if _, err := p.rig.ask(); err == nil {
			return
		}
		select {
		case <-p.rig.daemon.gone:
			return
		case <-deadline:
			p.t.Fatalf("round %d: the daemon does not answer", p.round)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// after calls fn when so many milliseconds have passed, unless the daemon has
// gone by then.
func (p *crashProgram) after(ms int, fn func()) {
	select {
	case <-p.rig.daemon.gone:
	case <-time.After(time.Duration(ms) * time.Millisecond):
		fn()
	}
}
