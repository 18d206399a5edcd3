package watcher

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// patienceOfTests bounds every wait for a fact; it is only ever reached by a failing test.
const patienceOfTests = 60 * time.Second

func never(File) bool { return false }

// logOf writes the log where a failing test shows it.
func logOf(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// recorded gives a log and what tells whether something was said in it.
func recorded(t *testing.T) (log *slog.Logger, said func(string) bool) {
	var mu sync.Mutex
	var all strings.Builder
	sink := writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return all.Write(p)
	})
	log = slog.New(slog.NewTextHandler(io.MultiWriter(sink, t.Output()), &slog.HandlerOptions{Level: slog.LevelDebug}))
	return log, func(what string) bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Contains(all.String(), what)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// run runs a watcher until the test ends.
func run(t *testing.T, w *Watcher) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// start runs a watcher of one folder with events.
func start(t *testing.T, f Folder, known func(File) bool) *Watcher {
	t.Helper()
	if f.Mode == "" {
		f.Mode = ModeEvents
	}
	w := New([]Folder{f}, known, logOf(t))
	run(t, w)
	return w
}

// files is where the files of the last folder come.
func files(w *Watcher) <-chan File { return w.trees[len(w.trees)-1].out }

// receive takes one file.
func receive(t *testing.T, w *Watcher) File {
	t.Helper()
	select {
	case f := <-files(w):
		return f
	case <-time.After(patienceOfTests):
		t.Fatalf("no file came within %v; status %+v", patienceOfTests, w.Status())
		panic("unreachable")
	}
}

// collect takes files until all wanted paths have come.
func collect(t *testing.T, w *Watcher, want map[string]bool) map[string]File {
	t.Helper()
	got := map[string]File{}
	for left := len(want); left > 0; {
		f := receive(t, w)
		if !want[f.Path] {
			t.Errorf("%q came unasked for", f.Path)
			continue
		}
		if _, again := got[f.Path]; !again {
			left--
		}
		got[f.Path] = f
	}
	return got
}

// until waits for a fact that nothing announces.
func until(t *testing.T, what string, fact func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patienceOfTests)
	for !fact() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never happened: %s", what)
		}
	}
}

func scanned(w *Watcher) func() bool {
	return func() bool { return !w.Status()[0].LastScan.IsZero() }
}

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mkdir(t *testing.T, elem ...string) string {
	t.Helper()
	path := filepath.Join(elem...)
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
