//go:build !windows

package main

// forgetSeeds has nothing to do: only the Windows installer remembers.
func forgetSeeds() error { return nil }
