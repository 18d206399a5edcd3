//go:build !windows

package main

import "github.com/spf13/cobra"

// forgetSeeds has nothing to do: only the Windows installer remembers.
func forgetSeeds() error { return nil }

// installerCommands are none: the other installers check by their scripts.
func (a *app) installerCommands() []*cobra.Command { return nil }
