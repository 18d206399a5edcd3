//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/digime-sync/digime-sync/packaging"
)

func TestUnitIsThePackagesOwn(t *testing.T) {
	unit, err := renderUnit(packaging.LinuxProgram, packaging.LinuxConfig)
	if err != nil || unit != packaging.Unit {
		t.Errorf("for the packages' paths the unit must be theirs, verbatim; %v:\n%s", err, unit)
	}
	if strings.Contains(packaging.Unit, "{{") {
		t.Error("kardianos/service would take {{ for a template")
	}
}

func TestUnitOfAnotherProgram(t *testing.T) {
	const exe, config = "/home/a b/digime%sync", `/srv/it's "$HOME"/config.yaml`
	unit, err := renderUnit(exe, config)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"ExecStart=\"/home/a b/digime%%sync\" run --config \"/srv/it's \\\"$$HOME\\\"/config.yaml\"\n",
		"ExecReload=\"/home/a b/digime%%sync\" reload --config ",
		"BindReadOnlyPaths=\"/home/a b/digime%%sync\"\n",
	} {
		if !strings.Contains(unit, want) {
			t.Errorf("no %q in\n%s", want, unit)
		}
	}
	for _, path := range []string{packaging.LinuxProgram, packaging.LinuxConfig} {
		if strings.Contains(unit, path) {
			t.Errorf("%s is left in it", path)
		}
	}
	if got := unitConfig(unit); got != config {
		t.Errorf("it is found to be run with %q", got)
	}
	if got := unitConfig(packaging.Unit); got != packaging.LinuxConfig {
		t.Errorf("the packages' is found to be run with %q", got)
	}
	if _, err := renderUnit("/usr/bin/x\nUser=root", config); err == nil {
		t.Error("a path smuggles a line into the unit")
	}
}

func TestDropInOpensWhatIsConfigured(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yaml")
	text := `application_id: app
state_dir: /srv/state
contracts:
  one: {id: a, private_key_file: "${CREDENTIALS_DIRECTORY}/clinic.key"}
  two: {id: b, private_key_file: "${CREDENTIALS_DIRECTORY}/contract.key"}
  three: {id: c, private_key_file: /home/it/three.key}
folders:
  - {path: /srv/in, library: alice}
  - {path: "/srv/two words: 100%", library: alice}
  - {path: "/home/anna/scans: new", library: alice}
  - {path: /srv/link, library: alice}
`
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := reachOf(config)
	if err != nil {
		t.Fatal(err)
	}
	r.config = "/etc/digime-sync/config.yaml" // and not one below /tmp
	r.read = []string{r.config, "/home/it/three.key"}
	got, err := r.dropIn(func(path string) string {
		if path == "/srv/link" {
			return "/home/bob/target"
		}
		return path
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `# Made by "digime-sync service configure" from /etc/digime-sync/config.yaml.
# It is made anew each time: write what is your own into a file of another name.
[Service]
BindPaths="-/home/anna/scans\\: new"
BindPaths=-/home/bob/target
ReadWritePaths=-/srv/in
ReadWritePaths=-/srv/link
ReadWritePaths=-/srv/state
ReadWritePaths="-/srv/two words: 100%%"
BindReadOnlyPaths=-/home/it/three.key
LoadCredential=clinic.key.plain:digime-sync.clinic.key
LoadCredentialEncrypted=clinic.key:/etc/credstore.encrypted/digime-sync.clinic.key
SetCredential=clinic.key:none
`
	if got != want {
		t.Errorf("drop-in:\n%s\nwant:\n%s", got, want)
	}
}

func TestDropInOfABadConfiguration(t *testing.T) {
	dir := t.TempDir()
	for text, code := range map[string]int{"folders: [": exitConfig, "# nothing yet\n": 0} {
		config := filepath.Join(dir, "config.yaml")
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := reachOf(config)
		if (err == nil) != (code == 0) || err != nil && explain(err).code != code {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := reachOf(filepath.Join(dir, "none.yaml")); err != nil {
		t.Errorf("no configuration: %v", err)
	}
}

func TestSystemdStates(t *testing.T) {
	for name, c := range map[string]struct {
		facts string
		want  managed
	}{
		"running":         {"LoadState=loaded ActiveState=active SubState=running UnitFileState=enabled MainPID=12", managed{State: stateRunning, Enabled: true, PID: 12}},
		"stopped":         {"LoadState=loaded ActiveState=inactive SubState=dead UnitFileState=disabled", managed{State: stateStopped}},
		"not there":       {"LoadState=not-found ActiveState=inactive", managed{State: stateNotInstalled}},
		"after a crash":   {"LoadState=loaded ActiveState=activating SubState=auto-restart Result=signal ExecMainStatus=9 NRestarts=4", managed{State: stateRestarting, Restarts: 4, Reason: "it was ended by signal 9", Hint: "journalctl -u digime-sync -n 20"}},
		"after a hang":    {"LoadState=loaded ActiveState=activating SubState=auto-restart Result=watchdog", managed{State: stateRestarting, Reason: "its main loop hung, and the watchdog ended it", Hint: "journalctl -u digime-sync -n 20"}},
		"cannot be run":   {"LoadState=loaded ActiveState=failed Result=exit-code ExecMainStatus=78", managed{State: stateFailed, Reason: "it cannot be run as it is, and waiting would not mend that (exit code 78)", Hint: "journalctl -u digime-sync -n 20; when it is mended: digime-sync service start"}},
		"does not start":  {"LoadState=loaded ActiveState=failed Result=exit-code ExecMainStatus=203", managed{State: stateFailed, Reason: "it ended with exit code 203", Hint: "journalctl -u digime-sync -n 20; then: digime-sync service start"}},
		"kept from start": {"LoadState=masked ActiveState=inactive", managed{State: stateStopped, Reason: "it is masked", Hint: "systemctl unmask digime-sync"}},
	} {
		facts := map[string]string{}
		for _, fact := range strings.Fields(c.facts) {
			key, value, _ := strings.Cut(fact, "=")
			facts[key] = value
		}
		if got := systemdState(facts); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// A key may be given sealed to this machine, plain, or not at all.
func TestCredential(t *testing.T) {
	for name, c := range map[string]struct {
		given map[string]string
		want  string // what becomes of the name's path
		hint  string
	}{
		"sealed":       {map[string]string{"clinic.key": "sealed one"}, "clinic.key", ""},
		"plain":        {map[string]string{"clinic.key": noCredential, "clinic.key.plain": "plain one"}, "clinic.key.plain", ""},
		"both":         {map[string]string{"clinic.key": "sealed one", "clinic.key.plain": "plain one"}, "clinic.key", ""},
		"none":         {map[string]string{"clinic.key": noCredential}, "", "/etc/credstore/digime-sync.clinic.key"},
		"not asked of": {nil, "", "systemd-creds encrypt --name=clinic.key"},
	} {
		dir := t.TempDir()
		t.Setenv("CREDENTIALS_DIRECTORY", dir)
		for file, text := range c.given {
			must(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
		}
		got, err := givenCredential(filepath.Join(dir, "clinic.key"))
		if (err == nil) != (c.hint == "") || err != nil && !strings.Contains(explain(err).hint, c.hint) || err == nil && got != filepath.Join(dir, c.want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	other := filepath.Join(t.TempDir(), "beside.key")
	if got, err := givenCredential(other); got != other || err != nil {
		t.Errorf("a file that is no credential: %q, %v", got, err)
	}
}
