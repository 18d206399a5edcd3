package watcher

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var epoch = time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return epoch.Add(time.Duration(seconds * float64(time.Second))) }

func fileOf(path string, size int64) File { return File{Path: path, Sig: Sig{Size: size}} }

func firstPath(s *settler) string {
	if it := s.first(); it != nil {
		return it.file.Path
	}
	return ""
}

func TestSettlerWaitsForStillness(t *testing.T) {
	s := newSettler(5 * time.Second)
	s.observe(fileOf("a", 1), at(0))
	s.observe(fileOf("a", 1), at(4.9))
	if got := firstPath(s); got != "" {
		t.Fatalf("%q settled after 4.9 s", got)
	}
	s.observe(fileOf("a", 2), at(4.95))
	s.observe(fileOf("a", 2), at(9.9))
	if got := firstPath(s); got != "" {
		t.Fatalf("%q settled 4.95 s after its change", got)
	}
	s.observe(fileOf("a", 2), at(9.96))
	if got := firstPath(s); got != "a" {
		t.Fatalf("in line: %q, want a", got)
	}
}

func TestSettlerRestarts(t *testing.T) {
	changes := map[string]func(*File){
		"size":        func(f *File) { f.Sig.Size++ },
		"time":        func(f *File) { f.Sig.ModTime-- },
		"change time": func(f *File) { f.Sig.ChangeTime++ },
		"inode":       func(f *File) { f.Sig.ID = "7" },
		"sidecar":     func(f *File) { f.Sidecar, f.SidecarSig = "b", Sig{Size: 2} },
		"error":       func(f *File) { f.Err = errors.New("ambiguous") },
		"orphan":      func(f *File) { f.Orphan = true },
	}
	for name, change := range changes {
		for _, when := range []string{"settling", "in line", "handed over"} {
			t.Run(name+" while "+when, func(t *testing.T) {
				s := newSettler(5 * time.Second)
				f := fileOf("a", 1)
				s.observe(f, at(0))
				if when != "settling" {
					s.observe(f, at(5))
				}
				if when == "handed over" {
					s.handedOver("a", at(5), true)
				}
				change(&f)
				s.observe(f, at(6))
				if got := firstPath(s); got != "" || s.pending != 1 {
					t.Fatalf("in line: %q, pending %d, want it settling", got, s.pending)
				}
				s.observe(f, at(11))
				if got := firstPath(s); got != "a" {
					t.Fatalf("in line: %q, want a again", got)
				}
			})
		}
	}
}

func TestSettlerKeepsOrderAndNoDuplicates(t *testing.T) {
	s := newSettler(time.Second)
	for _, p := range []string{"a", "b", "c"} {
		s.observe(fileOf(p, 1), at(0))
	}
	for _, p := range []string{"b", "a", "c", "b", "a"} {
		s.observe(fileOf(p, 1), at(1))
	}
	s.observe(fileOf("b", 2), at(2)) // withdrawn, and in line again behind the others
	s.observe(fileOf("b", 2), at(3))
	var order []string
	for p := firstPath(s); p != ""; p = firstPath(s) {
		order = append(order, p)
		s.handedOver(p, at(3), true)
	}
	if want := []string{"a", "c", "b"}; !slices.Equal(order, want) {
		t.Errorf("order %q, want %q", order, want)
	}
}

func TestSettlerDue(t *testing.T) {
	s := newSettler(5 * time.Second)
	s.observe(fileOf("late", 1), at(1))
	s.observe(fileOf("early", 1), at(0))
	if wake, ok := s.wake(); !ok || !wake.Equal(at(5)) {
		t.Errorf("wake %v, want %v", wake, at(5))
	}
	if got := s.due(at(4.9), 10); len(got) != 0 {
		t.Errorf("due after 4.9 s: %q", got)
	}
	if got := s.due(at(6), 1); !slices.Equal(got, []string{"early"}) {
		t.Errorf("due, one at most: %q", got)
	}
	if got := s.due(at(6), 10); !slices.Equal(got, []string{"late"}) {
		t.Errorf("due next: %q", got)
	}
	if got := s.due(at(6), 10); len(got) != 0 {
		t.Errorf("due a second time at once: %q", got)
	}
	if got := s.due(at(11), 10); len(got) != 2 {
		t.Errorf("not observed, due again: %q", got)
	}
}

