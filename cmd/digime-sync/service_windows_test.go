package main

import (
	"crypto/rand"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"
	_ "unsafe" // go:linkname

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/mgr"
)

// interactive is what kardianos/service goes by. Wine runs services in session 1
// and so has it always true.
//
//go:linkname interactive github.com/kardianos/service.interactive
var interactive bool

// TestWindowsServiceChild is the service of the tests below. It is no child like
// the others since the manager's call cannot come in before every init is done.
func TestWindowsServiceChild(t *testing.T) {
	if flag.Arg(0) != "service" {
		t.Skip("the service manager starts this")
	}
	interactive = false
	if err := runChild(flag.Args()[1:]); err != nil {
		t.Fatal(err)
	}
}

// startTestService installs this test binary as a service of its own, starts it, and
// returns it with the file it writes to.
func startTestService(t *testing.T, how string) (s *mgr.Service, said string) {
	t.Helper()
	m, err := mgr.Connect()
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		t.Skip("only an administrator can install a service")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Disconnect() })
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	said = filepath.Join(t.TempDir(), "said")
	s, err = m.CreateService("digime-sync-test-"+rand.Text(), binary,
		mgr.Config{StartType: mgr.StartManual}, "-test.run=^TestWindowsServiceChild$", "service", how, said)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Delete(), s.Close()); err != nil {
			t.Errorf("remove service: %v", err)
		}
	})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	return s, said
}

// reach waits until the service is in a state.
func reach(t *testing.T, s *mgr.Service, want svc.State) svc.Status {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(soon)
	for {
		status, err := s.Query()
		if err != nil {
			t.Fatal(err)
		}
		if status.State == want {
			return status
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("service is in state %d, not %d, after %s", status.State, want, soon)
		}
	}
}

func TestWindowsServiceStops(t *testing.T) {
	for _, how := range []string{"wait", "trip"} { // an error on the way down must not have it restarted
		t.Run(how, func(t *testing.T) {
			s, said := startTestService(t, how)
			reach(t, s, svc.Running)
			if _, err := s.Control(svc.Stop); err != nil {
				t.Fatal(err)
			}
			status := reach(t, s, svc.Stopped)
			if status.Win32ExitCode != 0 || status.ServiceSpecificExitCode != 0 {
				t.Errorf("exit codes %d, %d", status.Win32ExitCode, status.ServiceSpecificExitCode)
			}
			if got, err := os.ReadFile(said); string(got) != "ready\nstopping\n" {
				t.Errorf("it said %q, %v", got, err)
			}
		})
	}
}

// The manager sees a service that ends by itself as crashed, which is what its
// recovery actions are for.
func TestWindowsServiceFails(t *testing.T) {
	s, said := startTestService(t, "fail")
	status := reach(t, s, svc.Stopped)
	if got, want := windows.Errno(status.Win32ExitCode), windows.ERROR_PROCESS_ABORTED; got != want {
		t.Errorf("the manager sees exit code %d, want %d", got, want)
	}
	if got, err := os.ReadFile(said); string(got) != "ready\n" {
		t.Errorf("it said %q, %v", got, err)
	}
}
