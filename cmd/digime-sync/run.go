package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/engine"
)

func (a *app) runCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Watch the folders and push, until stopped",
		Long:  "run is the daemon, in the foreground or under a service manager. It stops within 5 seconds\non SIGTERM, SIGINT or the service manager's word; nothing is lost by that.",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			boot, err := a.logger("info")
			if err != nil {
				return err
			}
			// The configuration is read only then: a manager wants an answer before.
			return runService(boot, func(ctx context.Context) error {
				seen := stampOf(a.config())
				cfg, log, err := a.open()
				if err != nil {
					return err
				}
				return serve(ctx, a, cfg, seen, log)
			})
		},
	}
}

// serve is the program: it opens the parts, and runs the engine, the control
// channel and the watch over the configuration until ctx ends or one of them
// fails.
func serve(ctx context.Context, a *app, cfg *Config, seen fileStamp, log *slog.Logger) error {
	p, err := openParts(cfg, log)
	if err != nil {
		return err
	}
	defer p.close()
	l, err := listenControl(cfg.StateDir)
	if err != nil {
		return fmt.Errorf("open control channel: %w", err)
	}
	d := newDaemon(a, cfg, seen, p)
	log.Info("digime-sync is running", "version", version, "folders", len(cfg.Folders), "state_dir", cfg.StateDir)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serveControl(ctx, l, d) })
	g.Go(func() error { return d.watchConfig(ctx) })
	g.Go(func() error { return d.run(ctx) })
	err = g.Wait()
	log.Info("digime-sync has stopped")
	return err
}

// open reads the configuration and makes the log.
func (a *app) open() (*Config, *slog.Logger, error) {
	cfg, err := LoadConfig(a.config())
	if err != nil {
		return nil, nil, err
	}
	if underWindowsManager() {
		if a.err, err = openLogFile(cfg.StateDir); err != nil {
			return nil, nil, err
		}
	}
	log, err := a.logger(cfg.Log.Level)
	return cfg, log, err
}

// largestLog is the size, in bytes, from which a log file is set aside at start.
const largestLog = 10 << 20

// openLogFile opens the log of a service that has no standard error. The one
// before is kept as digime-sync.log.1.
func openLogFile(stateDir string) (*os.File, error) {
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	path := filepath.Join(stateDir, "digime-sync.log")
	if info, err := os.Stat(path); err == nil && info.Size() > largestLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, fmt.Errorf("set log aside: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
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
	var err error
	if p.store, err = store.Open(cfg.StateDir, log); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if p.vault, err = store.OpenVault(cfg.StateDir); err != nil {
		return nil, errors.Join(fmt.Errorf("open token vault: %w", err), p.store.Close())
	}
	if p.engine, err = p.newEngine(cfg, log); err != nil {
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
