package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kardianos/service"
	"github.com/spf13/cobra"
)

// Each system has its own file: service_linux.go, service_darwin.go,
// service_windows.go. They hold
//
//	mayManage()              nil, or why this user cannot change services here
//	mayUninstall()           nil, or why the service must stay
//	askManager(ctx)          what the manager knows of the service
//	installService(ctx, …)   all of it or nothing; says an outcome of those below
//	removeService(ctx)       takes it away, once it is stopped
//	startService(ctx)        and stopService(ctx), which wait until it has

// How the service stands, in the words of `service status`, beside
// stateRunning and stateDegraded.
const (
	stateRestarting   = "restarting" // it ended by itself, and is about to be started again
	stateFailed       = "failed"     // it ended, and is not started again by itself
	stateStopped      = "stopped"
	stateNotInstalled = "not installed"
)

// managed is what a service manager knows of the service.
type managed struct {
	State    string // one of the above; stateRunning while the process is there
	Enabled  bool   // it starts with the machine
	PID      int    // 0: no process
	Text     string // what the service told the manager of itself, "" when it cannot
	Restarts int    // by the manager, since somebody started it
	Config   string // what it was installed with, "" when that is not known
	Reason   string // why it failed or is restarting
	Hint     string
}

// serviceStatus is what `service status --json` prints.
type serviceStatus struct {
	State     string     `json:"state"`
	Reasons   []string   `json:"reasons"`
	Hint      string     `json:"hint,omitempty"`
	Enabled   bool       `json:"enabled"`
	PID       int        `json:"pid,omitempty"`
	Restarts  int        `json:"restarts"`
	Heartbeat *heartbeat `json:"heartbeat"` // null: it does not answer
}

// managerWait bounds a start, stop or restart; a stop takes up to 30 s.
const managerWait = time.Minute

func (a *app) serviceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "service",
		Short: "Install, start, stop the service, and say how it stands",
		Long: "service manages digime-sync as a service of this machine: of systemd, Windows or launchd.\n" +
			"All but status need root or an administrator.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	change := func(use, short, long string, do func(ctx context.Context) error) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Long: long, Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
			if err := mayManage(); err != nil {
				return err
			}
			ctx, stop := interruptible()
			defer stop()
			ctx, cancel := context.WithTimeout(ctx, managerWait)
			defer cancel()
			return do(ctx)
		}}
	}
	cmd.AddCommand(
		change("install", "Install the service, to start with the machine",
			"install puts the service in place, with its account and what it may touch, to run this very program with\n"+
				"the present --config, and to start with the machine. It does not start it now. Where something fails, all\n"+
				"of it is taken back. Installing again changes what has changed.", a.serviceInstall),
		change("uninstall", "Stop and remove the service",
			"uninstall stops the service and removes it. Configuration, consents and state stay.", a.serviceUninstall),
		change("start", "Start the service", "", a.serviceStart),
		change("stop", "Stop the service", "stop waits until the service has stopped, a minute at most.", a.serviceStop),
		change("restart", "Stop the service and start it again", "", a.serviceRestart),
		change("configure", "Open to the service the folders the configuration names",
			"configure writes, under systemd, what of the file system the service may write to: the folders, state folder\n"+
				"and keys the configuration names, also those below /home. Run it when folders were added, then restart the\n"+
				"service. Elsewhere there is nothing to do.", func(context.Context) error { return a.serviceConfigure() }),
		a.serviceStatusCommand())
	return cmd
}

// serviceFiles returns this program's own file, and the configuration's.
func (a *app) serviceFiles() (exe, config string, err error) {
	exe, err = os.Executable()
	if err == nil {
		exe, err = filepath.EvalSymlinks(exe)
	}
	if err != nil {
		return "", "", fmt.Errorf("find this program's file: %w", err)
	}
	config, err = filepath.Abs(a.config())
	if err != nil {
		return "", "", fmt.Errorf("find the configuration: %w", err)
	}
	return exe, config, nil
}

