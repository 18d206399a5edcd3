package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/engine"
	"github.com/digime-sync/digime-sync/watcher"
)

// systemdHears stands in for systemd: what it hears comes out of the channel.
func systemdHears(t *testing.T) <-chan string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("systemd is Linux's")
	}
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	heard := make(chan string, 1000)
	deaf, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			for line := range strings.Lines(string(buf[:n])) {
				select {
				case heard <- strings.TrimSpace(line):
				case <-deaf: // nobody listens to what is told any more
					return
				}
			}
		}
	}()
	t.Cleanup(func() { close(deaf); _ = conn.Close(); <-done })
	return heard
}

// hears waits until systemd hears something with these words.
func hears(t *testing.T, heard <-chan string, words string) {
	t.Helper()
	var all []string
	for deadline := time.After(soon); ; {
		select {
		case line := <-heard:
			if strings.Contains(line, words) {
				return
			}
			all = append(all, line)
		case <-deadline:
			t.Fatalf("systemd has not heard %q within %s, but %q", words, soon, all)
		}
	}
}

// A watchdog that is fed while the main loop hangs guards nothing.
func TestPulse(t *testing.T) {
	var p pulse
	first := time.Unix(1000, 0)
	for i, c := range []struct {
		round time.Time
		want  bool
	}{
		{time.Time{}, true}, // it has not begun
		{time.Time{}, true},
		{first, true},
		{first, false}, // it hangs
		{first, false},
		{first.Add(-time.Hour), true}, // it goes on; the clock was set back
	} {
		if got := p.felt(c.round); got != c.want {
			t.Errorf("look %d: felt %t, want %t", i, got, c.want)
		}
	}
}

// stuckDaemon is a daemon whose main loop has gone round and does so no more.
func stuckDaemon(t *testing.T) (*daemon, *life) {
	t.Helper()
	dir := t.TempDir()
	a := &app{configPath: filepath.Join(dir, "config.yaml"), err: os.Stderr}
	if err := os.WriteFile(a.configPath, []byte(smallConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := LoadConfig(a.configPath)
	if err != nil {
		t.Fatal(err)
	}
	p, err := openParts(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = p.engine.Run(ctx) }()
	for deadline := time.Now().Add(soon); p.engine.Round().IsZero(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the main loop does not begin")
		}
	}
	cancel()
	within(t, ended, "the engine ends")
	l := newLife(a.configPath)
	return newDaemon(a, cfg, stampOf(a.configPath), l, p), l
}

func TestWatchdogOfAStuckLoopIsNotFed(t *testing.T) {
	heard := systemdHears(t)
	t.Setenv("WATCHDOG_USEC", "200000")
	d, l := stuckDaemon(t)
	l.enter(d, nil)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = l.beat(ctx) }()
	fed := 0
	for said := 0; said < 6; { // each time it says how it stands, it might have fed
		select {
		case line := <-heard:
			if line == "WATCHDOG=1" {
				fed++
			} else {
				said++
			}
		case <-time.After(soon):
			t.Fatal("systemd hears nothing")
		}
	}
	cancel()
	within(t, ended, "the heartbeat ends")
	if fed > 1 { // the first look cannot tell
		t.Errorf("fed %d times", fed)
	}
}

