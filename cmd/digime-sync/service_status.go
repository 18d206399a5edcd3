package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

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
		h, err = a.askHeartbeat(ctx)
	}
	s := combine(now, h, err)
	s.add(coversPackage(), "")
	if config, err := a.installedConfig(ctx); err == nil && s.State != stateNotInstalled {
		s.add(unopened(config), openHint())
	}
	return s, nil
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
		s.State, s.Reasons, s.Hint = h.State, append(s.Reasons, h.Reasons...), h.Hint
	case errors.Is(silent, errHangs): // whatever it has told the manager before
		s.State, s.Hint = stateDegraded, cmp.Or(s.Hint, "digime-sync service restart")
		s.Reasons = append(s.Reasons, "it hangs: "+silent.Error())
	case now.Text != "": // it has told the manager, which anybody may ask
		s.State, s.Reasons = heard(now.Text, s.Reasons)
	case errors.Is(silent, fs.ErrPermission):
		s.Reasons = append(s.Reasons, "only its administrator can ask it how it stands")
	case silent != nil:
		s.State = stateDegraded
		s.Reasons = append(s.Reasons, "it runs, but does not answer: "+silent.Error())
	}
	if s.State == stateDegraded {
		s.Hint = cmp.Or(s.Hint, "digime-sync status; digime-sync check")
	}
	return s
}

// add notes what keeps a service that runs from doing all it should.
func (s *serviceStatus) add(why, hint string) {
	if why == "" {
		return
	}
	s.Reasons, s.Hint = append(s.Reasons, why), cmp.Or(s.Hint, hint)
	if s.State == stateRunning {
		s.State = stateDegraded
	}
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
// between two tries.
func (a *app) askHeartbeat(ctx context.Context) (*heartbeat, error) {
	config, err := a.installedConfig(ctx)
	if err != nil {
		return nil, err
	}
	for range 3 {
		var h heartbeat
		if err = askSoon(ctx, 5*time.Second, stateDirOf(config), "/health", nil, &h); err == nil {
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
		fmt.Fprintf(a.out, "  why: %s\n", strings.ReplaceAll(plain(r), "\n", "\n       "))
	}
	if s.Restarts > 0 {
		fmt.Fprintf(a.out, "  the manager has restarted it %d times since it was started\n", s.Restarts)
	}
	if s.Hint != "" {
		fmt.Fprintf(a.out, "  do:  %s\n", plain(s.Hint))
	}
}

// checkService is the check whether the service may touch what the
// configuration names, where this is the configuration it runs with.
func (a *app) checkService() []finding {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	now, err := askManager(ctx)
	if err != nil || now.Config == "" {
		return nil
	}
	if _, config, err := a.serviceFiles(); err != nil || samePath(now.Config) != samePath(config) {
		return nil
	}
	f := finding{Check: "service", Subject: serviceName, State: checkOK, Message: "what the configuration names is open to it"}
	if why := unopened(now.Config); why != "" {
		f.State, f.Message, f.Hint = checkWarn, why, openHint()
	}
	return []finding{f}
}
