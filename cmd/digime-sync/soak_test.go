package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store/failpoint"
	"github.com/digime-sync/digime-sync/sync/engine"
)

var soakMinutes = flag.Float64("soak.minutes", 0.4, "how long TestSoak lets the daemon work")

// TestSoak lets one daemon work through mixed load, and watches that it needs
// no more of anything as time goes by. The database grows with each new file,
// since deliveries are never forgotten, but by no more than is known of it.
//
//	go test ./cmd/digime-sync -run TestSoak -v -timeout 5h -soak.minutes=240
func TestSoak(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes its time")
	}
	if runtime.GOOS != "linux" {
		t.Skip("what a process uses is read from Linux's /proc")
	}
	p := newCrashProgram(t)
	count := filepath.Join(p.rig.side, "goroutines")
	p.rig.env = []string{failpoint.CountEnv + "=" + count}
	p.rig.importTokens()
	p.rig.start("")
	s := &soak{program: p, count: count, began: time.Now(), length: time.Duration(*soakMinutes * float64(time.Minute))}
	s.work()
	s.report()
	p.rig.stop(syscall.SIGTERM)
	p.settle()
	p.finish()
}

// sample is what the daemon uses at a moment.
type sample struct {
	at         time.Duration
	goroutines int
	fds        int
	memory     int // anonymous memory in KiB: without what it has mapped of its database
	database   int // KiB
	audit      int // KiB
	drops      int // so far
}

type soak struct {
	program *crashProgram
	count   string
	began   time.Time
	length  time.Duration
	samples []sample
}

// fewestSamples are what medians can be made of, also where the machine is slow.
const fewestSamples = 16

// work drops files, with rests in between, until the time is over.
func (s *soak) work() {
	p := s.program
	p.listens()
	for n := 1; time.Since(s.began) < s.length || len(s.samples) < fewestSamples; n++ {
		p.fault()
		p.writer.write(4 + p.rnd.IntN(5))
		if n%20 == 0 {
			p.round = n
			p.reload()
		}
		if n%10 == 0 {
			p.writer.cleanUp()
		}
		s.rest(200 + rand.N(600))
		s.sample()
		select {
		case <-p.rig.daemon.gone:
			p.t.Fatalf("the daemon ended by itself, see %s", p.keep())
		default:
		}
	}
}

func (s *soak) rest(ms int) { <-time.After(time.Duration(ms) * time.Millisecond) }

func (s *soak) sample() {
	p := s.program
	proc := fmt.Sprintf("/proc/%d/", p.rig.daemon.cmd.Process.Pid)
	fds, err := os.ReadDir(proc + "fd")
	p.rig.must(err)
	one := sample{at: time.Since(s.began), fds: len(fds), drops: len(p.writer.drops())}
	status, err := os.ReadFile(proc + "status")
	p.rig.must(err)
	_, rest, _ := strings.Cut(string(status), "RssAnon:")
	one.memory, err = strconv.Atoi(strings.Fields(rest)[0])
	p.rig.must(err)
	counted, err := os.ReadFile(s.count)
	if errors.Is(err, fs.ErrNotExist) { // it has come to no mark yet
		return
	}
	p.rig.must(err)
	if one.goroutines, err = strconv.Atoi(string(counted)); err != nil { // just being written
		return
	}
	one.database, one.audit = s.size("state.db"), s.size("audit.log")
	s.samples = append(s.samples, one)
}

func (s *soak) size(name string) int {
	info, err := os.Stat(filepath.Join(s.program.rig.state(), name))
	s.program.rig.must(err)
	return int(info.Size() >> 10)
}

// middle returns the median of a figure over a part of the time, in percent.
func (s *soak) middle(from, to int, of func(sample) int) int {
	var list []int
	for _, one := range s.samples[len(s.samples)*from/100 : len(s.samples)*to/100] {
		list = append(list, of(one))
	}
	if len(list) == 0 {
		s.program.t.Fatalf("only %d samples", len(s.samples))
	}
	slices.Sort(list)
	return list[len(list)/2]
}

func (s *soak) report() {
	t := s.program.t
	last := s.samples[len(s.samples)-1]
	t.Logf("%s, %d files, %d samples", last.at.Round(time.Second), last.drops, len(s.samples))
	for _, figure := range []struct {
		name   string
		of     func(sample) int
		factor float64
		slack  int
	}{
		{"goroutines", func(s sample) int { return s.goroutines }, 1.25, 8},
		{"file descriptors", func(s sample) int { return s.fds }, 1.25, 8},
		{"memory, KiB", func(s sample) int { return s.memory }, 1.3, 12 << 10},
	} {
		warm, end := s.middle(20, 45, figure.of), s.middle(75, 100, figure.of)
		t.Logf("%-17s %6d after the warm-up, %6d in the middle, %6d at the end", figure.name, warm, s.middle(45, 75, figure.of), end)
		if float64(end) > figure.factor*float64(warm)+float64(figure.slack) {
			t.Errorf("%s: grown from %d to %d", figure.name, warm, end)
		}
	}
	first := s.samples[len(s.samples)/5]
	files := max(1, last.drops-first.drops)
	t.Logf("database          %6d KiB after the warm-up, %6d at the end, %d bytes a file; audit log %d KiB, %d bytes a file", first.database, last.database,
		(last.database-first.database)<<10/files, last.audit, (last.audit-first.audit)<<10/files)
	if last.database-first.database > 1<<10+6*files { // doubling its file, and 6 KiB a file
		t.Errorf("the database has grown by %d KiB for %d files", last.database-first.database, files)
	}
}

// cleanUp takes away what is done, as a person does: files with a receipt.
func (w *writer) cleanUp() {
	f := facts{lying: map[string]string{}}
	for _, folder := range crashFolders {
		for _, dir := range []string{w.rig.folder(folder.name), filepath.Join(w.rig.folder(folder.name), "Sent") + string(filepath.Separator)} {
			w.rig.walk(dir, &f)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range f.papers {
		path := strings.TrimSuffix(p.path, engine.ReceiptSuffix)
		if f.lying[path] != "" && f.lying[path] != p.SHA256 {
			continue // something newer lies there
		}
		w.removed(p.SHA256)
		for _, gone := range []string{path, path + ".meta.json", p.path} {
			if err := os.Remove(gone); err != nil && !os.IsNotExist(err) {
				w.must(err)
			}
		}
	}
}

// removed says that a delivered file is not to be found any more.
func (w *writer) removed(sum string) {
	for i := range w.list {
		if w.list[i].sum == sum {
			w.list[i].last = false
		}
	}
}