// A database that is rebuilt takes its time, and must not be broken off for it.
func TestWatchdogIsFedWhileTheDatabaseOpens(t *testing.T) {
	heard := systemdHears(t)
	t.Setenv("WATCHDOG_USEC", "100000")
	broken := errors.New("broken")
	err := fedWhile(func() error {
		for range 3 {
			hears(t, heard, "WATCHDOG=1")
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("its error is %v", err)
	}
}

func TestHeartbeatOfFolders(t *testing.T) {
	h := heartbeat{State: stateRunning}
	h.folders([]engine.FolderStatus{
		{Path: "/in/ok", State: watcher.StateOK},
		{Path: "/in/new", State: watcher.StateUnseen, Reason: "not looked at yet"},
	})
	if h.State != stateRunning || len(h.Reasons) > 0 {
		t.Errorf("a folder that is not looked at yet is no alarm: %s, %q", h.State, h.Reasons)
	}
	h.folders([]engine.FolderStatus{{Path: "/in/gone", State: watcher.StateMissing, Reason: "it is not there"}})
	if want := []string{"folder /in/gone is missing: it is not there"}; !reflect.DeepEqual(h.Reasons, want) || h.State != stateDegraded {
		t.Errorf("%s: %q", h.State, h.Reasons)
	}
}

// What a person paused is said by the service, with the command that ends it.
func TestHeartbeatOfPauses(t *testing.T) {
	d, _ := stuckDaemon(t)
	must(t, d.current().Pause("alice", "new contract"))
	h := heartbeat{State: stateRunning}
	d.health(&h, 0)
	if h.State != stateDegraded || !strings.Contains(strings.Join(h.Reasons, "\n"), "paused: library alice since ") || h.Hint != "to go on: digime-sync resume alice" {
		t.Errorf("%s: %q, hint %q", h.State, h.Reasons, h.Hint)
	}
}

// Trouble with the fleet does not hide that of an enrolment file, nor the engine's.
func TestEveryTroubleIsSaid(t *testing.T) {
	d, _ := stuckDaemon(t)
	d.fleet.note(troubleFetch, "common.yaml: gone\nvm.yaml: gone")
	d.fleet.note(troubleEnrol, "enrolment file: garbage")
	d.refused = errNotConfigured
	h := heartbeat{State: stateRunning}
	d.health(&h, 0)
	if n := len(h.Reasons); n < 2 || h.Reasons[n-2] != "common.yaml: gone\nvm.yaml: gone" || h.Reasons[n-1] != "enrolment file: garbage" {
		t.Errorf("%q", h.Reasons)
	}
	s, err := d.status(d.cfg.StateDir, true)
	must(t, err)
	if want := errNotConfigured.Error() + "\ncommon.yaml: gone\nvm.yaml: gone\nenrolment file: garbage"; !strings.HasSuffix(s.Trouble, want) {
		t.Errorf("trouble %q, want %q", s.Trouble, want)
	}
	r, err := d.fleet.status()
	must(t, err)
	if said := r.words(); !strings.Contains(said, "a changed configuration was refused\nan enrolment file was not taken") {
		t.Errorf("the report says %q", said)
	}
	var out bytes.Buffer
	a := &app{out: &out}
	a.printService(serviceStatus{State: stateDegraded, Enabled: true, Reasons: h.Reasons[len(h.Reasons)-2:]})
	if want := "  why: common.yaml: gone\n       vm.yaml: gone\n  why: enrolment file: garbage\n"; !strings.Contains(out.String(), want) {
		t.Errorf("printed\n%s", &out)
	}
	out.Reset()
	must(t, a.summary(s))
	if want := "\n         vm.yaml: gone\n         enrolment file: garbage\n"; !strings.Contains(out.String(), want) {
		t.Errorf("printed\n%s", &out)
	}
}

func TestHeartbeatLine(t *testing.T) {
	h := heartbeat{State: stateRunning, Counts: map[store.State]int{store.Delivered: 7, store.Held: 2, store.Queued: 3}}
	if got, want := h.line(), "running; files: 3 queued, 2 held, 7 delivered"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	h.lacks("no room", "make room")
	h.lacks("no network", "")
	const want = "degraded: no room (and 1 more); files: 3 queued, 2 held, 7 delivered"
	if got := h.line(); got != want || h.Hint != "make room" {
		t.Errorf("%q, want %q; hint %q", got, want, h.Hint)
	}
	state, reasons := heard(want, nil)
	if state != stateDegraded || len(reasons) != 1 || reasons[0] != "no room (and 1 more)" {
		t.Errorf("of that line is understood: %s, %q", state, reasons)
	}
	if state, reasons := heard("running; files: 1 delivered", nil); state != stateRunning || len(reasons) != 0 {
		t.Errorf("running is understood as %s, %q", state, reasons)
	}
	if state, _ := heard("starting", nil); state != stateDegraded {
		t.Errorf("starting is understood as %s", state)
	}
}

func TestServiceStatusFromBothSides(t *testing.T) {
	beat := &heartbeat{PID: 7, State: stateDegraded, Reasons: []string{"no room"}, Hint: "make room"}
	for name, c := range map[string]struct {
		now     managed
		h       *heartbeat
		silent  error
		state   string
		reasons int
	}{
		"it says so itself":         {managed{State: stateRunning, PID: 7, Text: "running"}, beat, nil, stateDegraded, 1},
		"it told the manager":       {managed{State: stateRunning, PID: 7, Text: "running"}, nil, nil, stateRunning, 0},
		"it says nothing":           {managed{State: stateRunning, PID: 7}, nil, nil, stateDegraded, 1},
		"it hangs":                  {managed{State: stateRunning, PID: 7, Text: "running"}, nil, errHangs, stateDegraded, 1},
		"it may not be asked":       {managed{State: stateRunning, PID: 7}, nil, fs.ErrPermission, stateRunning, 1},
		"another daemon answers":    {managed{State: stateRunning, PID: 8, Text: "degraded: locked"}, beat, nil, stateDegraded, 2},
		"only one in a terminal":    {managed{State: stateNotInstalled}, beat, nil, stateNotInstalled, 1},
		"it is about to be started": {managed{State: stateRestarting, Reason: "signal 9"}, nil, nil, stateRestarting, 1},
	} {
		s := combine(c.now, c.h, cmp.Or(c.silent, errNoDaemon))
		if s.State != c.state || len(s.Reasons) != c.reasons {
			t.Errorf("%s: %s, %q", name, s.State, s.Reasons)
		}
	}
}

func TestUndoingTakesBackAllOfIt(t *testing.T) {
	var done []string
	step := func(name string, err error) func() error {
		return func() error { done = append(done, name); return err }
	}
	var u undoing
	u.add(step("first", nil))
	u.add(step("second", errors.New("cannot be taken back")))
	if err := u.unless(nil); err != nil || len(done) != 0 {
		t.Errorf("took back %q of what went well, %v", done, err)
	}
	fault := errors.New("fault")
	if err := u.unless(fault); !errors.Is(err, fault) || !strings.Contains(err.Error(), "cannot be taken back") || !reflect.DeepEqual(done, []string{"second", "first"}) {
		t.Errorf("took back %q, %v", done, err)
	}
}

func TestBoundedManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), managerWait)
		defer cancel()
		release := make(chan struct{})
		err := bounded(ctx, "stop service", func() error { <-release; return nil })
		if err == nil || !strings.Contains(err.Error(), "not done it in time") {
			t.Errorf("a manager that takes for ever: %v", err)
		}
		close(release)
		synctest.Wait()
	})
}

func TestOlderVersions(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"1.2.3", "1.2.4", true}, {"1.2.3", "v1.10.0", true}, {"1.10.0", "1.9.9", false}, {"1.2.3", "1.2.3", false},
		{"1.2", "1.2.0", false}, {"1.2.0-rc1", "1.2.0", true}, {"1.2.0", "1.2.0-rc1", false}, {"1.2.0-rc1", "1.2.0-rc2", true},
		{"0.1.0-dev", "0.1.0", true},
	} {
		if got := older(c.a, c.b); got != c.want {
			t.Errorf("%s before %s: %t", c.a, c.b, got)
		}
	}
	if newerNotice("1.0.0", "") != "" || newerNotice("1.0.0", "1.0.0") != "" || newerNotice("1.0.0", "v1.1.0") != "version 1.1.0 is there; this is 1.0.0" {
		t.Error("wrong notice")
	}
}
