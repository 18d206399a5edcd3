package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
)

var (
	crashRounds = flag.Int("crash.rounds", 0, "rounds of TestCrash beyond one for each failpoint")
	crashSeed   = flag.Uint64("crash.seed", 1, "seed of TestCrash")
	crashRace   = flag.Bool("crash.race", false, "build the program that TestCrash kills with the race detector")
)

// TestCrash is the crash programme. A real daemon is killed again and again, at
// every failpoint, on the wire and at random moments, while files are dropped by
// all habits, tokens expire and the service fails; in the end every file must
// have come through.
//
//	go test ./cmd/digime-sync -run 'TestCrash$' -v
//	go test ./cmd/digime-sync -run 'TestCrash$' -v -timeout 2h -crash.rounds=500 -crash.seed=7
func TestCrash(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("the programme ends daemons by signals, which Windows does not have")
	}
	p := newCrashProgram(t)
	marks := marksInSource(t)
	if testing.Short() {
		p.firstStarts()
		p.randomRounds(8)
		p.finish()
		return
	}
	p.firstStarts()
	todo := p.reachable(marks)
	p.rnd.Shuffle(len(todo), func(i, j int) { todo[i], todo[j] = todo[j], todo[i] })
	extra := 10
	if *crashRounds > 0 {
		extra = *crashRounds
	}
	for i, mark := range todo {
		p.markRound(mark, 1)
		p.randomRounds(extra*(i+1)/len(todo) - extra*i/len(todo))
	}
	for range 3 { // what chance or a slow machine has kept from being reached
		p.patience *= 2
		for _, mark := range todo {
			if p.kills[mark] == 0 {
				p.markRound(mark, 1)
			}
		}
	}
	p.finish()
	for _, mark := range todo {
		if p.kills[mark] == 0 && p.short == 0 {
			t.Errorf("failpoint %s was never reached", mark)
		}
	}
	switch {
	case p.short > 0 && *crashRounds > 0:
		t.Errorf("%d rounds short of what was asked for: give more time, -timeout 2h", p.short)
	case p.short > 0: // this machine is slow, and the tests to come need time too
		t.Logf("%d rounds were left out for want of time: with -timeout 2h they are done", p.short)
	}
}

// crashProgram is a run of the programme.
type crashProgram struct {
	t      *testing.T
	rig    *crashRig
	writer *writer
	rnd    *rand.Rand
	began  time.Time
	round  int
	kills  map[string]int // by place
	faults int            // of the service
	person int            // files in doubt that the person decided to send again
	bad    drop           // a file with a bad sidecar
	show   func()         // has the key set show the key that the service signs with
	across string         // folder on another file system, "" if there is none

	patience int // milliseconds that a mark is waited for; it comes much sooner on a machine that has nothing else to do
	short    int // rounds for which go test has given no time
}

func newCrashProgram(t *testing.T) *crashProgram {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"disk", "side"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p := crashProgramOn(t, newCrashRig(t, filepath.Join(dir, "disk"), filepath.Join(dir, "side")))
	p.across = otherFileSystem(t)
	if p.across != "" {
		p.rig.must(os.Symlink(p.across, filepath.Join(p.rig.folder("across"), "Sent")))
	}
	return p
}

func crashProgramOn(t *testing.T, rig *crashRig) *crashProgram {
	t.Logf("seed %d", *crashSeed)
	p := &crashProgram{t: t, rig: rig, rnd: rand.New(rand.NewPCG(*crashSeed, 4)), began: time.Now(), kills: map[string]int{}, patience: 6000}
	p.writer = &writer{t: t, rig: rig, rnd: rand.New(rand.NewPCG(*crashSeed, 5))}
	return p
}

// reachable leaves out the marks that cannot be reached here, each for a reason.
func (p *crashProgram) reachable(marks []string) []string {
	return slices.DeleteFunc(slices.Clone(marks), func(mark string) bool {
		switch {
		case slices.Contains(firstStartMarks, mark): // killed there; in a long run at a later rebuild too
			return p.kills[mark] > 0 && (*crashRounds == 0 || mark == "vault.key")
		case strings.HasPrefix(mark, "across."):
			return p.across == ""
		}
		return false
	})
}

// firstStarts kills the daemon while it makes its state folder, and brings the
// people's consent then.
func (p *crashProgram) firstStarts() {
	for _, mark := range firstStartMarks {
		p.crash(mark, mark+" kill 1\n", scene{}, 2)
	}
	p.crash("vault.key", "vault.key kill 2\n", scene{}, 0)
	p.rig.importTokens()
}

