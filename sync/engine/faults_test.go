package engine

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
)

var (
	faultRounds = flag.Int("faults.rounds", 1, "rounds of TestWireFaults, of some twenty seconds each")
	faultSeed   = flag.Uint64("faults.seed", 1, "of TestWireFaults; 0 is a new one")
)

// wireFaults are the faults of a round: each at every point where it can be
// told from a success. A page or a 503 of something between that has passed the
// whole file on is an answer, not a lost one.
func wireFaults(random *rand.Rand) []wireFault {
	var all []wireFault
	for _, at := range []string{beforeBody, duringBody, afterBody, inAnswer} {
		for _, do := range []string{doReset, doClose, doSilence, doGarbage, doPage, doBusy} {
			answers := do == doPage || do == doBusy
			if answers && (at == afterBody || at == inAnswer) || do == doGarbage && at == inAnswer {
				continue
			}
			fault := wireFault{do: do, at: at, times: 1}
			if do != doSilence && do != doGarbage { // which take their time
				fault.times += random.IntN(2)
			}
			all = append(all, fault)
		}
	}
	return all
}

// The campaign: the engine and the sandbox with a proxy between them that
// breaks pushes of small and large files in every way at every point. Nothing is
// lost; what comes twice does so because an answer was lost, and its receipt
// says so.
func TestWireFaults(t *testing.T) {
	t.Parallel()
	seed := *faultSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("go test ./sync/engine -run TestWireFaults -faults.rounds=%d -faults.seed=%d", *faultRounds, seed)
	var sum tally
	for range *faultRounds {
		sum.add(wireRound(t, random))
	}
	t.Logf("%d rounds: %d files, %d faults, %d answers lost; %d files lost, %d doubled, %d of them without a lost answer, %d without saying so",
		*faultRounds, sum.files, sum.faults, sum.answers, sum.lost, sum.doubled, sum.unasked, sum.silent)
	if sum.lost+sum.unasked+sum.silent > 0 || sum.faults < sum.files {
		t.Fail()
	}
}

// tally counts what became of files.
type tally struct{ files, faults, answers, lost, doubled, unasked, silent int }

func (t *tally) add(o tally) {
	t.files, t.faults, t.answers, t.lost = t.files+o.files, t.faults+o.faults, t.answers+o.answers, t.lost+o.lost
	t.doubled, t.unasked, t.silent = t.doubled+o.doubled, t.unasked+o.unasked, t.silent+o.silent
}

func wireRound(t *testing.T, random *rand.Rand) (sum tally) {
	libraries := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	r := newRig(t, nil, libraries...)
	p := newFaultProxy(t, r.server.Listener.Addr().String())
	r.server.URL = "http://" + p.listener.Addr().String()
	r.stall = 4 * time.Second // more than a busy machine takes for an answer
	r.restart()
	contents := map[string]string{} // by path
	silent := 0
	for _, size := range []int{1 + random.IntN(2000), 1 << 20} {
		for i, fault := range wireFaults(random) {
			if size == 1<<20 && fault.do == doSilence && fault.at != duringBody {
				continue // takes the client's patience once more, and is as with a small file
			}
			name := fmt.Sprintf("%02d-%d.bin", i, size)
			p.faults[name] = &fault
			library := libraries[random.IntN(len(libraries))]
			if fault.do == doSilence { // each takes the client's patience: all at a time
				library = libraries[silent%len(libraries)]
				silent++
			}
			content := strings.Repeat(fmt.Sprintf("%s %d ", name, random.Uint64()), 1+size/20)[:size]
			contents[r.drop(library, name, content)] = content
		}
	}
	r.start()
	for _, share := range []int{4, 2, 1} { // each has its time
		r.until("they are delivered", func() bool {
			for _, name := range libraries { // nobody waits in a test
				r.engine.wake(name, true)
			}
			n, err := r.store.Counts()
			must(t, err)
			return n[store.Delivered] >= len(contents)/share
		})
	}
	r.stop()
	sum.files, sum.faults = len(contents), p.struck
	for path, content := range contents {
		copies, lost := r.copies(content), p.lost[filepath.Base(path)]
		sum.answers += lost
		switch {
		case copies == 0:
			sum.lost++
			t.Errorf("%s is lost: %+v", filepath.Base(path), p.faults[filepath.Base(path)])
		case copies > 1:
			sum.doubled++
		}
		if copies > 1+lost {
			sum.unasked++
			t.Errorf("%s came %d times, %d answers were lost: %+v", filepath.Base(path), copies, lost, p.faults[filepath.Base(path)])
		}
		if copies > 1 && !r.receipt(path).MayBeDouble {
			sum.silent++
			t.Errorf("%s came %d times and nobody says so", filepath.Base(path), copies)
		}
	}
	return sum
}
