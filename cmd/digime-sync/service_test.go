package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// runChild runs as main does, with a serve that says what it does, to its
// standard output or FILE, and ends as it is told by HOW.
func runChild(args []string) error {
	out := os.Stdout
	if len(args) > 1 {
		var err error
		if out, err = os.Create(args[1]); err != nil {
			return err
		}
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	return runService(log, func(ctx context.Context) error { return act(ctx, out, args[0]) })
}

// act is a serve: "wait" ends when it is told to, "trip" ends then with an
// error, "deaf" does not end; "fail" and "end" end by themselves.
func act(ctx context.Context, out io.Writer, how string) error {
	fmt.Fprintln(out, "ready")
	switch how {
	case "fail":
		return errors.New("it fails by itself")
	case "end":
		return nil
	}
	<-ctx.Done()
	fmt.Fprintln(out, "stopping")
	switch how {
	case "trip":
		return errors.New("it trips while it stops")
	case "deaf":
		select {}
	}
	return fmt.Errorf("act: %w", ctx.Err())
}

func TestRunServiceEndsAsServeDoes(t *testing.T) {
	for how, want := range map[string]struct {
		code   int
		stderr string
	}{
		"end":  {0, ""},
		"fail": {exitChild, "it fails by itself"},
	} {
		cmd := exec.Command(os.Args[0], "child", "run", how)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if got := cmd.ProcessState.ExitCode(); got != want.code || !strings.Contains(stderr.String(), want.stderr) {
			t.Errorf("%s: exit code %d, want %d; it said %q, %q, %v", how, got, want.code, out, &stderr, err)
		}
	}
}

func TestProgramStops(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		serve  func(ctx context.Context) error
		waited time.Duration
		result error
	}{
		"at once":            {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, 0, nil},
		"without an error":   {func(ctx context.Context) error { <-ctx.Done(); return nil }, 0, nil},
		"with an error":      {func(ctx context.Context) error { <-ctx.Done(); return broken }, 0, broken},
		"after some work":    {func(ctx context.Context) error { <-ctx.Done(); time.Sleep(4 * time.Second); return ctx.Err() }, 4 * time.Second, nil},
		"after too much":     {func(ctx context.Context) error { <-ctx.Done(); time.Sleep(time.Minute); return broken }, stopWait, nil},
		"before it is asked": {func(context.Context) error { return broken }, 0, broken},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var said bytes.Buffer
				p := newProgram(slog.New(slog.NewTextHandler(&said, nil)), c.serve)
				start := time.Now()
				if err := p.Start(nil); err != nil || time.Since(start) != 0 {
					t.Errorf("start took %s: %v", time.Since(start), err)
				}
				synctest.Wait()
				if err := p.Stop(nil); err != nil {
					t.Errorf("stop: %v", err)
				}
				if got := time.Since(start); got != c.waited {
					t.Errorf("stop took %s, want %s", got, c.waited)
				}
				if got := p.result(); !errors.Is(got, c.result) || (got == nil) != (c.result == nil) {
					t.Errorf("result %v, want %v", got, c.result)
				}
				<-p.ended // a bubble must not be left behind
				if warned := strings.Contains(said.String(), "level=WARN"); warned != (c.waited == stopWait) {
					t.Errorf("the log says %q", &said)
				}
			})
		})
	}
}

// That serve was cancelled is an error when nobody has stopped it.
func TestProgramCancelledByItself(t *testing.T) {
	p := newProgram(slog.New(slog.DiscardHandler), func(context.Context) error { return context.Canceled })
	if err := p.inForeground(); !errors.Is(err, context.Canceled) {
		t.Errorf("result %v", err)
	}
}
