package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/engine"
)

func (a *app) runCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Watch the folders and push, until stopped",
		Long: "run is the daemon, in the foreground or under a service manager. It stops within 5 seconds on SIGTERM,\n" +
			"SIGINT or the service manager's word, or within 30 while the answer to a token's renewal is waited for;\n" +
			"nothing is lost by that. Under a service manager it waits for a configuration that can be run, for a\n" +
			"database that another process has, and for a state folder that is full or missing; it says so (digime-sync\n" +
			"service status) and goes on by itself. In a terminal each of these is an error, and a configuration that\n" +
			"cannot be run ends it with 78; so does a state folder of a newer version, under systemd too.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			boot, err := a.logger("info")
			if err != nil {
				return err
			}
			// The configuration is read only then: a manager wants an answer before.
			return runService(boot, func(ctx context.Context) error {
				if underManager() {
					return a.keepServing(ctx, boot)
				}
				return a.serveOnce(ctx, newLife(a.config()))
			})
		},
	}
}

// serveOnce reads the configuration and serves. An error from before an engine
// ran is a *startError.
func (a *app) serveOnce(ctx context.Context, life *life) error {
	seen := stampOf(a.config())
	cfg, log, err := a.configured(life)
	if err != nil {
		return notStarted(err)
	}
	return serve(ctx, a, cfg, seen, life, log)
}

// serve is the program: it opens the parts, and runs the engine, the control
// channel, the watch over the configuration and the heartbeat until ctx ends or
// one of them fails.
func serve(ctx context.Context, a *app, cfg *Config, seen fileStamp, life *life, log *slog.Logger) error {
	var p *parts
	err := fedWhile(func() (err error) {
		p, err = openParts(cfg, log)
		return err
	})
	if err != nil {
		return notStarted(err)
	}
	defer p.close()
	hup, stop := hangups() // before anybody hears that the daemon runs: else it would end it
	defer stop()
	l, err := listenFor(cfg)
	if err != nil {
		return notStarted(err)
	}
	d := newDaemon(a, cfg, seen, life, p)
	log.Info("digime-sync is running", "version", version, "folders", len(cfg.Folders), "state_dir", cfg.StateDir)
	life.enter(d, nil)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serveControl(ctx, l, controlHandler(d)) })
	g.Go(func() error { return d.watchConfig(ctx, hup) })
	g.Go(func() error { return d.run(ctx) })
	g.Go(func() error { return d.fleet.Run(ctx) })
	g.Go(func() error { return life.beat(ctx) })
	err = g.Wait()
	log.Info("digime-sync has stopped")
	return err
}

// open reads the configuration and makes a command's log. It tells no more than
// what would else be silent: the command itself says what became of its task.
func (a *app) open() (*Config, *slog.Logger, error) {
	cfg, err := a.load()
	if err != nil {
		return nil, nil, err
	}
	log, err := a.commandLog(slog.LevelError)
	return cfg, log, err
}

// load reads the configuration of those who use the state folder.
func (a *app) load() (*Config, error) {
	cfg, err := LoadConfig(a.config())
	if err == nil {
		err = checkDataFolder(cfg.StateDir)
	}
	return cfg, err
}

// openDaemon reads the configuration and makes the daemon's log.
func (a *app) openDaemon() (*Config, *slog.Logger, error) {
	cfg, err := a.load()
	if err != nil {
		return nil, nil, err
	}
	if withoutOutput() {
		if err := a.logToFile(cfg.StateDir); err != nil {
			return nil, nil, err
		}
	}
	log, err := a.logger(cfg.Log.Level)
	return cfg, log, err
}

// config returns the configuration file's path.
func (a *app) config() string {
	if a.configPath != "" {
		return a.configPath
	}
	if path := os.Getenv("DIGIME_SYNC_CONFIG"); path != "" {
		return path
	}
	return DefaultConfigPath()
}

// parts are what an engine works with, opened.
type parts struct {
	store  *store.Store
	vault  *store.Vault
	engine *engine.Engine
}

// openParts opens the database, which only one process can, and the rest.
func openParts(cfg *Config, log *slog.Logger) (*parts, error) {
	p := &parts{}
	err := makeDataFolder(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	if p.store, err = store.Open(cfg.StateDir, log); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if p.vault, err = store.OpenVault(cfg.StateDir); err != nil {
		return nil, errors.Join(fmt.Errorf("open token vault: %w", err), p.store.Close())
	}
	if p.engine, err = p.newEngine(cfg, log); err == nil {
		err = p.engine.PauseIfLost()
	}
	if err != nil {
		return nil, errors.Join(err, p.store.Close())
	}
	return p, nil
}

// newEngine makes an engine of a configuration on the parts that are open.
func (p *parts) newEngine(cfg *Config, log *slog.Logger) (*engine.Engine, error) {
	client, err := newClient(cfg, log)
	if err != nil {
		return nil, err
	}
	return engine.New(engine.Options{
		Folders: cfg.folders(), Libraries: cfg.libraries(), Store: p.store, Vault: p.vault, Client: client,
		StateDir: cfg.StateDir, Version: version, FullNames: cfg.Log.FileNames == "full", Log: log,
	}), nil
}

func (p *parts) close() { _ = p.store.Close() } // what was promised is on the disk already
