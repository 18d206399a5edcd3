package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/sync/digime"
)

// loadText reads a configuration that lies in /etc/c, without key files.
func loadText(text string, env map[string]string) (*Config, error) {
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	l := newConfigLoader(filepath.FromSlash("/etc/c"), lookup)
	layers := []*layer{{data: []byte(text)}}
	cfg := l.load(layers)
	return cfg, l.err("c.yaml", layers)
}

// minimal is the beginning of a configuration that needs nothing else.
const minimal = `application_id: my-app
contracts: {w: {id: c1, private_key_file: w.key}}
libraries: {alice: {contract: w}}
`

func TestConfigDefaults(t *testing.T) {
	cfg, err := loadText("application_id: my-app\nfolders: [{path: /in, library: alice, contract: w}]\ncontracts: {w: {id: c1, private_key_file: w.key}}\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		ApplicationID: "my-app",
		StateDir:      defaultStateDir(),
		API:           APIConfig{BaseURL: digime.DefaultBaseURL, OnboardURL: digime.DefaultOnboardURL, LegacyBaseURL: digime.DefaultLegacyBaseURL},
		Contracts:     map[string]ContractConfig{"w": {ID: "c1", PrivateKeyFile: filepath.FromSlash("/etc/c/w.key")}},
		Folders: []FolderConfig{{
			Path: filepath.FromSlash("/in"), Library: "alice", Contract: "w", Push: "library", Sidecar: "required",
			Settle: 5 * time.Second, Watch: "auto", After: "keep", OnFailure: "report", InDoubt: "resend",
		}},
		Log:            LogConfig{FileNames: "hashed", Level: "info"},
		ConfigInterval: 15 * time.Minute,
	}
	if runtime.GOOS == "windows" {
		want.Folders[0].Path = cfg.Folders[0].Path // a path without a drive is relative there
	}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
}

const everything = `
application_id: my-app
state_dir: ${STATE}/digime
api:
  base_url: http://${HOST}:8420/v1.7
  onboard_url: http://127.0.0.1:8420/apps/
  legacy_base_url: http://[::1]:8420/v1.6/
  proxy: http://me:secret@proxy:3128
  ca_file: ca.pem
contracts:
  clinic-write: &write {id: fJI8P5Z4, private_key_file: keys/w.key, redirect_uri: "http://localhost:8421/callback"}
  clinic-read: *write
libraries:
  alice: {contract: clinic-write, read_contract: clinic-read, accounts: [P-1001, "17"]}
  Bob B.:
    contract: clinic-write
    postbox: {id: "p", public_key_file: bob.pem}
folders:
  - path: in/alice
    library: alice
    contract: clinic-write
    push: library
    provider: {version: 3.0.2, account_id: a}
    sidecar: optional
    defaults: {mimeType: auto, accounts: [P-1001], tags: [lab]}
    recursive: true
    include: ["*.pdf", "**/scans/*.{jpg,png}"]
    exclude: ["*.bak"]
    allow_empty: true
    settle: 1m30s
    watch: poll
    after: move
    on_failure: quiet
    in_doubt: hold
  - {path: in/people, library: by-subfolder, contract: clinic-write}
  - {path: in/all, library: by-account}
  - {path: in/bob, library: Bob B., push: postbox}
log: {file_names: full, level: debug}
config_url: https://${HOST}/digime
config_key: mqvzxKCtOxBdnMgCEFFXImXfO9KPFw1gr0f1RLyjmWg=
config_interval: 1h
enrolment_file: enrol.json
report_to: file:///srv/reports
newest_version: 1.4.2
`

