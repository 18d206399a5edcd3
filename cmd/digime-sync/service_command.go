package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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

// managerWait bounds a start, stop or restart; a stop takes up to 30 s.
const managerWait = time.Minute

func (a *app) serviceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "service",
		Short: "Install, start, stop the service, and say how it stands",
		Long: "service manages digime-sync as a service of this machine: of systemd, Windows or launchd.\n" +
			"All but status need root or an administrator.",
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
	var follow bool
	configure := change("configure", "Open to the service the folders the configuration names",
		"configure writes, under systemd, what of the file system the service may write to: the folders, state folder\n"+
			"and keys the configuration names, also those below /home. Run it when folders were added, then restart the\n"+
			"service. digime-sync-configure.path, which comes with the service, has it done by itself. Elsewhere there is\n"+
			"nothing to do.", func(ctx context.Context) error {
			config, err := a.installedConfig(ctx)
			switch {
			case err != nil:
				return err
			case follow:
				return a.serviceFollow(config)
			}
			return a.serviceConfigure(config)
		})
	configure.Flags().BoolVar(&follow, "restart", false, "restart the service if it runs and something was opened or shut; for a configuration that root alone can write")
	cmd.AddCommand(
		change("install", "Install the service, to start with the machine",
			"install puts the service in place, with its account and what it may touch, to run this very program with\n"+
				"the present --config, and to start with the machine. It does not start it now. Where something fails, all\n"+
				"of it is taken back. Installing again changes what has changed.", a.serviceInstall),
		change("uninstall", "Stop and remove the service",
			"uninstall stops the service and removes it. Configuration, consents and state stay.", a.serviceUninstall),
		change("start", "Start the service",
			"start starts the service. One whose configuration cannot be run is degraded, not failed: it waits, and goes on by\n"+
				"itself when that is mended.", a.serviceStart),
		change("stop", "Stop the service", "stop waits until the service has stopped, a minute at most.", a.serviceStop),
		change("restart", "Stop the service and start it again", "", a.serviceRestart),
		configure,
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

// installedConfig is the configuration that --config names, or else the one the
// service is installed with.
func (a *app) installedConfig(ctx context.Context) (string, error) {
	if a.configPath == "" {
		if now, err := askManager(ctx); err == nil && now.Config != "" {
			return now.Config, nil
		}
	}
	_, config, err := a.serviceFiles()
	return config, err
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
	a.sayUnready(config)
	if err := a.serviceConfigure(config); err != nil {
		fmt.Fprintf(a.out, "what the service may touch was left as it is: %v\n", err)
	}
	if outcome == outcomeInstalled {
		fmt.Fprintln(a.out, "start it: digime-sync service start")
	}
	return nil
}

// sayUnready says that a started service waits for its configuration.
func (a *app) sayUnready(config string) {
	if _, err := LoadConfig(config); err != nil {
		fmt.Fprintf(a.out, "the configuration cannot be run yet, and the service waits for that: digime-sync check --config %s\n", config)
	}
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
	if config, err := a.installedConfig(ctx); err == nil {
		a.sayUnready(config)
	}
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