func TestSettlerAsksTheKnownPredicate(t *testing.T) {
	s := newSettler(5 * time.Second)
	f := fileOf("a", 1)
	news := func(want bool, f File, now time.Time, when string) {
		t.Helper()
		if got := s.news(f, now); got != want {
			t.Errorf("news %s: %v, want %v", when, got, want)
		}
	}
	news(true, f, at(0), "of a new file")
	s.observe(f, at(0))
	news(false, f, at(1), "of one that settles")
	news(true, fileOf("a", 2), at(1), "of a change")
	s.observe(f, at(5))
	s.handedOver("a", at(5), true)
	news(false, f, at(30), "just after it was handed over")
	news(true, f, at(65), "a minute after")
}

func TestSettlerHandsOverAgain(t *testing.T) {
	s := newSettler(5 * time.Second)
	f := fileOf("a", 1)
	s.observe(f, at(0))
	s.observe(f, at(5))
	s.handedOver("a", at(5), true)
	s.observe(f, at(64.9))
	if got := firstPath(s); got != "" || s.pending != 0 {
		t.Fatalf("in line before a minute has passed: %q", got)
	}
	s.observe(f, at(65))
	if got := firstPath(s); got != "a" {
		t.Fatalf("in line after a minute: %q, want a", got)
	}
	s.forget("a")
	if firstPath(s) != "" || len(s.items)+len(s.soon)+s.pending != 0 {
		t.Errorf("not forgotten: %+v", s)
	}
}

func TestSettlerInUse(t *testing.T) {
	s := newSettler(0)
	f := fileOf("a", 1)
	s.observe(f, at(0))
	s.observe(f, at(0))
	if firstPath(s) != "a" {
		t.Fatal("not in line though Settle is 0")
	}
	s.back("a", at(0), false)
	s.observe(f, at(0.9))
	if firstPath(s) != "" {
		t.Error("looked at again within a second")
	}
	s.observe(f, at(1))
	if firstPath(s) != "a" {
		t.Error("not in line after a second")
	}
	s.back("a", at(1), true)
	if got := s.due(at(1), 1); !slices.Equal(got, []string{"a"}) {
		t.Errorf("changed, but due only later: %q", got)
	}
}

// Whatever happens in whatever order, the sums and indexes must hold.
func TestSettlerInvariants(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	s := newSettler(3 * time.Second)
	now := epoch
	for step := range 20_000 {
		now = now.Add(time.Duration(rng.IntN(400)) * time.Millisecond)
		path := fmt.Sprint(rng.IntN(40))
		switch rng.IntN(8) {
		case 0, 1, 2:
			s.observe(fileOf(path, 1), now)
		case 3:
			s.observe(fileOf(path, rng.Int64N(3)), now)
		case 4:
			for _, p := range s.due(now, 5) {
				s.observe(fileOf(p, 1), now)
			}
		case 5:
			if p := firstPath(s); p != "" {
				s.handedOver(p, now, rng.IntN(2) == 0)
			}
		case 6:
			if p := firstPath(s); p != "" {
				s.back(p, now, rng.IntN(2) == 0)
			}
		case 7:
			s.forget(path)
		}
		checkSettler(t, s, step)
	}
}

func checkSettler(t *testing.T, s *settler, step int) {
	t.Helper()
	pending, scheduled := 0, 0
	for path, it := range s.items {
		if it.stage != handed {
			pending++
		}
		if it.at >= 0 {
			scheduled++
		}
		if (it.at < 0) != (it.stage == inLine) || it.at >= 0 && s.soon[it.at] != it {
			t.Fatalf("step %d: %q at stage %d has heap index %d", step, path, it.stage, it.at)
		}
	}
	if pending != s.pending || scheduled != len(s.soon) {
		t.Fatalf("step %d: pending %d, counted %d; heap %d, counted %d", step, s.pending, pending, len(s.soon), scheduled)
	}
}