func TestConfigEverything(t *testing.T) {
	cfg, err := loadText(everything, map[string]string{"STATE": "/srv", "HOST": "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	at := func(p string) string { return filepath.Join(filepath.FromSlash("/etc/c"), filepath.FromSlash(p)) }
	contract := ContractConfig{ID: "fJI8P5Z4", PrivateKeyFile: at("keys/w.key"), RedirectURI: "http://localhost:8421/callback"}
	plain := FolderConfig{Push: "library", Sidecar: "required", Settle: 5 * time.Second, Watch: "auto", After: "keep", OnFailure: "report", InDoubt: "resend"}
	people, all, bob := plain, plain, plain
	people.Path, people.Library, people.Contract, people.Recursive = at("in/people"), "by-subfolder", "clinic-write", true
	all.Path, all.Library = at("in/all"), "by-account"
	bob.Path, bob.Library, bob.Push = at("in/bob"), "Bob B.", "postbox"
	want := &Config{
		ApplicationID: "my-app",
		StateDir:      cfg.StateDir, // below
		API: APIConfig{BaseURL: "http://localhost:8420/v1.7/", OnboardURL: "http://127.0.0.1:8420/apps/", LegacyBaseURL: "http://[::1]:8420/v1.6/",
			Proxy: "http://me:secret@proxy:3128", CAFile: at("ca.pem")},
		Contracts: map[string]ContractConfig{"clinic-write": contract, "clinic-read": contract},
		Libraries: map[string]LibraryConfig{
			"alice":  {Contract: "clinic-write", ReadContract: "clinic-read", Accounts: []string{"P-1001", "17"}},
			"Bob B.": {Contract: "clinic-write", Postbox: &PostboxConfig{ID: "p", PublicKeyFile: at("bob.pem")}},
		},
		Folders: []FolderConfig{{
			Path: at("in/alice"), Library: "alice", Contract: "clinic-write", Push: "library",
			Provider: ProviderConfig{Version: "3.0.2", AccountID: "a"}, Sidecar: "optional",
			Defaults:  DefaultsConfig{MimeType: "auto", Accounts: []string{"P-1001"}, Tags: []string{"lab"}},
			Recursive: true, Include: []string{"*.pdf", "**/scans/*.{jpg,png}"}, Exclude: []string{"*.bak"}, AllowEmpty: true,
			Settle: 90 * time.Second, Watch: "poll", After: "move", OnFailure: "quiet", InDoubt: "hold",
		}, people, all, bob},
		Log:       LogConfig{FileNames: "full", Level: "debug"},
		ConfigURL: "https://localhost/digime/", ConfigKey: "mqvzxKCtOxBdnMgCEFFXImXfO9KPFw1gr0f1RLyjmWg=", ConfigInterval: time.Hour,
		EnrolmentFile: at("enrol.json"), ReportTo: cfg.ReportTo, NewestVersion: "1.4.2",
	}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
	if runtime.GOOS != "windows" && (cfg.StateDir != "/srv/digime" || cfg.ReportTo != "/srv/reports") {
		t.Errorf("state_dir is %s, report_to %s", cfg.StateDir, cfg.ReportTo)
	}
}

func TestConfigAcceptsEmptyGroups(t *testing.T) {
	cfg, err := loadText("application_id: a\napi:\ncontracts:\nlibraries:\nfolders:\nlog:\n", nil)
	if err != nil || cfg.API.BaseURL != digime.DefaultBaseURL || cfg.Log.Level != "info" {
		t.Errorf("%+v, %v", cfg, err)
	}
}

func TestSystemPaths(t *testing.T) {
	home := map[string]string{"HOME": "/home/ann"}
	for _, tt := range []struct {
		goos          string
		root          bool
		env           map[string]string
		config, state string
	}{
		{"linux", true, home, "/etc/digime-sync/config.yaml", "/var/lib/digime-sync"},
		{"linux", false, home, "/home/ann/.config/digime-sync/config.yaml", "/home/ann/.local/state/digime-sync"},
		{"linux", false, nil, "/etc/digime-sync/config.yaml", "/var/lib/digime-sync"},
		{"freebsd", false, map[string]string{"HOME": "/h", "XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s"}, "/c/digime-sync/config.yaml", "/s/digime-sync"},
		{"linux", false, map[string]string{"HOME": "/h", "XDG_CONFIG_HOME": "c", "XDG_STATE_HOME": "./s"}, "/h/.config/digime-sync/config.yaml", "/h/.local/state/digime-sync"},
		{"darwin", true, map[string]string{"HOME": "/var/root"}, "/Library/Application Support/digime-sync/config.yaml", "/Library/Application Support/digime-sync/state"},
		{"darwin", false, map[string]string{"HOME": "/Users/ann"}, "/Users/ann/Library/Application Support/digime-sync/config.yaml", "/Users/ann/Library/Application Support/digime-sync/state"},
		{"windows", false, map[string]string{"ProgramData": `D:\Data`}, `D:\Data\digime-sync\config.yaml`, `D:\Data\digime-sync\state`},
		{"windows", false, nil, `C:\ProgramData\digime-sync\config.yaml`, `C:\ProgramData\digime-sync\state`},
	} {
		config, state := systemPaths(tt.goos, tt.root, func(name string) string { return tt.env[name] })
		if config != tt.config || state != tt.state {
			t.Errorf("%s, root %v, %v: %s and %s, want %s and %s", tt.goos, tt.root, tt.env, config, state, tt.config, tt.state)
		}
	}
}

// configKeys are made once: making them takes a while.
var configKeys = sync.OnceValue(func() [2]*rsa.PrivateKey {
	var keys [2]*rsa.PrivateKey
	for i, bits := range []int{2048, 1024} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// writeFiles makes a folder of files by name.
func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoadConfigReadsKeys(t *testing.T) {
	key := configKeys()[0]
	pkix, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	dir := writeFiles(t, map[string]string{
		"ca.pem": pemText("CERTIFICATE", cert),
		"w.key":  pemText("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)),
		"p1.pem": pemText("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&key.PublicKey)),
		"p2.pem": pemText("PUBLIC KEY", pkix),
	})
	path := filepath.Join(dir, "c.yaml")
	text := strings.Replace(minimal, "alice: {contract: w}", "alice: {contract: w, postbox: {id: x, public_key_file: p1.pem}}, bob: {contract: w, postbox: {id: x, public_key_file: p2.pem}}", 1)
	if err := os.WriteFile(path, []byte(text+"api: {ca_file: ca.pem}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := LoadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if !key.Equal(cfg.Contracts["w"].Key) {
		t.Error("contract w has another key")
	}
	if !x509.NewCertPool().AppendCertsFromPEM(cfg.API.CA) {
		t.Error("the certificate was not read")
	}
	for _, name := range []string{"alice", "bob"} {
		if !key.PublicKey.Equal(cfg.Libraries[name].Postbox.PublicKey) {
			t.Errorf("%s's postbox has another key", name)
		}
	}
}

func TestLoadConfigKeyFaults(t *testing.T) {
	small := configKeys()[1]
	dir := writeFiles(t, map[string]string{
		"small.key": pemText("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(small)),
		"small.pem": pemText("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&small.PublicKey)),
		"odd.pem":   pemText("PUBLIC KEY", []byte("odd")),
		"text":      "hello",
		"c.yaml": `application_id: a
api: {ca_file: text}
contracts:
  small: {id: c, private_key_file: small.key}
  gone: {id: c, private_key_file: gone.key}
  text: {id: c, private_key_file: text}
  folder: {id: c, private_key_file: .}
libraries:
  a: {contract: gone, postbox: {id: p, public_key_file: small.pem}}
  b: {contract: gone, postbox: {id: p, public_key_file: odd.pem}}
  c: {contract: gone, postbox: {id: p, public_key_file: text}}
unknown: 1
`,
	})
	path := filepath.Join(dir, "c.yaml")
	at := func(name string) string { return filepath.Join(dir, name) }
	want := []string{
		`2: api.ca_file: ` + at("text") + ` holds no certificate in PEM form; name a file with -----BEGIN CERTIFICATE-----`,
		`4: contracts.small.private_key_file: ` + at("small.key") + `: private key: it has 1024 bits, at least 2048 are needed`,
		`5: contracts.gone.private_key_file: ` + at("gone.key") + `: there is no such file`,
		`6: contracts.text.private_key_file: ` + at("text") + `: private key: there is no -----BEGIN … PRIVATE KEY----- in it`,
		`7: contracts.folder.private_key_file: ` + dir + ` is not a key or certificate file`,
		`9: libraries.a.postbox.public_key_file: ` + at("small.pem") + `: the key has 1024 bits, at least 2048 are needed`,
		`10: libraries.b.postbox.public_key_file: ` + at("odd.pem") + `: it is not an RSA public key`,
		`11: libraries.c.postbox.public_key_file: ` + at("text") + `: there is no -----BEGIN RSA PUBLIC KEY----- in it`,
		`12: unknown: is not known; known here are ` + topKeys,
	}
	_, err := LoadConfig(path)
	var report *ConfigError
	if !errors.As(err, &report) {
		t.Fatal(err)
	}
	if got := strings.ReplaceAll(err.Error(), path+":", ""); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

func TestLoadConfigMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.yaml")
	_, err := LoadConfig(path)
	var report *ConfigError
	if !errors.As(err, &report) || !errors.Is(err, fs.ErrNotExist) || err.Error() != path+": there is no such file" {
		t.Errorf("%v", err)
	}
}

func TestUnreadable(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want ConfigFault
	}{
		{&fs.PathError{Op: "open", Path: "k", Err: fs.ErrPermission}, ConfigFault{Text: "it cannot be read", Hint: "let the user the program runs as read it"}},
		{&fs.PathError{Op: "read", Path: "k", Err: errors.New("input/output error")}, ConfigFault{Text: "it cannot be read: input/output error"}},
	} {
		if got := unreadable(tt.err); got != tt.want {
			t.Errorf("%v: %+v, want %+v", tt.err, got, tt.want)
		}
	}
}

// FuzzLoadConfig holds that reading never panics, gives either a configuration
// or faults at lines of the text, and says the same each time.
func FuzzLoadConfig(f *testing.F) {
	f.Add(everything)
	f.Add(minimal)
	for _, tt := range configFaultTests {
		f.Add(tt.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := loadText(text, map[string]string{"HOST": "localhost"})
		if err == nil {
			if cfg.ApplicationID == "" || !filepath.IsAbs(cfg.StateDir) {
				t.Errorf("accepted %+v", cfg)
			}
			for _, name := range slices.Collect(maps.Keys(cfg.Libraries)) {
				if !filepath.IsLocal(name) {
					t.Errorf("accepted a library %q", name)
				}
			}
			return
		}
		var report *ConfigError
		if !errors.As(err, &report) || len(report.Faults) == 0 {
			t.Fatalf("%#v", err)
		}
		for _, fault := range report.Faults {
			if fault.Line < 0 || fault.Line > strings.Count(text, "\n")+strings.Count(text, "\r")+2 || fault.Text == "" {
				t.Errorf("%+v", fault)
			}
		}
		if _, again := loadText(text, map[string]string{"HOST": "localhost"}); again == nil || again.Error() != err.Error() {
			t.Errorf("first\n%v\nthen\n%v", err, again)
		}
	})
}

// testKeyPEM is a private key that a contract can have.
func testKeyPEM() string {
	return pemText("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(configKeys()[0]))
}
