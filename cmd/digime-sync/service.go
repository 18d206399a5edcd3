package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/kardianos/service"
)

// serviceName is the name the service manager knows the daemon by.
const serviceName = "digime-sync"

// stopWait bounds how long a stop waits for serve. That ends within 5 s, but for
// one case: while the answer to a token's renewal is under way, the consent hangs
// on it, and 25 s are worth it. systemd and launchd allow 45 s; Windows gives a
// service 5 s when it shuts down (WaitToKillServiceTimeout), and a renewal that is
// cut off then is repeated at the next start.
const stopWait = 30 * time.Second

// usualStop is how long a stop takes where no renewal is waited for.
const usualStop = 5 * time.Second

// startSeen is how long a service that ends by itself still lives, so that the
// manager has seen it run: it does not restart what ends while it starts.
const startSeen = time.Second

// runService runs serve until it ends by itself or is told to stop: by SIGTERM
// or SIGINT, on Windows by the service manager, Ctrl-C or Ctrl-Break. A stop
// cancels ctx and waits for serve no longer than stopWait. The error is serve's;
// that it was cancelled is none after a stop.
//
// Only the Windows service manager needs a protocol, and kardianos/service
// speaks it. systemd and launchd start the program and send signals, so there it
// runs as in a terminal.
func runService(log *slog.Logger, serve func(ctx context.Context) error) error {
	p := newProgram(log, serve)
	if underWindowsManager() {
		return p.underManager()
	}
	return p.inForeground()
}

// program is serve with a start and a stop. It is a service.Interface.
type program struct {
	log      *slog.Logger
	serve    func(ctx context.Context) error
	ctx      context.Context
	cancel   context.CancelFunc
	stopping chan struct{} // closed by Stop
	ended    chan struct{} // closed when serve has ended
	err      error         // what serve ended with; to be read after ended
}

func newProgram(log *slog.Logger, serve func(ctx context.Context) error) *program {
	p := &program{log: log, serve: serve, stopping: make(chan struct{}), ended: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Start starts serve and returns at once: a manager takes a slow start for a
// failed one.
func (p *program) Start(service.Service) error {
	go func() {
		defer close(p.ended)
		p.err = p.serve(p.ctx)
	}()
	return nil
}

// Stop ends serve, or stops waiting for it after stopWait. It is called once. It
// returns nil even when serve ended with an error: a service that was told to
// stop must not be restarted for the way it stopped.
func (p *program) Stop(service.Service) error {
	close(p.stopping)
	notify("STOPPING=1\nSTATUS=stopping")
	p.cancel()
	select {
	case <-p.ended:
		return nil
	case <-time.After(usualStop):
	}
	notify(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d\nSTATUS=stopping: the answer to a token's renewal is still waited for", stopWait.Microseconds()))
	select {
	case <-p.ended:
	case <-time.After(stopWait - usualStop):
		p.log.Warn("stopped without waiting any longer for what was under way", "waited", stopWait)
	}
	return nil
}

// result returns what serve ended with, nil when it has not.
func (p *program) result() error {
	select {
	case <-p.ended:
	default:
		return nil
	}
	select {
	case <-p.stopping:
		if errors.Is(p.err, context.Canceled) {
			return nil
		}
	default:
	}
	return p.err
}

// inForeground stops at the first signal. The second has the effect it has on
// any program: the process ends at once.
func (p *program) inForeground() error {
	signals := make(chan os.Signal, 1)
	// On Windows Go makes os.Interrupt of Ctrl-C and Ctrl-Break, SIGTERM of a
	// closed console, a logoff and a shutdown.
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	_ = p.Start(nil) // has no error
	select {
	case <-p.ended:
	case s := <-signals:
		signal.Stop(signals)
		p.log.Info("stopping", "signal", s.String())
		_ = p.Stop(nil) // has no error
	}
	return p.result()
}

// underManager runs as a service of Windows. When serve ends by itself, the
// process must end without telling the manager that the service has stopped:
// the manager takes that for a crash and restarts the service as its recovery
// actions say, whether or not they also cover stops with an error
// (SERVICE_FAILURE_ACTIONS_FLAG). So this returns while the manager still sees
// a running service, and the caller is to exit, with a code other than 0.
func (p *program) underManager() error {
	s, err := service.New(p, &service.Config{Name: serviceName})
	if err != nil {
		return fmt.Errorf("prepare service: %w", err)
	}
	managed := make(chan error, 1)
	go func() { managed <- s.Run() }()
	select {
	case err = <-managed:
		return p.managed(err)
	case <-p.ended:
	}
	select {
	case <-p.stopping: // the manager is yet to be told
		return p.managed(<-managed)
	case <-time.After(startSeen):
	}
	err = p.result()
	if err == nil {
		err = errors.New("the service has ended without being told to stop")
	}
	p.log.Error("the service ends", "error", err) // nobody reads its standard error
	return err
}

// managed returns the outcome once the service manager has let go of us.
func (p *program) managed(err error) error {
	if err != nil {
		return fmt.Errorf("run as a service: %w", err)
	}
	return p.result()
}
