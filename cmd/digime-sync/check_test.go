package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Whoever checks before the service has run once leaves it no folder of his.
func TestCheckMakesNothing(t *testing.T) {
	home := writeFiles(t, map[string]string{"w.key": testKeyPEM(), "config.yaml": minimal + "state_dir: var/state\n"})
	var out bytes.Buffer
	a := &app{configPath: filepath.Join(home, "config.yaml"), out: &out, err: &out}
	must(t, a.check(true, false))
	for _, want := range []string{filepath.Join("var", "state") + ": it is not there yet, and is made by the service\n", "alice: there is no token for this library; its files are held"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	if _, err := os.Stat(filepath.Join(home, "var")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is there: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(home, "var"), nil, 0o600))
	if f := checkState(filepath.Join(home, "var", "state")); f.State != checkFail || !strings.HasPrefix(f.Hint, "make the folder") {
		t.Errorf("%+v", f)
	}
}

// On a full disk no right helps.
func TestCheckOfAFullDisk(t *testing.T) {
	if hint := writeHint(&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, "let somebody write to it"); hint != "make room on its disk" {
		t.Error(hint)
	}
	if hint := writeHint(fs.ErrPermission, "let somebody write to it"); hint != "let somebody write to it" {
		t.Error(hint)
	}
}

// A finding of several lines is one finding to the eye too.
func TestFindingOfSeveralLines(t *testing.T) {
	var out bytes.Buffer
	must(t, (&app{out: &out}).found([]finding{{Check: "fleet", Subject: "x", State: checkWarn, Message: "common.yaml: gone\npc.yaml: gone"}}, false))
	if want := "warn  fleet         x: common.yaml: gone\n      pc.yaml: gone\n"; out.String() != want {
		t.Errorf("got\n%s", &out)
	}
}
