package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// What a package puts in place configures nothing, and is told apart from a
// configuration that is wrong.
func TestNothingConfiguredYet(t *testing.T) {
	shipped, err := os.ReadFile(filepath.Join("..", "..", "packaging", "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, texts := range [][]string{{string(shipped)}, {string(shipped), "# nothing here either\n"}, {""}} {
		if _, err := loadTexts(texts...); !errors.Is(err, errNotConfigured) {
			t.Errorf("%q: %v", texts, err)
		}
	}
	for _, text := range []string{"application_id: \n", "---\n", "folders: []\n"} {
		if _, err := loadTexts(text); err == nil || errors.Is(err, errNotConfigured) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, layer := range []string{minimal, "policy:\n" + minimal} {
		if cfg, err := loadTexts(string(shipped), layer); err != nil || cfg.ApplicationID != "my-app" {
			t.Errorf("over the shipped file, %q: %v", layer, err)
		}
	}
}
