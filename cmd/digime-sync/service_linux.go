package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kardianos/service"

	"github.com/digime-sync/digime-sync/store"
)

const (
	unitName = serviceName + ".service"
	// unitFile is where an administrator's units are; those of packages lie in
	// packagedUnits, and one in unitFile would hide them.
	unitFile    = "/etc/systemd/system/" + unitName
	serviceUser = "digime-sync"
)

var packagedUnits = []string{"/usr/lib/systemd/system/" + unitName, "/lib/systemd/system/" + unitName, "/usr/local/lib/systemd/system/" + unitName}

// mayManage says why this user cannot change services here.
func mayManage() error {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return failure(exitError, "let what does run it start: digime-sync run", "this system is not run by systemd")
	}
	if os.Geteuid() != 0 {
		return failure(exitError, "sudo digime-sync service …", "only root can change services")
	}
	return nil
}

// packagedUnit is the unit a package has installed, "" when none has.
func packagedUnit() string {
	for _, path := range packagedUnits {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// mayUninstall refuses to take a package's service away.
func mayUninstall() error {
	if _, err := os.Lstat(unitFile); errors.Is(err, fs.ErrNotExist) && packagedUnit() != "" {
		return failure(exitError, "apt remove digime-sync, or dnf remove digime-sync; to keep it from starting: systemctl disable --now digime-sync",
			"the service belongs to a package (%s)", packagedUnit())
	}
	return ourUnit()
}

// ourUnit refuses to touch a unit of this name that is another program's.
func ourUnit() error {
	if _, err := os.Readlink(unitFile); err == nil {
		return nil // masked
	}
	unit, err := os.ReadFile(unitFile)
	if errors.Is(err, fs.ErrNotExist) || err == nil && strings.Contains(string(unit), "\nDescription=digime-sync: ") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the unit that is there: %w", err)
	}
	return failure(exitError, "look at it: systemctl cat digime-sync; then remove it, and type this again", "%s was not made by digime-sync", unitFile)
}

// coversPackage says that a unit in unitFile keeps a package's from being used; ""
// when none does.
func coversPackage() string {
	if info, err := os.Lstat(unitFile); err != nil || !info.Mode().IsRegular() || packagedUnit() == "" {
		return ""
	}
	return "the unit " + unitFile + " hides the package's, " + packagedUnit() + ": what runs is not what the package brings up to date. " +
		"To change over: digime-sync service uninstall, then systemctl enable --now digime-sync digime-sync-configure.path"
}

// installService puts unit and account in place and enables the unit. What it
// did is taken back when something fails.
func installService(ctx context.Context, exe, config string) (outcome string, err error) {
	if path := packagedUnit(); path != "" {
		return "", failure(exitError, "systemctl enable --now digime-sync; its settings: systemctl edit digime-sync",
			"a package has installed the service already (%s), and a second unit would hide that one", path)
	}
	unit, err := renderUnit(exe, config)
	if err != nil {
		return "", failure(exitError, "move it to a plain path", "make unit: %w", err)
	}
	var undo undoing
	defer func() { err = undo.unless(err) }()
	if err := makeAccount(ctx, &undo); err != nil {
		return "", err
	}
	if err := putConfigureUnits(exe, config, &undo); err != nil {
		return "", err
	}
	if err := ourUnit(); err != nil {
		return "", err
	}
	before, err := os.ReadFile(unitFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return outcomeInstalled, installUnit(ctx, unit, &undo)
	case err != nil:
		return "", fmt.Errorf("read the unit that is there: %w", err)
	}
	if target, err := os.Readlink(unitFile); err == nil {
		return "", failure(exitError, "systemctl unmask digime-sync, or remove the link", "%s is a link to %s", unitFile, target)
	}
	outcome = outcomeSame
	if string(before) != unit {
		outcome = outcomeReplaced
		undo.add(func() error { return store.WriteFile(unitFile, before, 0o644) })
		if err := store.WriteFile(unitFile, []byte(unit), 0o644); err != nil {
			return "", fmt.Errorf("replace unit: %w", err)
		}
	}
	return outcome, systemctl(ctx, "daemon-reload", "enable")
}

func installUnit(ctx context.Context, unit string, undo *undoing) error {
	s, err := handle(&service.Config{Name: serviceName, Option: service.KeyValue{"SystemdScript": unit}})
	if err != nil {
		return err
	}
	undo.add(func() error {
		_ = systemctl(context.Background(), "disable") // it may not be enabled yet
		return errors.Join(os.RemoveAll(unitFile), systemctl(context.Background(), "daemon-reload"))
	})
	return bounded(ctx, "install unit", s.Install)
}

// makeAccount makes the service's user where it is missing.
func makeAccount(ctx context.Context, undo *undoing) error {
	if _, err := user.Lookup(serviceUser); err == nil {
		return nil
	}
	undo.add(func() error { return command(context.Background(), "userdel", serviceUser) })
	err := command(ctx, "useradd", "--system", "--user-group", "--home-dir", "/var/lib/digime-sync", "--no-create-home",
		"--shell", "/usr/sbin/nologin", "--comment", "digime-sync", serviceUser)
	if err != nil {
		return fmt.Errorf("make the service's user: %w", err)
	}
	return nil
}

func removeService(ctx context.Context) error {
	s, err := handle(&service.Config{Name: serviceName})
	if err != nil {
		return err
	}
	if err := bounded(ctx, "remove unit", s.Uninstall); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // one that somebody has removed by hand has left the rest
	}
	if err := removeConfigureUnits(ctx); err != nil {
		return err
	}
	// Only what we have made; an administrator's own drop-ins stay.
	if err := os.Remove(dropInFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove drop-in: %w", err)
	}
	_ = os.Remove(filepath.Dir(dropInFile)) // it may hold others
	_ = systemctl(ctx, "reset-failed")      // nothing is left to be forgotten where it did not fail
	return systemctl(ctx, "daemon-reload")
}

