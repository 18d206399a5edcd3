package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/digime-sync/digime-sync/packaging"
	"github.com/digime-sync/digime-sync/store"
)

const (
	configureUnit = "digime-sync-configure.service"
	pathUnit      = "digime-sync-configure.path"
	unitFolder    = "/etc/systemd/system"
	// followsFile is there while pathUnit is enabled.
	followsFile = unitFolder + "/multi-user.target.wants/" + pathUnit
)

// configureUnits are the units that open to the service what its configuration
// names, by the names of their files.
func configureUnits(exe, config, stateDir string) (map[string]string, error) {
	if strings.ContainsFunc(exe+config+stateDir, isControl) {
		return nil, fmt.Errorf("%q, %q, %q: a path in a unit cannot have control characters", exe, config, stateDir)
	}
	one := strings.ReplaceAll(packaging.ConfigureUnit, packaging.LinuxConfig, unitArgument(config))
	one = strings.ReplaceAll(one, "="+packaging.LinuxProgram+" ", "="+unitArgument(exe)+" ")
	watched := func(path string) string { return "PathChanged=" + strings.ReplaceAll(path, "%", "%%") + "\n" }
	path := strings.NewReplacer(
		watched(packaging.LinuxConfig), watched(config),
		watched(filepath.Dir(packaging.LinuxConfig)+"/conf.d"), watched(filepath.Join(filepath.Dir(config), "conf.d")),
		watched(takenPath("/var/lib/digime-sync")), watched(takenPath(stateDir)),
	).Replace(packaging.PathUnit)
	return map[string]string{configureUnit: one, pathUnit: path}, nil
}

// putConfigureUnits writes them. The service's unit, which is enabled next,
// brings pathUnit along.
func putConfigureUnits(exe, config string, undo *undoing) error {
	units, err := configureUnits(exe, config, stateDirOf(config))
	if err != nil {
		return failure(exitError, "move it to a plain path", "make unit: %w", err)
	}
	for name, text := range units {
		file := filepath.Join(unitFolder, name)
		before, err := os.ReadFile(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			undo.add(func() error { return os.Remove(file) })
		case err != nil:
			return fmt.Errorf("read the unit that is there: %w", err)
		default:
			undo.add(func() error { return store.WriteFile(file, before, 0o644) })
		}
		if err := store.WriteFile(file, []byte(text), 0o644); err != nil {
			return fmt.Errorf("write unit: %w", err)
		}
	}
	return nil
}

// startFollowing starts pathUnit where it is enabled. Without it the service runs
// all the same, and says which folders are shut.
func startFollowing(ctx context.Context) {
	if _, err := os.Lstat(followsFile); err == nil {
		_ = command(ctx, "systemctl", "start", pathUnit)
	}
}

// removeConfigureUnits stops and removes them.
func removeConfigureUnits(ctx context.Context) error {
	for _, name := range []string{pathUnit, configureUnit} {
		file := filepath.Join(unitFolder, name)
		if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		for _, verb := range []string{"stop", "disable", "reset-failed"} {
			_ = command(ctx, "systemctl", verb, name) // it may be none of that
		}
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove unit: %w", err)
		}
	}
	return nil
}
