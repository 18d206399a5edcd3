//go:build linux

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/digime-sync/digime-sync/packaging"
)

func TestSystemFoldersAreNotForAFleet(t *testing.T) {
	for path, want := range map[string]bool{
		"/": true, "/etc": true, "/etc/ssl/private": true, "/usr": true, "/boot": true, "/root/.ssh": true, "/var": true, "/var/lib/other": true,
		"/srv/../etc": true, "/home": true, "/home/anna/.ssh": true, "/home/anna/a/.hidden/b": true, "/lib/x": true, "/var/spool/cron": true,
		"/srv": false, "/srv/in": false, "/home/anna": false, "/home/anna/scans": false, "/etcetera": false, "/var/spool/scans": false,
		"/library": false, "/mnt/share": false, "/opt/scanner/out": false,
	} {
		if got := systemFolder(path); got != want {
			t.Errorf("%s: %t, want %t", path, got, want)
		}
	}
}

func TestRefusesWhatOnlyTheFleetNames(t *testing.T) {
	own := footprint{write: []string{"/etc/own"}, read: []string{"/root/own.key"}, credentials: []string{"of:own"}}
	all := footprint{
		config:      "/etc/digime-sync/config.yaml",
		write:       []string{"/etc/own", "/etc/theirs", "/srv/in", "/srv/link"},
		read:        []string{"/etc/digime-sync/a.key", "/root/own.key", "/root/theirs.key"},
		credentials: []string{"a:/etc/shadow", "clinic.key", "of:own"},
	}
	all.refuse(own, func(path string) string {
		if path == "/srv/link" {
			return "/usr/share"
		}
		return path
	})
	for what, lists := range map[string][2][]string{
		"write":       {all.write, {"/etc/own", "/srv/in"}},
		"read":        {all.read, {"/etc/digime-sync/a.key", "/root/own.key"}},
		"credentials": {all.credentials, {"clinic.key", "of:own"}},
		"refused":     {all.refused, {"/etc/theirs", "/root/theirs.key", "/srv/link", "a:/etc/shadow"}},
	} {
		if !slices.Equal(lists[0], lists[1]) {
			t.Errorf("%s: %q, want %q", what, lists[0], lists[1])
		}
	}
	if err := all.refusal(); err == nil || !strings.Contains(err.Error(), "/etc/theirs") || explain(err).code != exitHeld {
		t.Errorf("it is said so: %v", err)
	}
	if err := own.refusal(); err != nil {
		t.Errorf("nothing was refused, but: %v", err)
	}
}

func TestFollowsWhatRootAloneCanWrite(t *testing.T) {
	owner := policyOwner
	policyOwner = uint32(os.Getuid())
	t.Cleanup(func() { policyOwner = owner })
	dir := t.TempDir()
	config, more := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "conf.d", "a.yaml")
	if err := os.Mkdir(filepath.Dir(more), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{config, more} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if why := notRoots(config); why != "" {
		t.Fatal(why)
	}
	for _, path := range []string{config, more, filepath.Dir(more), dir} {
		if err := os.Chmod(path, 0o770); err != nil {
			t.Fatal(err)
		}
		if why := notRoots(config); why != "others than root can write "+path {
			t.Errorf("%s: %q", path, why)
		}
		if err := os.Chmod(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	policyOwner++
	if why := notRoots(config); why == "" {
		t.Error("a configuration of somebody else is believed")
	}
}

func TestConfigureUnits(t *testing.T) {
	units, err := configureUnits(packaging.LinuxProgram, packaging.LinuxConfig, "/var/lib/digime-sync")
	if err != nil || units[configureUnit] != packaging.ConfigureUnit || units[pathUnit] != packaging.PathUnit {
		t.Errorf("for the packages' paths the units must be theirs, verbatim; %v: %q", err, units)
	}
	units, err = configureUnits("/opt/a b/digime-sync", "/srv/100%/c.yaml", "/srv/state")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"PathChanged=/srv/100%%/c.yaml\n", "PathChanged=/srv/100%%/conf.d\n", "PathChanged=/srv/state/fleet/taken.json\n"} {
		if !strings.Contains(units[pathUnit], want) {
			t.Errorf("no %q in\n%s", want, units[pathUnit])
		}
	}
	if want := `ExecStart="/opt/a b/digime-sync" service configure --restart --config "/srv/100%%/c.yaml"` + "\n"; !strings.Contains(units[configureUnit], want) {
		t.Errorf("no %q in\n%s", want, units[configureUnit])
	}
	if _, err := configureUnits("/x", "/y\nUser=root", "/z"); err == nil {
		t.Error("a path smuggles a line into the unit")
	}
}
