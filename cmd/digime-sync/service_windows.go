package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/kardianos/service"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"
	"golang.org/x/sys/windows/svc/mgr"

	"github.com/digime-sync/digime-sync/store"
)

// serviceAccount is who the service is: its own virtual account.
const serviceAccount = `NT SERVICE\` + serviceName

// recovery is what the manager does when the service ends by itself: it is
// started again after 1, 5 and 30 s, and the count begins anew after an hour
// without a fault.
var recovery = []mgr.RecoveryAction{
	{Type: mgr.ServiceRestart, Delay: time.Second},
	{Type: mgr.ServiceRestart, Delay: 5 * time.Second},
	{Type: mgr.ServiceRestart, Delay: 30 * time.Second},
}

const recoveryReset = 3600 // seconds

// mayManage says why this user cannot change services here.
func mayManage() error {
	m, err := mgr.Connect() // asks for all rights
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		return failure(exitError, "run it in a window that was opened with: Run as administrator", "only an administrator can change services")
	}
	if err != nil {
		return fmt.Errorf("reach the service manager: %w", err)
	}
	return m.Disconnect()
}

// mayUninstall allows it: Windows knows no owner of a service.
func mayUninstall() error { return nil }

// installService installs the service under an account of its own. What it did
// is taken back when something fails.
func installService(ctx context.Context, exe, config string) (outcome string, err error) {
	m, err := mgr.Connect()
	if err != nil {
		return "", fmt.Errorf("reach the service manager: %w", err)
	}
	defer func() { _ = m.Disconnect() }() // nothing is lost by it
	var undo undoing
	defer func() { err = undo.unless(err) }()
	s, err := m.OpenService(serviceName)
	if errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST) {
		outcome = outcomeInstalled
		s, err = createService(ctx, m, exe, config, &undo)
	}
	if err != nil {
		return "", fmt.Errorf("open service: %w", err)
	}
	defer s.Close()
	if outcome == "" {
		if outcome, err = updateService(s, exe, config, &undo); err != nil {
			return "", err
		}
	}
	if err := protectData(); err != nil {
		return "", err
	}
	return outcome, complete(s)
}

// createService has kardianos/service install the service with its event
// source.
func createService(ctx context.Context, m *mgr.Mgr, exe, config string, undo *undoing) (*mgr.Service, error) {
	k, err := handle(&service.Config{
		Name: serviceName, DisplayName: "digi.me Sync", Description: serviceWords,
		Executable: exe, Arguments: []string{"run", "--config", config}, UserName: serviceAccount,
		Option: service.KeyValue{"DelayedAutoStart": true},
	})
	if err != nil {
		return nil, err
	}
	undo.add(func() error {
		if left, err := m.OpenService(serviceName); err == nil {
			defer left.Close()
			_ = eventlog.Remove(serviceName) // it may not have come to that
			return left.Delete()
		}
		return nil
	})
	if err := bounded(ctx, "install service", k.Install); err != nil {
		return nil, err
	}
	return m.OpenService(serviceName)
}

const serviceWords = "Pushes files from watched folders into digi.me libraries"

// updateService gives a service that is there this program and configuration.
func updateService(s *mgr.Service, exe, config string, undo *undoing) (string, error) {
	before, err := s.Config()
	if err != nil {
		return "", fmt.Errorf("read service: %w", err)
	}
	wanted := before
	wanted.BinaryPathName = windows.ComposeCommandLine([]string{exe, "run", "--config", config})
	old, err := windows.DecomposeCommandLine(before.BinaryPathName)
	if err == nil && slices.Equal(old, []string{exe, "run", "--config", config}) {
		return outcomeSame, nil
	}
	undo.add(func() error { return s.UpdateConfig(before) })
	if err := s.UpdateConfig(wanted); err != nil {
		return "", fmt.Errorf("change service: %w", err)
	}
	return outcomeReplaced, nil
}

// complete sets what kardianos/service leaves out. Ends with an error count as
// faults too, and the service's SID is its own, so that access lists can name it.
func complete(s *mgr.Service) error {
	c, err := s.Config()
	if err != nil {
		return fmt.Errorf("read service: %w", err)
	}
	c.SidType, c.DelayedAutoStart = windows.SERVICE_SID_TYPE_UNRESTRICTED, true
	if err := s.UpdateConfig(c); err != nil {
		return fmt.Errorf("set delayed start and SID: %w", err)
	}
	if err := s.SetRecoveryActions(recovery, recoveryReset); err != nil {
		return fmt.Errorf("set recovery: %w", err)
	}
	if err := s.SetRecoveryActionsOnNonCrashFailures(true); err != nil {
		return fmt.Errorf("set recovery: %w", err)
	}
	return nil
}

// protectData makes the data folder, closed to all but the system,
// administrators and the service, before anything is written there.
func protectData() error {
	state := defaultStateDir()
	if err := makeDataFolder(state); err != nil {
		return err
	}
	if err := store.Protect(dataFolder(state)); err != nil {
		return fmt.Errorf("protect %s: %w", dataFolder(state), err)
	}
	return nil
}

func removeService(ctx context.Context) error {
	k, err := handle(&service.Config{Name: serviceName})
	if err != nil {
		return err
	}
	return bounded(ctx, "remove service", k.Uninstall)
}

func startService(ctx context.Context) error {
	s, done, err := openService()
	if err != nil {
		return err
	}
	defer done()
	if err := s.Start(); err != nil && !errors.Is(err, windows.ERROR_SERVICE_ALREADY_RUNNING) {
		return fmt.Errorf("start service: %w", err)
	}
	return awaitState(ctx, s, svc.Running)
}

func stopService(ctx context.Context) error {
	s, done, err := openService()
	if err != nil {
		return err
	}
	defer done()
	if _, err := s.Control(svc.Stop); err != nil && !errors.Is(err, windows.ERROR_SERVICE_NOT_ACTIVE) &&
		!errors.Is(err, windows.ERROR_SERVICE_CANNOT_ACCEPT_CTRL) { // it stops or starts already
		return fmt.Errorf("stop service: %w", err)
	}
	return awaitState(ctx, s, svc.Stopped)
}

func openService() (s *mgr.Service, done func(), err error) {
	m, err := mgr.Connect()
	if err != nil {
		return nil, nil, fmt.Errorf("reach the service manager: %w", err)
	}
	if s, err = m.OpenService(serviceName); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open service: %w", err), m.Disconnect())
	}
	return s, func() { _, _ = s.Close(), m.Disconnect() }, nil // nothing is lost by it
}

// awaitState waits until the service is in a state, or ctx ends.
func awaitState(ctx context.Context, s *mgr.Service, want svc.State) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := s.Query()
		if err != nil {
			return fmt.Errorf("ask the service manager: %w", err)
		}
		if now.State == want {
			return nil
		}
		select {
		case <-ctx.Done():
			return failure(exitError, "digime-sync service status", "the service manager has not done it in time")
		case <-tick.C:
		}
	}
}

// askManager asks the service manager, which any user may.
func askManager(context.Context) (managed, error) {
	scm, err := windows.OpenSCManager(nil, nil, windows.SC_MANAGER_CONNECT)
	if err != nil {
		return managed{}, fmt.Errorf("reach the service manager: %w", err)
	}
	defer func() { _ = windows.CloseServiceHandle(scm) }()
	name, err := windows.UTF16PtrFromString(serviceName)
	if err != nil {
		return managed{}, err
	}
	h, err := windows.OpenService(scm, name, windows.SERVICE_QUERY_STATUS|windows.SERVICE_QUERY_CONFIG)
	if errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST) {
		return managed{State: stateNotInstalled}, nil
	}
	if err != nil {
		return managed{}, fmt.Errorf("open service: %w", err)
	}
	s := &mgr.Service{Name: serviceName, Handle: h}
	defer s.Close()
	now, err := s.Query()
	if err != nil {
		return managed{}, fmt.Errorf("ask the service manager: %w", err)
	}
	c, err := s.Config()
	if err != nil {
		return managed{}, fmt.Errorf("ask the service manager: %w", err)
	}
	return windowsState(now, c), nil
}

// windowsState says how the service stands. One that ended with an error is
// started again by the manager within 30 s, and does not give up.
func windowsState(now svc.Status, c mgr.Config) managed {
	m := managed{State: stateRunning, Enabled: c.StartType == mgr.StartAutomatic, PID: int(now.ProcessId)}
	if args, err := windows.DecomposeCommandLine(c.BinaryPathName); err == nil && len(args) == 4 && args[2] == "--config" {
		m.Config = args[3]
	}
	if now.State != svc.Stopped {
		return m
	}
	m.State = stateStopped
	switch code := windows.Errno(now.Win32ExitCode); code {
	case windows.ERROR_SUCCESS, windows.ERROR_SERVICE_NEVER_STARTED:
	case windows.ERROR_PROCESS_ABORTED, windows.ERROR_SERVICE_SPECIFIC_ERROR:
		m.State, m.Reason, m.Hint = stateRestarting, "it ended by itself", "look into digime-sync.log in the state folder, and into the event log"
	default:
		m.State, m.Reason = stateFailed, fmt.Sprintf("the service manager could not run it: %v", code)
		m.Hint = "look into the event log"
	}
	return m
}

// eventWriter writes each line as an error into the event log.
type eventWriter struct{ log *eventlog.Log }

func (w eventWriter) Write(line []byte) (int, error) { return len(line), w.log.Error(1, string(line)) }

var events = sync.OnceValues(func() (*eventlog.Log, error) { return eventlog.Open(serviceName) })

// withEvents has a log's errors go into the event log too, where administrators
// look first, if its source is registered.
func withEvents(h slog.Handler) slog.Handler {
	if !underWindowsManager() {
		return h
	}
	log, err := events()
	if err != nil {
		return h // the file has all of it
	}
	return slog.NewMultiHandler(h, slog.NewTextHandler(eventWriter{log}, &slog.HandlerOptions{Level: slog.LevelError}))
}
