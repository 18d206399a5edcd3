package main

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(atHome{m}, map[string]func(){"digime-sync": main, "xdg-open": browser, "open": browser, "rundll32": browser})
}

// atHome runs the tests without what the environment of whoever runs them would
// tell the program: tests may run in a service, or beside an installed one.
type atHome struct{ tests *testing.M }

func (a atHome) Run() int {
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		ours := strings.HasPrefix(name, "DIGIME_SYNC_") && !strings.HasPrefix(name, "DIGIME_SYNC_TEST_")
		if ours || slices.Contains([]string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", "SOURCE_DATE_EPOCH"}, name) {
			_ = os.Unsetenv(name) // which fails for no name that is there
		}
	}
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		// Most of what the long ones do is wait.
		_ = parallel.Value.Set(strconv.Itoa(2 * runtime.GOMAXPROCS(0))) // which is a number
	}
	return a.tests.Run()
}

// TestScript runs the stories of testdata: the command as it is typed.
func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"until":  until,
			"later":  later,
			"fault":  fault,
			"append": appendTo,
			"exits":  exits,
			"stop":   stop,
			"ports":  ports, "control": control, "consent": decides, "enrolment": brings, "many": many,
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("NO_PROXY", "*")
			return nil
		},
		RequireExplicitExec: true,
	})
}

// patience bounds every wait for a fact. It measures nothing: a machine may be
// slow, and a disk may take its time.
const patience = 2 * time.Minute

// await asks again and again until fact holds.
func await(ts *testscript.TestScript, what string, fact func() bool) {
	deadline := time.After(patience)
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for !fact() {
		select {
		case <-tick.C:
		case <-deadline:
			ts.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// until FILE… waits until all the files are there; "! until FILE…" until none is.
func until(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		path := ts.MkAbs(name)
		await(ts, "until "+name, func() bool {
			_, err := os.Stat(path)
			return (err == nil) != neg
		})
	}
}

// later REGEXP COMMAND ARG… runs a command until what it prints matches.
func later(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: later REGEXP COMMAND ARG…")
	}
	want := regexp.MustCompile(`(?m)` + args[0])
	await(ts, strings.Join(args, " "), func() bool {
		_ = ts.Exec(args[1], args[2:]...) // its output is what counts
		return want.MatchString(ts.ReadFile("stdout") + ts.ReadFile("stderr"))
	})
}

// exits CODE COMMAND ARG… runs a command that must end with this exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARG…")
	}
	code := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("run %s: %v", args[1], err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s\n%s", code, args[0], ts.ReadFile("stderr"))
	}
}

// stop SUBCOMMAND ends what runs in the background; wait NAME tells how it ended.
func stop(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: stop SUBCOMMAND")
	}
	for _, cmd := range ts.BackgroundCmds() {
		if slices.Contains(cmd.Args, args[0]) {
			ts.Check(end(cmd.Process))
			return
		}
	}
	ts.Fatalf("no digime-sync %s runs", args[0])
}

// append FROM TO adds a file's text to another.
func appendTo(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: append FROM TO")
	}
	text := ts.ReadFile(args[1]) + ts.ReadFile(args[0])
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o644))
}

// fault DIR JSON queues a fault in the sandbox that wrote DIR.
func fault(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fault DIR JSON")
	}
	ts.Check(postControl(filepath.Join(ts.MkAbs(args[0]), "config.yaml"), "fail", args[1]))
}

func postControl(config, path, body string) error {
	cfg, err := LoadConfig(config)
	if err != nil {
		return err
	}
	root := strings.TrimSuffix(cfg.API.BaseURL, "/v1.7/")
	resp, err := httpPost(root+"/sandbox/"+path, body)
	if err != nil {
		return err
	}
	if resp != 200 && resp != 204 {
		return fmt.Errorf("sandbox answered %d", resp)
	}
	return nil
}

func httpPost(url, body string) (status int, err error) {
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, nil
}