func (a *app) serviceInstall(ctx context.Context) error {
	exe, config, err := a.serviceFiles()
	if err != nil {
		return err
	}
	outcome, err := installService(ctx, exe, config)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s: %s run --config %s\n", outcome, exe, config)
	if _, err := LoadConfig(config); err != nil {
		fmt.Fprintf(a.out, "the configuration cannot be run yet: digime-sync check --config %s\n", config)
	}
	if err := a.serviceConfigure(); err != nil {
		fmt.Fprintf(a.out, "what the service may touch was left as it is: %v\n", err)
	}
	if outcome == outcomeInstalled {
		fmt.Fprintln(a.out, "start it: digime-sync service start")
	}
	return nil
}

// What an installation came to.
const (
	outcomeInstalled = "installed"
	outcomeSame      = "already installed"
	outcomeReplaced  = "replaced (it runs the new one from the next restart on)"
)

func (a *app) serviceUninstall(ctx context.Context) error {
	now, err := askManager(ctx)
	if err != nil {
		return err
	}
	if now.State == stateNotInstalled {
		fmt.Fprintln(a.out, "not installed")
		return nil
	}
	if err := mayUninstall(); err != nil {
		return err
	}
	if now.State != stateStopped && now.State != stateFailed {
		if err := stopService(ctx); err != nil {
			return err
		}
	}
	if err := removeService(ctx); err != nil {
		return err
	}
	fmt.Fprintln(a.out, "uninstalled; configuration, consents and state stay where they are")
	return nil
}

func (a *app) serviceStart(ctx context.Context) error {
	if err := a.mustBeInstalled(ctx); err != nil {
		return err
	}
	if err := startService(ctx); err != nil {
		return err
	}
	fmt.Fprintln(a.out, "started; how it stands: digime-sync service status")
	return nil
}

func (a *app) serviceStop(ctx context.Context) error {
	if err := a.mustBeInstalled(ctx); err != nil {
		return err
	}
	if err := stopService(ctx); err != nil {
		return err
	}
	fmt.Fprintln(a.out, "stopped")
	return nil
}

func (a *app) serviceRestart(ctx context.Context) error {
	if err := a.mustBeInstalled(ctx); err != nil {
		return err
	}
	if err := stopService(ctx); err != nil {
		return err
	}
	return a.serviceStart(ctx)
}

func (a *app) mustBeInstalled(ctx context.Context) error {
	now, err := askManager(ctx)
	if err == nil && now.State == stateNotInstalled {
		err = failure(exitError, "digime-sync service install", "the service is not installed")
	}
	return err
}

func (a *app) serviceStatusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how the service stands",
		Long: "status says whether the service is running, running but degraded (and by what), restarting after a crash,\n" +
			"failed, stopped, or not installed: what the service manager knows, and what the service says of itself.\n" +
			"How the files stand: digime-sync status.\n\n" +
			"It ends with 0 when the service runs, 3 when it runs degraded, 1 when it does not run.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			s, err := a.serviceState()
			if err != nil {
				return err
			}
			if asJSON {
				if err := a.printJSON(s); err != nil {
					return err
				}
			} else {
				a.printService(s)
			}
			switch s.State {
			case stateRunning:
				return nil
			case stateDegraded:
				return errHeld
			default:
				return errNotRunning
			}
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// errNotRunning ends a command that has said by itself that the service does not
// run.
var errNotRunning = errors.New("the service does not run")

// serviceState puts together what the manager and the daemon say.
func (a *app) serviceState() (serviceStatus, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	now, err := askManager(ctx)
	if err != nil {
		return serviceStatus{}, err
	}
	var h *heartbeat
	if now.State == stateRunning || now.State == stateNotInstalled {
		h, err = a.askHeartbeat(ctx, now.Config)
	}
	return combine(now, h, err), nil
}

