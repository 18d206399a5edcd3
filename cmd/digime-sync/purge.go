package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/digime-sync/digime-sync/store"
)

// purgeCommand removes what a machine holds of this program. It is what the
// Windows installer runs for PURGEDATA=1.
func (a *app) purgeCommand() *cobra.Command {
	var sure bool
	cmd := &cobra.Command{
		Use:   "purge --yes",
		Short: "Remove configuration, consents and state from this machine",
		Long: "purge removes the configuration file, conf.d and the folder state beside it, for good; on Windows also what is\n" +
			"of this program in the state folder the configuration names. Watched folders and receipts stay. It does so only\n" +
			"where nothing uses it, and leaves what else lies beside them.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if !sure {
				return failure(exitUsage, "digime-sync purge --yes", "purge removes consents, which only people can give again")
			}
			return a.purge()
		},
	}
	cmd.Flags().BoolVar(&sure, "yes", false, "do it")
	return cmd
}

// purge removes ours only: the folder goes if nothing else is left in it.
func (a *app) purge() error {
	config, err := filepath.Abs(a.config())
	if err != nil {
		return fmt.Errorf("find the configuration: %w", err)
	}
	dir := filepath.Dir(config)
	state := filepath.Join(dir, "state")
	if _, err := os.Stat(state); err == nil {
		if err := a.removeState(state); err != nil {
			return err
		}
	}
	if other := stateDirOf(config); runtime.GOOS == "windows" && !strings.EqualFold(other, state) {
		if err := a.removeStateElsewhere(other); err != nil {
			return err
		}
	}
	for _, path := range []string{filepath.Join(dir, "conf.d"), config} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove %s: %w", path, err)
		}
		fmt.Fprintf(a.out, "removed: %s\n", path)
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(a.out, "left, for there is more in it: %s\n", dir)
	}
	return forgetSeeds()
}

// waitingState are the names of what a service that was never configured leaves
// in its state folder, and of what a database that is gone has left.
var waitingState = []string{"digime-sync.log", "digime-sync.log.1", "state.clean", "state.reserve", "paused.json", "audit.log",
	"vault.key", "vault.key.copy", "vault.lock", "enrol.lock", "tokens", "fleet", "notes"}

// removeStateElsewhere takes what is ours out of a state folder that the
// configuration, or the default for want of a word in it, has put elsewhere.
func (a *app) removeStateElsewhere(state string) error {
	if _, err := os.Stat(filepath.Join(state, "state.db")); err != nil {
		return nil // it was never used
	}
	if err := store.InUse(state); err != nil {
		return failure(exitRunning, "digime-sync service stop", "the state folder is in use: %w", err)
	}
	entries, err := os.ReadDir(state)
	if err != nil {
		return fmt.Errorf("list %s: %w", state, err)
	}
	return a.removeNamed(state, entries)
}

// removeState removes a state folder that is ours and that no process has open.
// One that cannot be opened for another reason goes too. Without a database only
// what has a name of ours is taken out of it.
func (a *app) removeState(state string) error {
	entries, err := os.ReadDir(state)
	if err != nil {
		return fmt.Errorf("list %s: %w", state, err)
	}
	whole := func(e fs.DirEntry) bool {
		return slices.Contains([]string{"state.db", "state.pid", enrolName}, e.Name())
	}
	if len(entries) > 0 && !slices.ContainsFunc(entries, whole) {
		return a.removeWaiting(state, entries)
	}
	s, err := store.Open(state, nil)
	if locked := new(store.LockedError); errors.As(err, &locked) {
		return failure(exitRunning, "digime-sync service stop", "the state folder is in use: %w", err)
	}
	if err == nil {
		if err := s.Close(); err != nil {
			return fmt.Errorf("close database: %w", err)
		}
	}
	if err := os.RemoveAll(state); err != nil {
		return fmt.Errorf("remove %s: %w", state, err)
	}
	return nil
}

// removeWaiting removes what is ours of a state folder without a database.
func (a *app) removeWaiting(state string, entries []fs.DirEntry) error {
	if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return slices.Contains(waitingState, e.Name()) }) {
		return failure(exitError, "look at what is in it", "%s is no state folder of this program", state)
	}
	return a.removeNamed(state, entries)
}

// removeNamed removes what has a name of ours, and the folder if nothing else is
// in it.
func (a *app) removeNamed(state string, entries []fs.DirEntry) error {
	ours := func(e fs.DirEntry) bool {
		name := e.Name()
		return slices.Contains(waitingState, name) || name == enrolName || name == "mounts.json" ||
			strings.HasPrefix(name, "state.db") || strings.HasPrefix(name, "state.pid") || strings.HasPrefix(name, "audit.log") || strings.HasPrefix(name, "vault.key")
	}
	for _, e := range entries {
		path := filepath.Join(state, e.Name())
		if !ours(e) {
			fmt.Fprintf(a.out, "left, for it is not of this program: %s\n", path)
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove %s: %w", path, err)
		}
	}
	if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !ours(e) }) {
		if err := os.Remove(state); err != nil {
			return fmt.Errorf("remove %s: %w", state, err)
		}
	}
	return nil
}
