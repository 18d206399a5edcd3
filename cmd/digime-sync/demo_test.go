package main

import (
	"os"
	"path/filepath"
	"testing"
)

// What the demo tells a person to type is how it was started.
func TestStartedAs(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	installed, own := filepath.Join(dir, "installed.exe"), filepath.Join(t.TempDir(), "own.exe")
	for _, path := range []string{installed, own} {
		must(t, os.WriteFile(path, nil, 0o755))
	}
	for arg0, want := range map[string]string{
		installed: "installed.exe",
		own:       own,
		filepath.Join(dir, "go-build12", "b001", "exe", "installed.exe"): "go run ./cmd/digime-sync",
	} {
		if got := startedAs(arg0); got != want {
			t.Errorf("%s: %s, want %s", arg0, got, want)
		}
	}
}