// combine says how the service stands. A daemon that answers but is not the
// manager's runs in a terminal.
func combine(now managed, h *heartbeat, silent error) serviceStatus {
	s := serviceStatus{State: now.State, Reasons: []string{}, Hint: now.Hint, Enabled: now.Enabled, PID: now.PID, Restarts: now.Restarts, Heartbeat: h}
	if now.Reason != "" {
		s.Reasons = append(s.Reasons, now.Reason)
	}
	if h != nil && h.PID != now.PID {
		s.Reasons = append(s.Reasons, fmt.Sprintf("a daemon runs that is not the service: process %d", h.PID))
		h = nil
	}
	if now.State != stateRunning {
		return s
	}
	switch {
	case h != nil:
		s.State, s.Reasons = h.State, append(s.Reasons, h.Reasons...)
	case now.Text != "": // it has told the manager, which anybody may ask
		s.State, s.Reasons = heard(now.Text, s.Reasons)
	case silent != nil:
		s.State = stateDegraded
		s.Reasons = append(s.Reasons, "it runs, but does not answer: "+silent.Error())
	}
	if s.State == stateDegraded {
		s.Hint = cmp.Or(s.Hint, "digime-sync status; digime-sync check")
	}
	return s
}

// heard takes apart what the service told the manager: a heartbeat's line.
func heard(text string, reasons []string) (string, []string) {
	text, _, _ = strings.Cut(text, "; files: ")
	state, reason, found := strings.Cut(text, ": ")
	if found {
		reasons = append(reasons, reason)
	}
	if state != stateRunning {
		state = stateDegraded
	}
	return state, reasons
}

// askHeartbeat asks the daemon how it stands, patiently enough for one that is
// between two tries. Without --config it asks the one that is installed.
func (a *app) askHeartbeat(ctx context.Context, installed string) (*heartbeat, error) {
	config := a.config()
	if a.configPath == "" && installed != "" {
		config = installed
	}
	var err error
	for range 3 {
		var h heartbeat
		if err = ask(ctx, stateDirIn(config), http.MethodGet, "/health", nil, &h); err == nil {
			return &h, nil
		}
		if !errors.Is(err, errNoDaemon) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	return nil, err
}

func (a *app) printService(s serviceStatus) {
	fmt.Fprintf(a.out, "%s", s.State)
	switch {
	case s.PID != 0 && s.Heartbeat != nil:
		fmt.Fprintf(a.out, " (process %d, version %s, since %s)", s.PID, s.Heartbeat.Version, s.Heartbeat.Started.Local().Format(time.DateTime))
	case s.PID != 0:
		fmt.Fprintf(a.out, " (process %d)", s.PID)
	}
	if s.State != stateNotInstalled && !s.Enabled {
		fmt.Fprint(a.out, "; it does not start with the machine")
	}
	fmt.Fprintln(a.out)
	for _, r := range s.Reasons {
		fmt.Fprintf(a.out, "  why: %s\n", plain(r))
	}
	if s.Restarts > 0 {
		fmt.Fprintf(a.out, "  the manager has restarted it %d times since it was started\n", s.Restarts)
	}
	if s.Hint != "" {
		fmt.Fprintf(a.out, "  do:  %s\n", plain(s.Hint))
	}
}

// handle returns kardianos/service's hold on the service. What its Run calls is
// not needed for installing.
func handle(c *service.Config) (service.Service, error) {
	s, err := service.New(&program{}, c)
	if err != nil {
		return nil, fmt.Errorf("reach the service manager: %w", err)
	}
	return s, nil
}

// bounded does what the manager may take for ever for, and waits until ctx ends.
// kardianos/service has no bound of its own, and on Windows its stop may spin.
func bounded(ctx context.Context, what string, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	case <-ctx.Done():
		return failure(exitError, "digime-sync service status", "%s: the service manager has not done it in time", what)
	}
}
