package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDataFolderBelowProgramData(t *testing.T) {
	shared := t.TempDir()
	t.Setenv("ProgramData", shared)
	for state, want := range map[string]string{
		filepath.Join(shared, "digime-sync", "state"): filepath.Join(shared, "digime-sync"),
		filepath.Join(shared, "digime-sync"):          filepath.Join(shared, "digime-sync"),
		`C:\elsewhere\state`:                          `C:\elsewhere\state`,
	} {
		if got := dataFolder(state); got != want {
			t.Errorf("%s is protected by %s, want %s", state, got, want)
		}
	}
	state := filepath.Join(shared, "digime-sync", "state")
	if err := makeDataFolder(state); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(state); err != nil || !info.IsDir() {
		t.Errorf("no state folder: %v", err)
	}
	if err := makeDataFolder(state); err != nil {
		t.Errorf("its own folder is refused: %v", err)
	}
}

func TestDataFolderThatIsNone(t *testing.T) {
	shared := t.TempDir()
	t.Setenv("ProgramData", shared)
	if err := os.WriteFile(filepath.Join(shared, "digime-sync"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := makeDataFolder(filepath.Join(shared, "digime-sync", "state"))
	if err == nil || !strings.Contains(err.Error(), "is no folder of its own") {
		t.Errorf("what somebody else has put there is taken: %v", err)
	}
}
