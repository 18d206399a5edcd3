package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/digime-sync/digime-sync/store"
)

// seedRun runs a command line and returns what it says and its exit code.
func seedRun(args ...string) (said string, code int) {
	var out bytes.Buffer
	code = (&app{in: strings.NewReader(""), out: &out, err: &out}).main(args)
	return out.String(), code
}

// A first configuration follows what an installer is given until a person takes
// it over.
func TestConfigureKeepsWhatAPersonWrote(t *testing.T) {
	path := filepath.Join(t.TempDir(), "digime-sync", "config.yaml")
	key := base64.StdEncoding.EncodeToString(make([]byte, 32))
	configure := func(more ...string) string {
		t.Helper()
		said, code := seedRun(append([]string{"configure", "--data-beside", "--config", path}, more...)...)
		if code != exitDone {
			t.Fatalf("exit code %d: %s", code, said)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	first := configure("--config-url", "https://fleet.example/", "--config-key", key, "--proxy", "http://proxy.example:3128")
	for _, line := range []string{"config_url: https://fleet.example/\n", "config_key: " + key + "\n", "proxy: http://proxy.example:3128\n",
		"state_dir: " + filepath.Join(filepath.Dir(path), "state") + "\n"} {
		if !strings.Contains(first, line) {
			t.Errorf("no %q in\n%s", line, first)
		}
	}
	t.Setenv("DIGIME_SYNC_APPID", "app-2")
	if second := configure(); !strings.Contains(second, "application_id: app-2\n") || strings.Contains(second, "proxy") {
		t.Errorf("given anew:\n%s", second)
	}
	edited := configure() + "log: {level: warn}\n"
	if err := os.WriteFile(path, []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	if now := configure("--app-id", "app-3"); now != edited {
		t.Errorf("a person's configuration was changed:\n%s", now)
	}
}

func TestConfigureRefusesWhatIsWrong(t *testing.T) {
	for _, tt := range []struct{ flag, value, want string }{
		{"--config-url", "http://fleet.example/", "config_url must begin with https://"},
		{"--config-url", "https://fleet.example/", "config_url needs config_key"},
		{"--config-key", "short", "config_key is not a public key"},
		{"--ca-cert", filepath.Join(t.TempDir(), "none.pem"), "api.ca_file"},
		{"--proxy", "ftp://proxy.example", "api.proxy"},
		{"--enrolment-file", filepath.Join(t.TempDir(), "none"), "read the enrolment file"},
	} {
		path := filepath.Join(t.TempDir(), "config.yaml")
		said, code := seedRun("configure", "--data-beside", "--config", path, tt.flag, tt.value)
		if code == exitDone || !strings.Contains(said, tt.want) {
			t.Errorf("%s %s: exit code %d, want %q in: %s", tt.flag, tt.value, code, tt.want, said)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s %s: a configuration was written", tt.flag, tt.value)
		}
	}
}

// One enrolment that waits is not lost to another.
func TestConfigureTakesOverTheEnrolment(t *testing.T) {
	dir := t.TempDir()
	path, from := filepath.Join(dir, "data", "config.yaml"), filepath.Join(dir, "tokens.json")
	for i, content := range []string{`{"alice": {}}`, `{"alice": {}}`, `{"bob": {}}`} {
		if err := os.WriteFile(from, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		said, code := seedRun("configure", "--data-beside", "--config", path, "--enrolment-file", from)
		_, err := os.Stat(from)
		if taken := code == exitDone && errors.Is(err, os.ErrNotExist); taken != (i < 2) {
			t.Errorf("%s: exit code %d, %v: %s", content, code, err, said)
		}
	}
	if data, err := os.ReadFile(filepath.Join(dir, "data", "state", enrolName)); string(data) != `{"alice": {}}` {
		t.Errorf("the first enrolment: %q, %v", data, err)
	}
}

func TestPurge(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	path, state := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "state")
	purge := func(want int, words string) {
		t.Helper()
		if said, code := seedRun("purge", "--yes", "--config", path); code != want || !strings.Contains(said, words) {
			t.Errorf("exit code %d, want %d and %q: %s", code, want, words, said)
		}
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(state, "thesis.doc")
	if err := os.WriteFile(foreign, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	purge(exitError, "is no state folder of this program")
	if err := os.Remove(foreign); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(state, nil)
	if err != nil {
		t.Fatal(err)
	}
	purge(exitRunning, "in use")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if said, code := seedRun("purge", "--config", path); code != exitUsage {
		t.Errorf("without --yes: exit code %d: %s", code, said)
	}
	purge(exitDone, "removed")
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the data folder is there: %v", err)
	}
}

// A service that was never configured has a log and no database: that goes too,
// and what somebody else has put there stays.
func TestPurgeOfWhatWasNeverConfigured(t *testing.T) {
	for _, tt := range []struct {
		name, foreign string
		left          bool
	}{{"ours alone", "", false}, {"beside others' things", "thesis.doc", true}} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			path, state := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "state")
			if said, code := seedRun("configure", "--data-beside", "--config", path); code != exitDone {
				t.Fatalf("exit code %d: %s", code, said)
			}
			files := []string{"digime-sync.log"}
			if tt.foreign != "" {
				files = append(files, tt.foreign)
			}
			for _, name := range files {
				if err := os.WriteFile(filepath.Join(state, name), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if said, code := seedRun("purge", "--yes", "--config", path); code != exitDone {
				t.Errorf("exit code %d: %s", code, said)
			}
			for _, gone := range []string{path, filepath.Join(state, "digime-sync.log")} {
				if _, err := os.Stat(gone); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is there: %v", gone, err)
				}
			}
			if _, err := os.Stat(dir); (err == nil) != tt.left {
				t.Errorf("the data folder: %v", err)
			}
			if _, err := os.Stat(filepath.Join(state, tt.foreign)); (err == nil) != tt.left {
				t.Errorf("what is not ours: %v", err)
			}
		})
	}
}

// State that the configuration has put elsewhere goes too, and nobody else's file.
func TestPurgeOfStateElsewhere(t *testing.T) {
	if runtime.GOOS != "windows" {
		t.Skip("elsewhere the package's purge does that")
	}
	dir, state := t.TempDir(), t.TempDir()
	path := filepath.Join(dir, "config.yaml")
	must(t, os.WriteFile(path, []byte("application_id: a\ncontracts: {}\nfolders: []\nstate_dir: '"+state+"'\n"), 0o600))
	s, err := store.Open(state, nil)
	must(t, err)
	_, err = store.OpenVault(state)
	must(t, err)
	must(t, s.Close())
	foreign := filepath.Join(state, "thesis.doc")
	must(t, os.WriteFile(foreign, nil, 0o600))
	if said, code := seedRun("purge", "--yes", "--config", path); code != exitDone {
		t.Errorf("exit code %d: %s", code, said)
	}
	left, err := os.ReadDir(state)
	if err != nil || len(left) != 1 || left[0].Name() != "thesis.doc" {
		t.Errorf("left in the state folder: %v, %v", left, err)
	}
}