// markRound kills the daemon at the nth time it comes to a mark.
func (p *crashProgram) markRound(mark string, n int) {
	if p.late() {
		p.short++
		return
	}
	s := sceneOf(mark)
	p.crash(mark, fmt.Sprintf("%s%s kill %d\n", s.plan, mark, n), s, len(habits))
}

// randomRounds kills it at a random moment, on the wire, or at the nth mark it
// comes to, whichever that is: early ones are in its recovery.
func (p *crashProgram) randomRounds(n int) {
	for range n {
		if p.late() {
			p.short++
			continue
		}
		files := 3 + p.rnd.IntN(5)
		switch p.rnd.IntN(4) {
		case 0:
			p.crash("at random", "", scene{}, files)
		case 1:
			p.crash(wirePlaces[p.rnd.IntN(len(wirePlaces))], "", scene{}, files)
		case 2:
			p.crash("at any failpoint", fmt.Sprintf("* kill %d\n", 1+p.rnd.IntN(120)), scene{}, files)
		default:
			p.crash("in the recovery", fmt.Sprintf("* kill %d\n", 1+p.rnd.IntN(12)), scene{}, 0)
		}
	}
}

// late tells whether the rest of the time is needed to come to rest and report,
// and for the tests that follow.
func (p *crashProgram) late() bool {
	end, ok := p.t.Deadline()
	return ok && time.Until(end) < 6*time.Minute
}

// crash is a round: a daemon runs while files are dropped, and is killed.
func (p *crashProgram) crash(place, plan string, s scene, files int) {
	p.round++
	if s.prepare != nil {
		s.prepare(p)
	}
	p.fault()
	p.nextMarks()
	p.rig.start(plan)
	d := p.rig.daemon
	if slices.Contains(wirePlaces, place) {
		p.rig.wire.strike(place, func() {
			_ = d.cmd.Process.Kill() // it may have ended
			<-d.gone
		})
	}
	written := make(chan struct{})
	go func() {
		p.writer.write(files)
		close(written)
	}()
	if s.during != nil {
		p.listens()
		p.after(600, func() { s.during(p) })
	}
	wait := p.patience
	if plan == "" {
		wait = 20 + p.rnd.IntN(1200)
	}
	p.after(wait, func() { place = "at random" })
	byItself := place != "at random"
	p.rig.stop(syscall.SIGKILL)
	<-written
	p.mend()
	if !d.killed() {
		p.t.Logf("round %d: the daemon ended by itself: %s", p.round, d.cmd.ProcessState)
		return
	}
	if byItself && strings.Contains(plan, place+" kill") && !p.killedAt(place) {
		p.t.Errorf("round %d: killed by another than %s", p.round, place)
	}
	p.kills[place]++
}

// fault has the service fail now and then, and tokens expire.
func (p *crashProgram) fault() {
	for _, user := range p.rig.users {
		if p.rnd.IntN(3) == 0 {
			p.rig.server.ExpireAccess(user)
		}
	}
	choice := []sandbox.Fault{
		{Kind: sandbox.ReqPush, Do: sandbox.DoLose},
		{Kind: sandbox.ReqPush, Do: sandbox.DoCut, Bytes: 40 << 10},
		{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 503, RetryAfter: "1"},
		{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 502, AfterBody: true},
		{Kind: sandbox.ReqPush, Do: sandbox.DoGarbage},
		{Kind: sandbox.ReqPush, Do: sandbox.DoGarbage, AfterBody: true},
		{Kind: sandbox.ReqRefresh, Do: sandbox.DoLose},
		{Kind: sandbox.ReqRefresh, Do: sandbox.DoRefuse, Status: 500},
		{Kind: sandbox.ReqRefresh, Do: sandbox.DoCut},
		{Kind: sandbox.ReqKeys, Do: sandbox.DoRefuse, Status: 503},
	}
	if n := p.rnd.IntN(2 * len(choice)); n < len(choice) {
		p.rig.server.Fail(choice[n])
		p.faults++
	}
}

func (p *crashProgram) loseAnswer() {
	p.rig.server.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoLose})
	p.faults++
}

