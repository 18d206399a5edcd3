package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A story can be told on a machine of another name.
func init() {
	if name := os.Getenv("DIGIME_SYNC_TEST_HOST"); name != "" {
		hostname = func() (string, error) { return name, nil }
	}
}

// fleetRig is a machine of a fleet, with the fleet's folder and key.
type fleetRig struct {
	t       *testing.T
	dir     string // the fleet's folder
	config  string // the machine's configuration
	state   string
	private ed25519.PrivateKey
	extra   string // lines of the machine's configuration
}

const fleetLocal = "application_id: my-app\ncontracts: {w: {id: c1, private_key_file: w.key}}\n"

func newFleetRig(t *testing.T) *fleetRig {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	was := hostname
	hostname = func() (string, error) { return "PC-17", nil }
	t.Cleanup(func() { hostname = was })
	home := t.TempDir()
	r := &fleetRig{t: t, dir: filepath.Join(home, "share"), config: filepath.Join(home, "config.yaml"), state: filepath.Join(home, "state"), private: private}
	r.extra = "config_key: " + base64.StdEncoding.EncodeToString(public) + "\nstate_dir: state\n"
	must(t, os.Mkdir(r.dir, 0o700))
	must(t, os.WriteFile(filepath.Join(home, "w.key"), []byte(testKeyPEM()), 0o600))
	r.local("config_url: share\n")
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// local writes the machine's own configuration.
func (r *fleetRig) local(lines string) {
	r.t.Helper()
	must(r.t, os.WriteFile(r.config, []byte(fleetLocal+r.extra+lines), 0o600))
}

func (r *fleetRig) cfg() *Config {
	r.t.Helper()
	cfg, err := loadLocal(r.config)
	must(r.t, err)
	return cfg
}

// put puts a signed file into the fleet's folder.
func (r *fleetRig) put(name, content string) {
	r.t.Helper()
	must(r.t, os.WriteFile(filepath.Join(r.dir, name), []byte(content), 0o600))
	must(r.t, os.WriteFile(filepath.Join(r.dir, name+".sig"), []byte(r.sign(name, content)), 0o600))
}

func (r *fleetRig) sign(name, content string) string {
	return base64.StdEncoding.EncodeToString(ed25519.Sign(r.private, signedText(name, []byte(content)))) + "\n"
}

// fetch looks at the folder, and gives what was taken and the error's text.
func (r *fleetRig) fetch() (changed, fault string) {
	r.t.Helper()
	got, err := fetchFleet(r.t.Context(), r.cfg(), r.config)
	if err != nil {
		fault = err.Error()
	}
	return strings.Join(got.Changed, ", "), fault
}

// holds says which libraries the machine has, by its configuration.
func (r *fleetRig) holds(want ...string) {
	r.t.Helper()
	cfg, err := LoadConfig(r.config)
	must(r.t, err)
	if got := strings.Join(cfg.libraryList(), " "); got != strings.Join(want, " ") {
		r.t.Errorf("the machine has the libraries %q, want %q", got, want)
	}
}

func fleetText(serial int, libraries ...string) string {
	text := "serial: " + strconv.Itoa(serial) + "\nlibraries:\n"
	for _, name := range libraries {
		text += "  " + name + ": {contract: w}\n"
	}
	return text
}

func TestFleetIsTaken(t *testing.T) {
	r := newFleetRig(t)
	r.put("common.yaml", fleetText(1, "alice"))
	if changed, fault := r.fetch(); changed != "common.yaml serial 1" || fault != "" {
		t.Fatal(changed, fault)
	}
	r.holds("alice")
	r.put("pc-17.yaml", fleetText(5, "bob"))
	if changed, fault := r.fetch(); changed != "pc-17.yaml serial 5" || fault != "" {
		t.Fatal(changed, fault)
	}
	r.holds("alice", "bob")
	if changed, fault := r.fetch(); changed != "" || fault != "" {
		t.Fatal(changed, fault)
	}
	r.put("common.yaml", fleetText(3, "carol"))
	if changed, fault := r.fetch(); changed != "common.yaml serial 3 (before: 1)" || fault != "" {
		t.Fatal(changed, fault)
	}
	r.holds("bob", "carol")
	// Without the share, the machine starts with what it has.
	must(t, os.RemoveAll(r.dir))
	if _, fault := r.fetch(); !strings.Contains(fault, "there is no such file") {
		t.Error(fault)
	}
	r.holds("bob", "carol")
	if o := readOutcome(r.state); o.Kind != fleetUnreachable || o.Since.IsZero() {
		t.Errorf("%+v", o)
	}
}

// Every way in which the folder can be bad is said in words of its own, and what
// held before still holds.
func TestFleetIsRefused(t *testing.T) {
	content := fleetText(7, "mallory")
	for _, tt := range []struct {
		name string
		do   func(r *fleetRig, at func(string) string)
		want string
	}{
		{"unsigned", func(r *fleetRig, at func(string) string) {
			must(r.t, os.Remove(at("common.yaml.sig")))
			must(r.t, os.WriteFile(at("common.yaml"), []byte(content), 0o600))
		}, "common.yaml: it has no signature beside it, common.yaml.sig; digime-sync fleet sign common.yaml"},
		{"half-written", func(r *fleetRig, at func(string) string) {
			r.put("common.yaml", content)
			must(r.t, os.WriteFile(at("common.yaml"), []byte(content[:20]), 0o600))
		}, "common.yaml: its signature is not by config_key, or of another content"},
		{"half a signature", func(r *fleetRig, at func(string) string) {
			must(r.t, os.WriteFile(at("common.yaml"), []byte(content), 0o600))
			must(r.t, os.WriteFile(at("common.yaml.sig"), []byte(r.sign("common.yaml", content)[:40]), 0o600))
		}, "common.yaml: its signature, common.yaml.sig, is not one"},
		{"another key", func(r *fleetRig, _ func(string) string) {
			_, r.private, _ = ed25519.GenerateKey(rand.Reader)
			r.put("common.yaml", content)
		}, "common.yaml: its signature is not by config_key"},
		{"another machine's", func(r *fleetRig, at func(string) string) {
			r.put("pc-18.yaml", content)
			must(r.t, os.Rename(at("pc-18.yaml"), at("pc-17.yaml")))
			must(r.t, os.Rename(at("pc-18.yaml.sig"), at("pc-17.yaml.sig")))
		}, "pc-17.yaml: its signature is not by config_key, or of another content or name"},
		{"put back", func(r *fleetRig, _ func(string) string) { r.put("common.yaml", fleetText(3, "mallory")) },
			"common.yaml: it is an older one that was put back: it has serial 3, and 5 was taken before; to roll back, sign the old content with a higher serial"},
		{"the same serial", func(r *fleetRig, _ func(string) string) { r.put("common.yaml", fleetText(5, "mallory")) },
			"common.yaml: its content has changed, but not its serial, 5; raise the serial and sign it again"},
		{"no serial", func(r *fleetRig, _ func(string) string) { r.put("common.yaml", "libraries: {}\n") }, "common.yaml: it has no serial; add for example serial: 20"},
		{"not YAML", func(r *fleetRig, _ func(string) string) { r.put("common.yaml", "serial: 9\n\tx\n") }, "common.yaml: it is not YAML: "},
		{"gone", func(r *fleetRig, at func(string) string) { must(r.t, os.Remove(at("common.yaml"))) },
			"common.yaml: it is gone, and was there with serial 5; to withdraw it, sign one that has nothing but a higher serial"},
		{"its own gone", func(r *fleetRig, at func(string) string) { must(r.t, os.Remove(at("pc-17.yaml"))) }, "pc-17.yaml: it is gone, and was there with serial 2"},
		{"too large", func(r *fleetRig, _ func(string) string) {
			r.put("common.yaml", content+strings.Repeat("# x\n", maxFleetFile/4))
		}, "common.yaml: it has more than 1048576 bytes"},
		{"a web page", func(r *fleetRig, _ func(string) string) { r.put("common.yaml", "<!DOCTYPE html>\n<p>Sign in</p>\n") }, "common.yaml: it is not YAML"},
		{"a folder", func(r *fleetRig, at func(string) string) {
			must(r.t, os.Remove(at("common.yaml")))
			must(r.t, os.Mkdir(at("common.yaml"), 0o700))
		}, "common.yaml: it is not a file; put the file there"},
		{"faults", func(r *fleetRig, _ func(string) string) {
			r.put("common.yaml", "serial: 8\nlibraries: {zoe: {contract: none}}\nstate_dir: /x\nfoo: 1\n")
		}, "fleet's common.yaml:2: libraries.zoe.contract: there is no contract \"none\"; there are w\n" +
			"fleet's common.yaml:3: state_dir: can be set on the machine itself only, not by the fleet; remove it there\n" +
			"fleet's common.yaml:4: foo: is not known"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newFleetRig(t)
			r.put("common.yaml", fleetText(5, "alice"))
			r.put("pc-17.yaml", fleetText(2, "bob"))
			if _, fault := r.fetch(); fault != "" {
				t.Fatal(fault)
			}
			tt.do(r, func(name string) string { return filepath.Join(r.dir, name) })
			changed, fault := r.fetch()
			if changed != "" || !strings.HasPrefix(fault, tt.want) {
				t.Errorf("taken %q, fault\n%s\nwant\n%s", changed, fault, tt.want)
			}
			r.holds("alice", "bob")
			if o := readOutcome(r.state); o.Trouble != fault || o.Kind == "" {
				t.Errorf("kept %+v", o)
			}
		})
	}
}

