package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
)

const smallConfig = "application_id: app\nstate_dir: state\ncontracts: {}\nfolders: []\n"

// keeping runs an app under systemd's stand-in until the test ends; the channel
// has what it ended with, and log hears what it waits for.
func keeping(t *testing.T, config string, log slog.Handler) (context.CancelFunc, <-chan error) {
	t.Helper()
	was := waitEvery
	waitEvery = 100 * time.Millisecond
	t.Cleanup(func() { waitEvery = was }) // when it has stopped
	a := &app{configPath: config, err: os.Stderr}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		ended <- a.keepServing(ctx, slog.New(log))
	}()
	t.Cleanup(func() { cancel(); within(t, stopped, "it stops") })
	return cancel, ended
}

func TestLockedDatabaseIsWaitedFor(t *testing.T) {
	heard := systemdHears(t)
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(config, []byte(smallConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	other, err := store.Open(filepath.Join(dir, "state"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	cancel, ended := keeping(t, config, slog.DiscardHandler)
	hears(t, heard, "READY=1")
	hears(t, heard, "STATUS=degraded: it waits: open database: ")
	hears(t, heard, "WATCHDOG=1") // waiting is not hanging
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	hears(t, heard, "STATUS=running")
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("stopped with %v", err)
	}
}

func TestBadStateFolderIsWaitedOut(t *testing.T) {
	heard := systemdHears(t)
	dir := t.TempDir()
	config, state := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "state")
	if err := os.WriteFile(config, []byte(smallConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(state, nil, 0o600); err != nil { // a file where the folder should be
		t.Fatal(err)
	}
	keeping(t, config, slog.DiscardHandler)
	hears(t, heard, "STATUS=degraded: it waits: ")
	if err := os.Remove(state); err != nil {
		t.Fatal(err)
	}
	hears(t, heard, "STATUS=running")
}

// journal is a log that is read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) count(words string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), words)
}

// Whatever is wrong with a configuration, the service lives until it is mended.
func TestBadConfigurationIsWaitedOut(t *testing.T) {
	const key = "application_id: app\nstate_dir: state\ncontracts:\n  c: {id: c, private_key_file: c.key, redirect_uri: http://localhost:8421/}\nfolders: []\n"
	for name, c := range map[string]struct {
		before, said, hint string
		mend               map[string]string
	}{
		"a wrong key":           {smallConfig + "nonsense: 1\n", "nonsense", "correct the configuration (digime-sync check)", map[string]string{"config.yaml": smallConfig}},
		"no file":               {"", "there is no such file", "write the configuration", map[string]string{"config.yaml": smallConfig}},
		"the key comes later":   {key, "private_key_file", "correct the configuration (digime-sync check)", map[string]string{"c.key": testKeyPEM()}},
		"a layer that is wrong": {smallConfig, "nonsense", "correct the configuration (digime-sync check)", map[string]string{"conf.d/z.yaml": "# nothing\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			heard := systemdHears(t)
			dir := t.TempDir()
			config := filepath.Join(dir, "config.yaml")
			must(t, os.Mkdir(filepath.Join(dir, "conf.d"), 0o700))
			if c.before != "" {
				must(t, os.WriteFile(config, []byte(c.before), 0o600))
			}
			if c.mend["conf.d/z.yaml"] != "" {
				must(t, os.WriteFile(filepath.Join(dir, "conf.d", "z.yaml"), []byte("nonsense: 1\n"), 0o600))
			}
			var log journal
			cancel, ended := keeping(t, config, slog.NewTextHandler(&log, nil))
			hears(t, heard, "STATUS=degraded: it waits: ")
			hears(t, heard, "READY=1")
			hears(t, heard, "WATCHDOG=1")
			hears(t, heard, "WATCHDOG=1") // the second time of waiting
			if n := log.count("the service waits"); n != 1 || log.count(c.said) != 1 || log.count(c.hint) != 1 {
				t.Errorf("said %d times that it waits, not once with %q and %q:\n%s", n, c.said, c.hint, &log.text)
			}
			for file, text := range c.mend {
				must(t, store.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
			}
			hears(t, heard, "STATUS=running")
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("stopped with %v", err)
			}
		})
	}
}

// Other faults are news, and what goes away while it is waited for is one.
func TestWaitingSaysWhenTheFaultsChange(t *testing.T) {
	heard := systemdHears(t)
	config := filepath.Join(t.TempDir(), "config.yaml")
	must(t, os.WriteFile(config, []byte(smallConfig+"nonsense: 1\n"), 0o600))
	var log journal
	keeping(t, config, slog.NewTextHandler(&log, nil))
	hears(t, heard, "nonsense")
	// Half of it, seen by chance, would be one more fault: it is replaced at once.
	must(t, store.WriteFile(config, []byte(smallConfig+"twaddle: 12\n"), 0o600))
	hears(t, heard, "twaddle")
	must(t, os.Remove(config))
	hears(t, heard, "there is no such file")
	hears(t, heard, "WATCHDOG=1") // the log has been told by now
	if n := log.count("the service waits"); n != 3 {
		t.Errorf("said %d times for three faults:\n%s", n, &log.text)
	}
	must(t, store.WriteFile(config, []byte(smallConfig), 0o600))
	hears(t, heard, "STATUS=running")
}

// While it waits it is not said to be starting each time it has a look.
func TestWaitingIsNotOverwritten(t *testing.T) {
	heard := systemdHears(t)
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yaml")
	must(t, os.WriteFile(config, []byte(smallConfig), 0o600))
	other, err := store.Open(filepath.Join(dir, "state"), slog.New(slog.DiscardHandler))
	must(t, err)
	keeping(t, config, slog.DiscardHandler)
	hears(t, heard, "STATUS=degraded: it waits: ")
	for fed := 0; fed < 3; {
		select {
		case line := <-heard:
			if line == "WATCHDOG=1" {
				fed++
			}
			if line == "STATUS=starting" {
				t.Error("it says that it is starting, and no more why it waits")
			}
		case <-time.After(soon):
			t.Fatal("systemd hears nothing")
		}
	}
	must(t, other.Close())
	hears(t, heard, "STATUS=running")
}

// A state folder of a newer version does not get older by waiting.
func TestNewerStateEndsUnderSystemd(t *testing.T) {
	systemdHears(t)
	dir := t.TempDir()
	config, db := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "state", "state.db")
	must(t, os.WriteFile(config, []byte(smallConfig), 0o600))
	made, err := store.Open(filepath.Dir(db), slog.New(slog.DiscardHandler))
	must(t, err)
	must(t, made.Close())
	data, err := os.ReadFile(db)
	must(t, err)
	schema := func(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte("schema"), n) }
	if !bytes.Contains(data, schema(1)) {
		t.Fatal("the database's schema is not found")
	}
	must(t, os.WriteFile(db, bytes.ReplaceAll(data, schema(1), schema(99)), 0o600))
	_, ended := keeping(t, config, slog.DiscardHandler)
	select {
	case err := <-ended:
		if got := explain(err).code; got != exitConfig || !errors.Is(err, store.ErrNewer) {
			t.Errorf("exit code %d: %v", got, err)
		}
	case <-time.After(soon):
		t.Fatal("it does not end")
	}
}
