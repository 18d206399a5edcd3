package store

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// crashDir is set for the child process of TestKill.
const crashDir = "DIGIME_STORE_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if err := crashChild(dir, os.Getenv(crashDir+"_ROUND")); err != nil {
			fmt.Println("ERROR", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// crashChild works until it is killed and prints each step that was acknowledged.
func crashChild(dir, round string) error {
	fmt.Println("start")
	s, err := Open(dir, nil)
	if err != nil {
		return err
	}
	if s.Repaired() != "" {
		return fmt.Errorf("repaired: %s", s.Repaired())
	}
	failed := make(chan error)
	for worker := range 4 {
		go func() {
			for i := 0; ; i++ {
				path := fmt.Sprintf("/in/%s/%d/%d", round, worker, i)
				if err := crashWork(s, path); err != nil {
					failed <- err
				}
			}
		}()
	}
	return <-failed
}

func crashWork(s *Store, path string) error {
	said := func(step string, err error) error {
		if err == nil {
			fmt.Println(step, path)
		}
		return err
	}
	_, err := s.Enqueue(file(path, "alice", path), t0)
	if said("queued", err) != nil {
		return err
	}
	f, _, err := s.Begin(path, t0, false)
	if said("begun", err) != nil {
		return err
	}
	if err := said("released", s.Released(path)); err != nil {
		return err
	}
	if err := said("delivered", s.Delivered(f, t0)); err != nil {
		return err
	}
	return s.AfterDone(path)
}

// Killed at random moments, also while it opens, the store loses nothing that
// was acknowledged, and the audit log and the database agree.
func TestKill(t *testing.T) {
	const rounds = 40
	rng := rand.New(rand.NewPCG(7, 7))
	dir := t.TempDir()
	acked := map[string]string{} // path to its last acknowledged step
	for round := range rounds {
		for path, step := range killedChild(t, dir, fmt.Sprint(round), rng.IntN(120)) {
			acked[path] = step
		}
		checkCrash(t, dir, acked)
		if t.Failed() {
			t.Fatalf("after round %d", round)
		}
	}
	t.Logf("%d rounds, %d files", rounds, len(acked))
}

// killedChild runs a child, kills it after it has said so many lines, and
// returns the last step of each path.
func killedChild(t *testing.T, dir, round string, lines int) map[string]string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir, crashDir+"_ROUND="+round)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	acked := map[string]string{}
	scan := bufio.NewScanner(out)
	for n := 0; scan.Scan(); n++ {
		if n == lines {
			must(t, cmd.Process.Kill())
		}
		step, path, _ := strings.Cut(scan.Text(), " ")
		if step == "ERROR" {
			t.Fatalf("child: %s", path)
		}
		if path != "" {
			acked[path] = step
		}
	}
	_ = cmd.Wait() // killed
	return acked
}

// checkCrash demands every acknowledged step. What was not acknowledged may have happened too.
func checkCrash(t *testing.T, dir string, acked map[string]string) {
	t.Helper()
	s := open(t, dir)
	defer s.closeFilesAsIfKilled(t)
	if s.Repaired() != "" {
		t.Errorf("Repaired() = %q", s.Repaired())
	}
	logged := map[string]bool{}
	must(t, ReadAudit(dir, func(e Entry) error {
		if e.Event == EventDelivered {
			logged[e.Path] = true
		}
		return nil
	}))
	for path, step := range acked {
		f, _, err := s.Get(path)
		must(t, err)
		switch {
		case step == "queued" && f.State != "",
			step == "begun" && (f.Begun || f.State == Delivered),
			step == "released" && (f.Released || f.State == Delivered),
			step == "delivered" && f.State == Delivered && logged[path]:
		default:
			t.Errorf("%s was acknowledged as %s and is %+v, in the log %v", path, step, f, logged[path])
		}
	}
	must(t, s.Files("", func(f File) error {
		if (f.State == Delivered) != logged[f.Path] {
			t.Errorf("%s is %s, in the log as delivered: %v", f.Path, f.State, logged[f.Path])
		}
		return nil
	}))
}

// closeFilesAsIfKilled leaves no mark of a clean close, so that each round checks everything.
func (s *Store) closeFilesAsIfKilled(t *testing.T) {
	must(t, s.closeFiles())
	must(t, s.lock.release())
}