// finish brings everything to rest, proves that no consent was lost, and reports.
func (p *crashProgram) finish() {
	p.settle()
	for name, user := range p.rig.users {
		p.rig.server.ExpireAccess(user)
		d, content := p.writer.fresh(crashFolder{name: "tree", after: "move"})
		d.path = filepath.Join(p.rig.folder("tree"), name, filepath.Base(d.path))
		d.library = name
		p.writer.describe(p.writer.put(d, content))
	}
	found := p.settle()
	p.checkLog()
	if out, err := p.rig.run("state", "check"); err != nil {
		p.t.Errorf("state check: %v\n%s", err, out)
	}
	f := p.rig.facts(p.writer.drops())
	musts, receipts := 0, len(f.papers)
	for i := range f.drops {
		if f.drops[i].must {
			musts++
		}
	}
	total := 0
	for _, n := range p.kills {
		total += n
	}
	consents := 0
	for _, l := range p.libraries() {
		if l != "ok" {
			consents++
			p.t.Errorf("a library ends %q", l)
		}
	}
	p.t.Logf("%d rounds, %d kills at %d places, %d faults of the service, %s", p.round, total, len(p.kills), p.faults, time.Since(p.began).Round(time.Second))
	for _, place := range slices.Sorted(maps.Keys(p.kills)) {
		p.t.Logf("%6d  %s", p.kills[place], place)
	}
	p.t.Logf("%d files to be delivered, %d lost, %d in part, %d in the wrong library, %d doubled, %d of these without a lost answer, %d not said in a receipt",
		musts, len(found.lost), len(found.partial), len(found.wrong), found.doubled, len(found.unexplained), len(found.unflagged))
	p.t.Logf("%d arrivals, %d receipts, %d consents lost, %d left in doubt, %d sent again by a person, %d half-written files may have looked settled",
		len(f.arrivals), receipts, consents, found.held, p.person, p.writer.late)
}

// nextMarks begins a new list of the marks that are hit, and keeps the one before.
func (p *crashProgram) nextMarks() {
	data, err := os.ReadFile(p.rig.marks())
	if err == nil {
		err = os.WriteFile(fmt.Sprintf("%s-%04d", p.rig.marks(), p.round-1), data, 0o600)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.t.Fatal(err)
	}
	p.rig.must(os.WriteFile(p.rig.marks(), nil, 0o600))
}

// checkLog looks for what must not be in any log.
func (p *crashProgram) checkLog() {
	data, err := os.ReadFile(filepath.Join(p.rig.side, "daemon.log"))
	p.rig.must(err)
	for what, never := range map[string]string{"a panic": `(?m)^panic:|^fatal error:`, "a data race": `DATA RACE`, "a token": `\b[ar]t-[A-Z2-7]{26}\b`, "a key": `PRIVATE KEY`} {
		if n := len(regexp.MustCompile(never).FindAll(data, -1)); n > 0 {
			p.t.Errorf("the log holds %s, %d times; see %s", what, n, p.keep())
		}
	}
}

func (p *crashProgram) libraries() map[string]string {
	states := map[string]string{}
	for _, l := range p.rig.status().Libraries {
		states[l.Name] = l.State
	}
	return states
}

// settle lets the daemon run in peace until all is well, and ends it in order.
// When that takes longer than five minutes, something is wrong: no wait between
// attempts is longer than the few faults of a round make it, and the rest is work.
func (p *crashProgram) settle() mishaps {
	p.t.Helper()
	p.rig.server.ClearFaults()
	p.rig.start("")
	deadline := time.After(5 * time.Minute)
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-p.rig.daemon.gone:
			p.rig.buried(true)
			p.t.Fatalf("the daemon ended by itself, see %s", p.keep())
		case <-deadline:
			p.rig.stop(syscall.SIGTERM)
			found := judgeCrash(p.rig.facts(p.writer.drops()))
			p.t.Fatalf("round %d: not at rest:\n%s\nsee %s", p.round, strings.Join(found.faults(), "\n"), p.keep())
		}
		s, err := p.rig.ask()
		if err != nil || s.Counts[store.Queued]+s.Counts[store.Pushing]+s.Counts[store.Retrying]+s.Counts[store.Settling] > 0 {
			continue
		}
		p.decide(s)
		if found := judgeCrash(p.rig.facts(p.writer.drops())); len(found.faults()) == 0 {
			p.rig.stop(syscall.SIGTERM)
			return judgeCrash(p.rig.facts(p.writer.drops()))
		}
	}
}

// keep keeps what the daemon left and said, for whoever has to find out, and
// says where.
func (p *crashProgram) keep() string {
	dir := p.t.ArtifactDir()
	if err := os.CopyFS(filepath.Join(dir, "crash"), os.DirFS(filepath.Dir(p.rig.dir))); err != nil {
		p.t.Errorf("keep the state: %v", err)
	}
	if p.across != "" {
		if err := os.CopyFS(filepath.Join(dir, "across"), os.DirFS(p.across)); err != nil {
			p.t.Errorf("keep the state: %v", err)
		}
	}
	return dir + ", with go test -artifacts"
}
