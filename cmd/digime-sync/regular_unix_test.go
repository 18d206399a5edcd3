//go:build unix

package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// pipeAt puts a FIFO, which nobody writes to, in the place of what is there.
func pipeAt(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	must(t, unix.Mkfifo(path, 0o600))
}

// A pipe in the fleet's folder is said at once, and the file that comes in its
// place is taken by the next look.
func TestFleetFileIsAPipe(t *testing.T) {
	r := newFleetRig(t)
	serial := 1
	for _, name := range []string{"common.yaml", "common.yaml.sig", "pc-17.yaml", "pc-17.yaml.sig"} {
		r.put("common.yaml", fleetText(serial, "alice"))
		r.put("pc-17.yaml", fleetText(serial, "bob"))
		pipeAt(t, filepath.Join(r.dir, name))
		if changed, fault := r.fetch(); changed != "" || fault != name+": it is not a file; put the file there" {
			t.Errorf("%s: taken %q, fault %q", name, changed, fault)
		}
		serial++
		must(t, os.Remove(filepath.Join(r.dir, name)))
		r.put("common.yaml", fleetText(serial, "alice"))
		r.put("pc-17.yaml", fleetText(serial, "bob"))
		if changed, fault := r.fetch(); !strings.HasPrefix(changed, "common.yaml serial ") || fault != "" {
			t.Errorf("%s is there: taken %q, fault %q", name, changed, fault)
		}
		serial++
	}
}

// A pipe among the reports is one that cannot be read; the others are shown.
func TestFleetReportIsAPipe(t *testing.T) {
	dir := t.TempDir()
	pipeAt(t, filepath.Join(dir, "pipe.json"))
	must(t, os.WriteFile(filepath.Join(dir, "pc-99.json"), []byte("[]"), 0o600))
	var out bytes.Buffer
	a := &app{out: &out, err: &out}
	err := a.fleetStatus(dir, false)
	if !errors.Is(err, errHeld) || !strings.Contains(out.String(), "its report cannot be read: pipe.json: it is not a file") || !strings.Contains(out.String(), "machines: 2,") {
		t.Errorf("%v\n%s", err, &out)
	}
}

// What is read whole is a file, of a size that has been thought of, and where
// that matters not a link's target.
func TestReadRegular(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.WriteFile(at("file"), []byte("12345"), 0o600))
	must(t, os.Symlink("file", at("link")))
	pipeAt(t, at("pipe"))
	for _, tt := range []struct {
		name  string
		flags int
		limit int64
		want  string
	}{
		{"file", noLink, 5, ""},
		{"link", 0, 5, ""},
		{"link", noLink, 5, "too many levels of symbolic links"},
		{"file", 0, 4, "it has more than 4 bytes"},
		{"pipe", 0, 5, errNotRegular.Error()},
		{".", 0, 5, errNotRegular.Error()},
	} {
		data, err := readRegular(at(tt.name), tt.flags, tt.limit)
		if tt.want == "" && (err != nil || string(data) != "12345") || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s with %#x: %q, %v, want %q", tt.name, tt.flags, data, err, tt.want)
		}
	}
}

// What an enrolment file has become a link to is not overwritten in its place.
func TestEnrolmentBecomesALink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, enrolName)
	must(t, os.WriteFile(target, []byte("12345"), 0o600))
	must(t, os.Symlink(target, link))
	e := enrolment{Imported: []string{"alice"}}
	if err := e.tidy(link, 5, nil); err == nil || !strings.Contains(err.Error(), "all tokens are imported, but the file cannot be overwritten") {
		t.Error(err)
	}
	if data, err := os.ReadFile(target); err != nil || string(data) != "12345" {
		t.Errorf("%q, %v", data, err)
	}
}
