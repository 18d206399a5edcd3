package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

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
		Long: "purge removes the configuration file, conf.d and the folder state beside it, for good. Watched folders and\n" +
			"receipts stay. It does so only where that state folder is one of this program and nothing uses it.",
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
		if err := removeState(state); err != nil {
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

// removeState removes a state folder that is ours and that no process has open.
// One that cannot be opened for another reason goes too.
func removeState(state string) error {
	entries, err := os.ReadDir(state)
	if err != nil {
		return fmt.Errorf("list %s: %w", state, err)
	}
	ours := func(e fs.DirEntry) bool { return e.Name() == "state.db" || e.Name() == enrolName }
	if len(entries) > 0 && !slices.ContainsFunc(entries, ours) {
		return failure(exitError, "look at what is in it", "%s is no state folder of this program", state)
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
