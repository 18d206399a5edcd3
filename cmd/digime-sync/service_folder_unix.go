//go:build unix

package main

import (
	"fmt"
	"os"
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
