package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// loadTexts reads layers that lie in /etc/c: the configuration file, conf.d, and
// with a name of their own the fleet's and the policy's.
func loadTexts(texts ...string) (*Config, error) {
	l := newConfigLoader(filepath.FromSlash("/etc/c"), func(string) (string, bool) { return "", false })
	var layers []*layer
	for i, text := range texts {
		next := &layer{kind: layerConfD, file: fmt.Sprintf("%d.yaml", i), data: []byte(text)}
		if i == 0 {
			next = &layer{data: []byte(text)}
		}
		if rest, found := strings.CutPrefix(text, "policy:\n"); found {
			next = &layer{kind: layerPolicy, file: "policy", data: []byte(rest)}
		}
		if rest, found := strings.CutPrefix(text, "fleet:\n"); found {
			next = &layer{kind: layerFleet, file: "fleet", data: []byte(rest)}
		}
		layers = append(layers, next)
	}
	cfg := l.load(layers)
	cfg.Settings = l.elsewhere()
	return cfg, l.err("c.yaml", layers)
}

func TestLayersGoOverEachOther(t *testing.T) {
	cfg, err := loadTexts(minimal+`api: {proxy: "http://a:1"}
log: {level: debug}
folders:
  - {path: /in/alice, library: alice, settle: 9s, include: ["*.pdf", "*.jpg"], defaults: {tags: [a]}}
`, `# comments alone
`, `contracts: {r: {id: c2, private_key_file: r.key}}
libraries:
  alice: {read_contract: r, accounts: [P-1]}
  bob: {contract: r}
folders:
  - {path: /in/bob, library: bob}
  - {path: /in/./alice/, include: ["*.txt"], defaults: {mimeType: auto}, provider: {version: stu3}}
`, `policy:
api: {proxy: "http://me:geheim@b:2"}
folders: [{path: /in/bob, after: move, recursive: true}]
`)
	if err != nil {
		t.Fatal(err)
	}
	alice := FolderConfig{
		Path: filepath.FromSlash("/in/alice"), Library: "alice", Push: "library", Sidecar: "required", Settle: 9 * time.Second, Watch: "auto",
		After: "keep", OnFailure: "report", InDoubt: "resend", Include: []string{"*.txt"}, Provider: ProviderConfig{Version: "stu3"},
		Defaults: DefaultsConfig{MimeType: "auto", Tags: []string{"a"}},
	}
	bob := FolderConfig{
		Path: filepath.FromSlash("/in/bob"), Library: "bob", Push: "library", Sidecar: "required", Settle: 5 * time.Second, Watch: "auto",
		After: "move", OnFailure: "report", InDoubt: "resend", Recursive: true,
	}
	if len(cfg.Folders) == 2 && filepath.Separator == '\\' {
		alice.Path, bob.Path = cfg.Folders[0].Path, cfg.Folders[1].Path // a path without a drive is relative there
	}
	if want := []FolderConfig{alice, bob}; !reflect.DeepEqual(cfg.Folders, want) {
		t.Errorf("folders\n%+v\nwant\n%+v", cfg.Folders, want)
	}
	wantLibraries := map[string]LibraryConfig{
		"alice": {Contract: "w", ReadContract: "r", Accounts: []string{"P-1"}}, "bob": {Contract: "r"},
	}
	if !reflect.DeepEqual(cfg.Libraries, wantLibraries) || len(cfg.Contracts) != 2 {
		t.Errorf("libraries %+v, contracts %+v", cfg.Libraries, cfg.Contracts)
	}
	if cfg.API.Proxy != "http://me:geheim@b:2" || cfg.Log.Level != "debug" {
		t.Errorf("proxy %q, level %q", cfg.API.Proxy, cfg.Log.Level)
	}
	var got []string
	for _, s := range cfg.Settings {
		got = append(got, fmt.Sprintf("%s=%s %s:%d %v", s.Key, s.Value, s.File, s.Line, s.Managed))
	}
	want := `contracts.r.id=c2 2.yaml:1 false
contracts.r.private_key_file=r.key 2.yaml:1 false
libraries.alice.accounts=[P-1] 2.yaml:3 false
libraries.alice.read_contract=r 2.yaml:3 false
libraries.bob.contract=r 2.yaml:4 false
folders[1].library=bob 2.yaml:6 false
folders[0].defaults.mimeType=auto 2.yaml:7 false
folders[0].include=[*.txt] 2.yaml:7 false
folders[0].path=/in/./alice/ 2.yaml:7 false
folders[0].provider.version=stu3 2.yaml:7 false
api.proxy=http://me:xxxxx@b:2 policy:1 true
folders[1].after=move policy:2 true
folders[1].path=/in/bob policy:2 true
folders[1].recursive=true policy:2 true`
	if strings.Join(got, "\n") != want {
		t.Errorf("settings\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}

// The faults of all layers come at once, those of values that another layer
// replaces too.
func TestLayersFaults(t *testing.T) {
	for _, tt := range []struct {
		name  string
		texts []string
		want  string
	}{
		{"all at once", []string{"log: {level: loud}\nfolders: [{path: /a, library: zoe}]\n", "log: {level: info}\nfoo: 1\n", "policy:\n\napi: {proxy: nothing}\nfolders: [{path: /a, settle: 5}]\n"},
			`c.yaml:1: log.level: "loud" is not possible; write debug, info, warn or error
c.yaml:1: application_id: is missing
c.yaml:2: folders[0].library: there is no library "zoe"; add it under libraries, or give the folder a contract
1.yaml:2: foo: is not known; known here are ` + topKeys + `
policy:2: api.proxy: is not a URL; write for example http://proxy.example:3128
policy:3: folders[0].settle: must be a duration; found "5"; write for example 5s, 2m or 1h30m`},
		{"one that is not YAML hides what follows from it", []string{minimal, "libraries: {bob: {contract: v}\n", "folders: [{path: /a, library: nobody, settle: x}]\n"},
			`1.yaml:1: this is not YAML: did not find expected ',' or '}'
2.yaml:1: folders[0].settle: must be a duration; found "x"; write for example 5s, 2m or 1h30m`},
		{"twice in one layer", []string{minimal, "log: {level: info}\nlog: {level: warn}\n"}, "1.yaml:2: log: is given twice, first on line 1"},
		{"the same folder twice in one layer", []string{minimal, "folders:\n  - {path: /a, library: alice}\n  - {path: /a, library: alice}\n"},
			"1.yaml:3: folders[1].path: is the same folder as folders[0] (1.yaml, line 2); put both into one entry"},
		{"a folder in another layer's", []string{minimal + "folders: [{path: /a, library: alice, recursive: true}]\n", "folders: [{path: /a/b, library: alice}]\n"},
			"1.yaml:1: folders[1].path: lies inside folders[0] (line 4), which takes the folders below it too; move it, or write recursive: false there"},
		{"what is for the machine alone", []string{minimal, "fleet:\nserial: 3\nstate_dir: /x\nconfig_url: /y\nconfig_key: z\nenrolment_file: /etc/passwd\nreport_to: /reports\n"},
			`fleet:2: state_dir: can be set on the machine itself only, not by the fleet; remove it there
fleet:3: config_url: can be set on the machine itself only, not by the fleet; remove it there
fleet:4: config_key: can be set on the machine itself only, not by the fleet; remove it there
fleet:5: enrolment_file: can be set on the machine itself only, not by the fleet; remove it there`},
		{"a number that is none", []string{minimal, "fleet:\nserial: -3\n"}, `fleet:1: serial: must be a number; found "-3"; write a whole number from 1`},
		{"a folder that is none", []string{minimal, "folders: [x, {path: [a], library: alice}]\n"},
			`1.yaml:1: folders[0]: must be a group of keys; found text; write each key on a line of its own, indented
1.yaml:1: folders[1].path: must be text; found a list; put it in quotes`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := loadTexts(tt.texts...)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got\n%v\nwant\n%s", err, tt.want)
			}
		})
	}
}

func TestConfD(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.yaml")
	write := func(name, text string) {
		t.Helper()
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	write("w.key", testKeyPEM())
	write("config.yaml", minimal)
	first := layerStamp(path)
	write("conf.d/20.yaml", "log: {level: warn}\n")
	write("conf.d/10.yaml", "log: {level: debug}\nlibraries: {bob: {contract: w}}\n")
	write("conf.d/.hidden.yaml", "nonsense")
	write("conf.d/README", "nonsense")
	cfg, err := LoadConfig(path)
	must(t, err)
	if cfg.Log.Level != "warn" || len(cfg.Libraries) != 2 {
		t.Errorf("level %q, libraries %v", cfg.Log.Level, cfg.Libraries)
	}
	second := layerStamp(path)
	write("conf.d/20.yaml", "log: {level: error}\n")
	if third := layerStamp(path); first == second || second == third {
		t.Errorf("a change of conf.d is not seen: %q, %q, %q", first, second, third)
	}
	write("conf.d/30.yml", "log: {level: error}\n")
	_, err = LoadConfig(path)
	if want := filepath.Join(dir, "conf.d", "30.yml") + ": the name ends in .yml, and only .yaml is read; rename it"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	var report *ConfigError
	if !errors.As(err, &report) || report.Path != path {
		t.Errorf("%+v", report)
	}
}

// FuzzLayers holds that layers over a good configuration never panic, and that
// faults name the layer.
func FuzzLayers(f *testing.F) {
	for _, tt := range configFaultTests {
		f.Add(tt.text, everything)
		f.Add(everything, tt.text)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		_, err := loadTexts(everythingWithoutVariables, a, "policy:\n"+b)
		var report *ConfigError
		if err != nil && (!errors.As(err, &report) || len(report.Faults) == 0) {
			t.Fatalf("%#v", err)
		}
	})
}

var everythingWithoutVariables = strings.NewReplacer("${STATE}", "/srv", "${HOST}", "localhost").Replace(everything)
