//go:build !linux

package main

import "github.com/digime-sync/digime-sync/sync/engine"

// shutOut is for systemd's sandbox only.
func shutOut(engine.FolderStatus) string { return "" }

// coversPackage is for systemd's units only.
func coversPackage() string { return "" }
