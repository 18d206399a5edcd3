package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"
	"unsafe"

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

// mayUninstall refuses to take the Windows package's service away.
func mayUninstall() error {
	if version := rememberedSeeds()["Version"]; version != "" {
		return failure(exitError, "msiexec /x digime-sync_"+version+"_windows_"+runtime.GOARCH+".msi, or Settings, Apps; to keep it from starting: sc config digime-sync start= disabled",
			"the service belongs to the Windows package (MSI) of version %s", version)
	}
	return nil
}

// installService installs the service under an account of its own. What it did
// is taken back when something fails.
func installService(ctx context.Context, exe, config string) (outcome string, err error) {
	if version := rememberedSeeds()["Version"]; version != "" {
		return "", failure(exitError, "digime-sync service start; to repair it: msiexec /fa digime-sync_"+version+"_windows_"+runtime.GOARCH+".msi",
			"the Windows package (MSI) of version %s has installed the service already", version)
	}
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
	before, _, err := readService(s.Handle)
	if err != nil {
		return "", err
	}
	wanted := []string{exe, "run", "--config", config}
	if args, err := windows.DecomposeCommandLine(before); err == nil && slices.Equal(args, wanted) {
		return outcomeSame, nil
	}
	undo.add(func() error { return setCommand(s.Handle, before) })
	return outcomeReplaced, setCommand(s.Handle, windows.ComposeCommandLine(wanted))
}

// readService returns what a service runs and when it starts. The library's own
// way asks for more, and fails where the system does not know all of it.
func readService(h windows.Handle) (command string, start uint32, err error) {
	buf := make([]byte, 8<<10) // as large as it may be: QueryServiceConfig
	c := (*windows.QUERY_SERVICE_CONFIG)(unsafe.Pointer(&buf[0]))
	var needed uint32
	if err := windows.QueryServiceConfig(h, c, uint32(len(buf)), &needed); err != nil {
		return "", 0, fmt.Errorf("read service: %w", err)
	}
	return windows.UTF16PtrToString(c.BinaryPathName), c.StartType, nil
}

func setCommand(h windows.Handle, command string) error {
	path, err := windows.UTF16PtrFromString(command)
	if err == nil {
		const same = windows.SERVICE_NO_CHANGE
		err = windows.ChangeServiceConfig(h, same, same, same, path, nil, nil, nil, nil, nil, nil)
	}
	if err != nil {
		return fmt.Errorf("change service: %w", err)
	}
	return nil
}

// complete sets what kardianos/service leaves out. Ends with an error count as
// faults too, and the service's SID is its own, so that access lists can name it.
func complete(s *mgr.Service) error {
	sid := uint32(windows.SERVICE_SID_TYPE_UNRESTRICTED) // SERVICE_SID_INFO has no more than that
	err := windows.ChangeServiceConfig2(s.Handle, windows.SERVICE_CONFIG_SERVICE_SID_INFO, (*byte)(unsafe.Pointer(&sid)))
	if err != nil && !errors.Is(err, windows.ERROR_INVALID_LEVEL) { // Wine does not know it
		return fmt.Errorf("set SID: %w", err)
	}
	if err := s.SetRecoveryActions(recovery, recoveryReset); err != nil {
		return fmt.Errorf("set recovery: %w", err)
	}
	err = s.SetRecoveryActionsOnNonCrashFailures(true)
	if err != nil && !errors.Is(err, windows.ERROR_INVALID_LEVEL) {
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
	command, start, err := readService(h)
	if err != nil {
		return managed{}, err
	}
	return windowsState(now, command, start), nil
}

// windowsState says how the service stands. One that ended with an error is
// started again by the manager within 30 s, and does not give up.
func windowsState(now svc.Status, command string, start uint32) managed {
	m := managed{State: stateRunning, Enabled: start == mgr.StartAutomatic, PID: int(now.ProcessId)}
	if args, err := windows.DecomposeCommandLine(command); err == nil && len(args) == 4 && args[2] == "--config" {
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

// reportEvent tells the event log of an error and what to do about it.
func reportEvent(err error) {
	log, openErr := events()
	if openErr != nil {
		return // whoever asked gets the error itself
	}
	e := explain(err)
	text := "error: " + e.err.Error()
	if e.hint != "" {
		text += "\r\nhint: " + e.hint
	}
	_ = log.Error(1, text)
}