func startService(ctx context.Context) error {
	_ = systemctl(ctx, "reset-failed") // else a start may be refused for the failures before
	startFollowing(ctx)
	err := command(ctx, "systemctl", "start", unitName)
	if err != nil {
		return failure(exitError, "digime-sync service status; journalctl -u digime-sync -n 20", "start service: %w", err)
	}
	return nil
}

func stopService(ctx context.Context) error {
	if err := command(ctx, "systemctl", "stop", unitName); err != nil {
		return fmt.Errorf("stop service: %w", err)
	}
	return nil
}

// askManager asks systemd. kardianos/service knows too little for it: a service
// that crashes again and again is running to it.
func askManager(ctx context.Context) (managed, error) {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return managed{State: stateNotInstalled, Reason: "this system is not run by systemd"}, nil
	}
	out, err := exec.CommandContext(ctx, "systemctl", "show", unitName, "-p",
		"LoadState,ActiveState,SubState,UnitFileState,MainPID,StatusText,NRestarts,Result,ExecMainStatus,ExecMainCode,FragmentPath").Output()
	if err != nil {
		return managed{}, fmt.Errorf("ask systemd: %w", err)
	}
	facts := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if key, value, found := strings.Cut(strings.TrimRight(line, "\n"), "="); found {
			facts[key] = value
		}
	}
	return systemdState(facts), nil
}

// systemdState makes of what systemctl show says how the service stands.
func systemdState(facts map[string]string) managed {
	number := func(key string) int {
		n, _ := strconv.Atoi(facts[key]) // 0 where there is none
		return n
	}
	m := managed{Enabled: strings.HasPrefix(facts["UnitFileState"], "enabled"), Text: facts["StatusText"], Restarts: number("NRestarts"), PID: number("MainPID")}
	if unit, err := os.ReadFile(facts["FragmentPath"]); err == nil {
		m.Config = unitConfig(string(unit))
	}
	switch {
	case facts["LoadState"] == "masked":
		m.State, m.Reason, m.Hint = stateStopped, "it is masked", "systemctl unmask digime-sync"
	case facts["LoadState"] != "loaded" && facts["ActiveState"] != "active":
		m.State = stateNotInstalled
	case facts["SubState"] == "auto-restart" || facts["SubState"] == "auto-restart-queued":
		m.State, m.Reason = stateRestarting, ending(facts)
		m.Hint = "journalctl -u digime-sync -n 20"
	case facts["ActiveState"] == "failed":
		m.State, m.Reason, m.Hint = stateFailed, ending(facts), "journalctl -u digime-sync -n 20; then: digime-sync service start"
		if number("ExecMainStatus") == exitConfig {
			m.Reason, m.Hint = "it cannot be run as it is, and waiting would not mend that (exit code 78)", "journalctl -u digime-sync -n 20; when it is mended: digime-sync service start"
		}
	case facts["ActiveState"] == "active", facts["ActiveState"] == "activating", facts["ActiveState"] == "reloading", facts["ActiveState"] == "deactivating":
		m.State = stateRunning
	default:
		m.State = stateStopped
	}
	return m
}

// ending says in words how the process ended.
func ending(facts map[string]string) string {
	switch facts["Result"] {
	case "watchdog":
		return "its main loop hung, and the watchdog ended it"
	case "signal", "core-dump":
		return "it was ended by signal " + facts["ExecMainStatus"]
	case "oom-kill":
		return "the machine ran out of memory"
	case "exit-code":
		return "it ended with exit code " + facts["ExecMainStatus"]
	}
	return "it ended: " + facts["Result"]
}

// systemctl runs these verbs, each for the unit where it takes one.
func systemctl(ctx context.Context, verbs ...string) error {
	for _, verb := range verbs {
		args := []string{verb, unitName}
		if verb == "daemon-reload" {
			args = args[:1]
		}
		if err := command(ctx, "systemctl", args...); err != nil {
			return err
		}
	}
	return nil
}
