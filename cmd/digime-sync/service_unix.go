//go:build unix

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
)

// makeDataFolder makes the state folder where it is missing.
func makeDataFolder(stateDir string) error {
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return fmt.Errorf("make state folder: %w", err)
	}
	return nil
}

// checkDataFolder has nothing to check: only root can make folders where the
// state folder is.
func checkDataFolder(string) error { return nil }

// withEvents adds nothing: systemd keeps what goes to standard error.
func withEvents(h slog.Handler) slog.Handler { return h }

// reportEvent adds nothing: the installers here show what their steps say.
func reportEvent(error) {}

// command runs a program of the system; its error says what the program said.
func command(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if ctx.Err() != nil {
		return failure(exitError, "digime-sync service status", "%s %s: not done in time", name, strings.Join(args, " "))
	}
	if said := strings.TrimSpace(string(out)); err != nil && said != "" {
		return fmt.Errorf("%s %s: %w: %s", name, args[0], err, said)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", name, args[0], err)
	}
	return nil
}