// Who changes the key may begin with serials anew; what the old key signed holds
// no longer.
func TestFleetKeyChanges(t *testing.T) {
	r := newFleetRig(t)
	r.put("common.yaml", fleetText(1_000_000, "alice"))
	if _, fault := r.fetch(); fault != "" {
		t.Fatal(fault)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	r.private = private
	r.extra = "config_key: " + base64.StdEncoding.EncodeToString(public) + "\nstate_dir: state\n"
	r.local("config_url: share\n")
	cfg, err := LoadConfig(r.config)
	must(t, err)
	if !strings.Contains(cfg.Waiting, "not signed by config_key") || len(cfg.Libraries) > 0 {
		t.Errorf("waiting %q with %v", cfg.Waiting, cfg.Libraries)
	}
	r.put("common.yaml", fleetText(1, "bob"))
	if changed, fault := r.fetch(); changed != "common.yaml serial 1" {
		t.Fatal(changed, fault)
	}
	r.holds("bob")
}

// A key that nobody gives any more is the fleet's to give, whose file is named.
func TestFleetGivesNoMore(t *testing.T) {
	r := newFleetRig(t)
	must(t, os.WriteFile(r.config, []byte(r.extra+"config_url: share\n"), 0o600))
	r.put("common.yaml", "serial: 1\napplication_id: my-app\n")
	if _, fault := r.fetch(); fault != "" {
		t.Fatal(fault)
	}
	r.put("common.yaml", "serial: 2\n")
	if _, fault := r.fetch(); fault != "fleet's common.yaml: application_id: is missing, there and in the machine's own configuration" {
		t.Error(fault)
	}
	r.local("config_url: share\nfolders: [{path: in}]\n") // this is the machine's own
	if _, fault := r.fetch(); !strings.Contains(fault, "config.yaml:6: folders[0].library: is missing") {
		t.Error(fault)
	}
}

// Without the fleet's configuration, a machine that is complete by itself runs,
// and one that is not waits with what leads to it.
func TestFleetHasNotBeenHere(t *testing.T) {
	r := newFleetRig(t)
	r.local("config_url: share\nlibraries: {alice: {contract: w}}\n")
	cfg, err := LoadConfig(r.config)
	must(t, err)
	if cfg.Waiting == "" || len(cfg.Libraries) != 1 {
		t.Errorf("waiting %q with %v", cfg.Waiting, cfg.Libraries)
	}
	r.local("config_url: share\nfolders: [{path: in, library: alice}]\n")
	cfg, err = LoadConfig(r.config)
	must(t, err)
	if cfg.Waiting == "" || len(cfg.Folders) != 0 || cfg.StateDir != r.state {
		t.Errorf("waiting %q: %+v", cfg.Waiting, cfg)
	}
	// What is plainly wrong does not become right by waiting.
	r.local("config_url: share\nfoo: 1\n")
	if _, err = LoadConfig(r.config); err == nil || !strings.Contains(err.Error(), "foo: is not known") {
		t.Error(err)
	}
}

// A damaged record of what was taken is no reason to stop: it is fetched anew.
func TestFleetRecordIsDamaged(t *testing.T) {
	r := newFleetRig(t)
	r.put("common.yaml", fleetText(4, "alice"))
	if _, fault := r.fetch(); fault != "" {
		t.Fatal(fault)
	}
	must(t, os.WriteFile(takenPath(r.state), make([]byte, 512), 0o600))
	cfg, err := LoadConfig(r.config)
	must(t, err)
	if !strings.Contains(cfg.Waiting, "damaged") {
		t.Errorf("waiting %q", cfg.Waiting)
	}
	if changed, fault := r.fetch(); changed != "common.yaml serial 4" {
		t.Fatal(changed, fault)
	}
	r.holds("alice")
}

// FuzzFleetFile holds that no text is taken that the key has not signed under
// this name, and that reading one never panics.
func FuzzFleetFile(f *testing.F) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	must(f, err)
	good := []byte(fleetText(1, "alice"))
	signature := []byte(base64.StdEncoding.EncodeToString(ed25519.Sign(private, signedText("common.yaml", good))))
	f.Add("common.yaml", good, signature)
	f.Add("pc-17.yaml", good, signature)
	f.Add("common.yaml", []byte("serial: 9223372036854775808\n"), []byte("AAAA"))
	f.Add("common.yaml", []byte("serial: &a [*a]\n"), []byte(strings.Repeat("A", 88)))
	f.Fuzz(func(t *testing.T, name string, content, sig []byte) {
		_, _ = fleetSerialOf(name, content)
		if verifyFleet(public, name, content, sig) == nil && (name != "common.yaml" || string(content) != string(good)) {
			t.Errorf("accepted %q %q %q", name, content, sig)
		}
		var files []fleetFile
		if _, err := fleetSerialOf(name, content); err == nil {
			files = append(files, fleetFile{Name: name, Content: content})
		}
		layers := fleetLayers(files)
		l := newConfigLoader("/c", func(string) (string, bool) { return "", false })
		l.load(layers)
		_ = l.err("c.yaml", layers)
	})
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// What was good with the machine's files of that day may not be today's. Then it
// waits for a better one; whatever is wrong on the machine itself is a fault.
func TestFleetDoesNotFitAnyMore(t *testing.T) {
	r := newFleetRig(t)
	r.put("common.yaml", fleetText(1, "alice")+"folders: [{path: in, library: alice}]\n")
	if _, fault := r.fetch(); fault != "" {
		t.Fatal(fault)
	}
	must(t, os.Rename(filepath.Join(filepath.Dir(r.config), "w.key"), filepath.Join(filepath.Dir(r.config), "new.key")))
	cfg, err := LoadConfig(r.config)
	must(t, err)
	if !strings.HasPrefix(cfg.Waiting, "with the fleet's last good configuration it cannot be run: ") || !strings.Contains(cfg.Waiting, "w.key: there is no such file") {
		t.Errorf("waiting %q", cfg.Waiting)
	}
	if err := cfg.ready(); err == nil || len(cfg.Folders) != 0 {
		t.Errorf("ready with %+v", cfg.Folders)
	}
	r.put("common.yaml", fleetText(2, "alice")+"contracts: {w: {private_key_file: new.key}}\n")
	if changed, fault := r.fetch(); changed != "common.yaml serial 2 (before: 1)" {
		t.Fatal(changed, fault)
	}
	r.holds("alice")
	r.local("config_url: share\nfoo: 1\n")
	if _, err := LoadConfig(r.config); err == nil || !strings.Contains(err.Error(), "foo: is not known") {
		t.Error(err)
	}
}
