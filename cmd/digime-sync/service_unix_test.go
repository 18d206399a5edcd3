//go:build linux || darwin

package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

func TestRunServiceStopsAtASignal(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		for how, want := range map[string]int{"wait": 0, "trip": exitChild} {
			cmd := exec.Command(os.Args[0], "child", "run", how)
			said := startCommand(t, cmd)
			if line, err := said.ReadString('\n'); line != "ready\n" {
				t.Fatalf("%s: said %q, %v", how, line, err)
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(said)
			if string(rest) != "stopping\n" || err != nil {
				t.Errorf("%s after %s: said %q, %v", how, sig, rest, err)
			}
			_ = cmd.Wait() // its exit code is looked at
			if got := cmd.ProcessState.ExitCode(); got != want {
				t.Errorf("%s after %s: exit code %d, want %d", how, sig, got, want)
			}
		}
	}
}

func TestRunServiceEndsAtTheSecondSignal(t *testing.T) {
	cmd := exec.Command(os.Args[0], "child", "run", "deaf")
	said := startCommand(t, cmd)
	for _, want := range []string{"ready\n", "stopping\n"} {
		if line, err := said.ReadString('\n'); line != want {
			t.Fatalf("said %q, %v; want %q", line, err, want)
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		t.Fatalf("ended with %v", err)
	}
	if status := exit.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v, want by the second SIGTERM", exit)
	}
}
