package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/digime-sync/digime-sync/store/failpoint"
	"github.com/digime-sync/digime-sync/sync/engine"
)

// daemon runs an engine, and another one in its place when the configuration
// has changed. Whatever was under way is finished or repeated by the new one,
// just as after a restart.
type daemon struct {
	app      *app
	life     *life
	path     string    // of the configuration
	lastSeen fileStamp // only watchConfig's
	parts    *parts
	next     chan successor

	reloading sync.Mutex // one at a time: the last one's word about the configuration must be the newest

	mu      sync.Mutex
	cfg     *Config
	engine  *engine.Engine
	refused error // why the configuration, as it is now, was not taken over
	fleet   *fleetLoop
}

// successor is an engine that takes over from the current one.
type successor struct {
	engine *engine.Engine
	done   chan struct{} // closed when it has
}

// newDaemon makes a daemon of a configuration that was read after its file was
// seen.
func newDaemon(a *app, cfg *Config, seen fileStamp, life *life, p *parts) *daemon {
	d := &daemon{app: a, life: life, path: a.config(), lastSeen: seen, parts: p, next: make(chan successor), cfg: cfg, engine: p.engine}
	d.fleet = newFleetLoop(d)
	return d
}

func (d *daemon) current() *engine.Engine {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.engine
}

// status is the engine's, with what is the matter with the configuration.
func (d *daemon) status(path string, brief bool) (engine.Status, error) {
	s, err := statusOf(d.current(), path, brief)
	s.Running = true
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refused != nil && s.Trouble == "" {
		s.Trouble = "the changed configuration was not taken over, the one before still holds: " + d.refused.Error()
	}
	s.Trouble = strings.Join(said(s.Trouble, cmp.Or(d.fleet.Trouble(), d.cfg.Waiting)), "\n")
	return s, err
}

// run runs the current engine until ctx ends or an engine fails.
func (d *daemon) run(ctx context.Context) error {
	for ctx.Err() == nil {
		inner, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		e := d.current()
		go func() { done <- e.Run(inner) }()
		var err error
		select {
		case err = <-done:
			stop()
			return err
		case next := <-d.next:
			stop()
			err = errors.Join(<-done, failpoint.Hit("reload.stopped"))
			d.mu.Lock()
			d.engine = next.engine
			d.mu.Unlock()
			close(next.done)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reload checks the configuration as it is now and takes it over; a bad one is
// refused with all its faults, and the last good one stays.
func (d *daemon) reload(ctx context.Context) error {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	cfg, log, err := d.app.openDaemon()
	var e *engine.Engine
	if err == nil {
		e, err = d.takeOver(cfg)
	}
	if err == nil {
		err = failpoint.Hit("reload.take")
	}
	d.mu.Lock()
	d.refused = err
	d.mu.Unlock()
	d.fleet.LookNow() // the fleet may have what is missing
	if err != nil {
		return err
	}
	next := successor{e, make(chan struct{})}
	select {
	case d.next <- next:
		<-next.done // within 5 s, as every stop
	case <-ctx.Done():
		return ctx.Err()
	}
	log.Info("configuration taken over", "folders", len(cfg.Folders))
	return nil
}

func (d *daemon) takeOver(cfg *Config) (*engine.Engine, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := cfg.ready(); err != nil && len(d.cfg.Folders) > 0 {
		return nil, err
	}
	if cfg.StateDir != d.cfg.StateDir {
		return nil, failure(exitConfig, "stop the service, move the folder, and start it again",
			"state_dir cannot change from %s to %s while the service runs", d.cfg.StateDir, cfg.StateDir)
	}
	log, err := d.app.logger(cfg.Log.Level)
	if err != nil {
		return nil, err
	}
	e, err := d.parts.newEngine(cfg, log)
	if err == nil {
		d.cfg = cfg
	}
	return e, err
}

// configCheck is how often the configuration file is looked at. A change is
// taken over when the file has stayed the same from one look to the next.
const configCheck = 2 * time.Second

// fileStamp tells one state of the configuration's layers from another.
type fileStamp string

func stampOf(path string) fileStamp { return fileStamp(layerStamp(path)) }

// hangups brings SIGHUP until stop, which never comes on Windows.
func hangups() (hup chan os.Signal, stop func()) {
	hup = make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	return hup, func() { signal.Stop(hup) }
}

// watchConfig takes a changed configuration over by itself, and at once on SIGHUP.
func (d *daemon) watchConfig(ctx context.Context, hup <-chan os.Signal) error {
	tick := time.NewTicker(configCheck)
	defer tick.Stop()
	var before fileStamp
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
			d.lastSeen = stampOf(d.path)
		case <-tick.C:
			now := stampOf(d.path)
			settled := now == before
			before = now
			if !settled || now == d.lastSeen || now == "" {
				continue
			}
			d.lastSeen = now
		}
		if err := d.reload(ctx); err != nil && ctx.Err() == nil {
			log, _ := d.app.logger("info")
			log.Error("the changed configuration was not taken over, the one before still holds", "err", err)
		}
	}
}

func (a *app) reloadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Have the daemon take a changed configuration over now",
		Long:  "reload has the running daemon check the configuration and take it over. A bad one is refused with all\nits faults, and the last good one stays. The daemon also does so by itself some seconds after a change.",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := LoadConfig(a.config())
			if err != nil {
				return err
			}
			ctx, stop := interruptible()
			defer stop()
			err = askRunning(ctx, cfg.StateDir, http.MethodPost, "/reload", nil)
			if err == nil {
				fmt.Fprintln(a.out, "configuration taken over")
			}
			return err
		},
	}
}

func (a *app) releaseCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "release PATH",
		Short: "Send what a folder's hold keeps back now",
		Long:  "release sends a file, or all files below a folder, that the folder's hold: keeps back, at once.",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			list, err := a.act("/release", args[0], "", (*engine.Engine).Release)
			for _, f := range list {
				fmt.Fprintf(a.out, "released   %s\n", plain(f.Path))
			}
			return err
		},
	}
}
