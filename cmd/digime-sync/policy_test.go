package main

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"howett.net/plist"
)

// readPolicy reads a policy over a configuration.
func readPolicy(text string, l *layer) (*Config, error) {
	loader := newConfigLoader("/etc/c", func(string) (string, bool) { return "", false })
	layers := []*layer{{data: []byte(text)}, l}
	cfg := loader.load(layers)
	return cfg, loader.err("c.yaml", layers)
}

// registryTree is what reading the registry gives: subkeys are groups, and
// values may have dots in their names.
func registryTree() map[string]any {
	tree := map[string]any{
		"folders": map[string]any{
			"10": map[string]any{"path": "/in/ten", "library": "A. Miller"},
			"9":  map[string]any{"path": "/in/nine", "library": "alice", "recursive": uint64(1), "settle": "7s"},
		},
		"libraries": map[string]any{"A. Miller": map[string]any{
			"contract": "w", "accounts": map[string]any{"1": "P-1", "2": "P-2", "10": "P-10"},
			"postbox": map[string]any{"id": "p", "public_key_file": "p.pem"},
		}},
	}
	putDotted(tree, "api.proxy", "http://proxy:3128")
	putDotted(tree, "log.level", "warn")
	putDotted(tree, "folders.9.include", []string{"*.pdf", "*.jpg"})
	putDotted(tree, "folders.9.allow_empty", "false")
	putDotted(tree, "config_interval", "1h")
	return tree
}

func TestRegistryPolicy(t *testing.T) {
	cfg, err := readPolicy(minimal, policyLayer(`HKLM\SOFTWARE\Policies\digime-sync`, registryTree()))
	if err != nil {
		t.Fatal(err)
	}
	wantPolicy(t, cfg)
	if f := cfg.Folders[0]; f.Library != "alice" || !f.Recursive || f.Settle != 7*time.Second || !reflect.DeepEqual(f.Include, []string{"*.pdf", "*.jpg"}) {
		t.Errorf("folder %+v", f)
	}
	if cfg.ConfigInterval != time.Hour {
		t.Errorf("interval %s", cfg.ConfigInterval)
	}
}

func wantPolicy(t *testing.T, cfg *Config) {
	t.Helper()
	if len(cfg.Folders) != 2 || !strings.HasSuffix(cfg.Folders[0].Path, "nine") {
		t.Fatalf("folders %+v", cfg.Folders)
	}
	if l := cfg.Libraries["A. Miller"]; l.Contract != "w" || !reflect.DeepEqual(l.Accounts, []string{"P-1", "P-2", "P-10"}) || l.Postbox == nil || l.Postbox.ID != "p" {
		t.Errorf("library %+v", l)
	}
	if cfg.API.Proxy != "http://proxy:3128" || cfg.Log.Level != "warn" {
		t.Errorf("proxy %q, level %q", cfg.API.Proxy, cfg.Log.Level)
	}
}

func TestPolicyFaults(t *testing.T) {
	tree := map[string]any{"api": map[string]any{"proxi": "x"}, "log": "debug", "folders": map[string]any{
		"1": map[string]any{"path": "/in", "library": "alice", "recursive": uint64(2), "settle": uint64(5), "include": "*.pdf"},
	}}
	_, err := readPolicy(minimal, policyLayer("HKLM", tree))
	want := `HKLM: api.proxi: is not known; did you mean "proxy"?
HKLM: folders[0].include: must be a list; found text; write [a, b], or each entry on a line of its own after "- "
HKLM: folders[0].recursive: must be true or false; found text
HKLM: folders[0].settle: must be a duration; found "5"; write for example 5s, 2m or 1h30m
HKLM: log: must be a group of keys; found text; write each key on a line of its own, indented`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestPropertyListPolicy(t *testing.T) {
	var text bytes.Buffer
	must(t, plist.NewEncoder(&text).Encode(map[string]any{
		"PayloadUUID": "x", "PayloadVersion": 1,
		"api": map[string]any{"proxy": "http://proxy:3128"},
		"log": map[string]any{"level": "warn"},
		"folders": []any{
			map[string]any{"path": "/in/nine", "library": "alice", "recursive": true},
			map[string]any{"path": "/in/ten", "library": "A. Miller"},
		},
		"libraries": map[string]any{"A. Miller": map[string]any{
			"contract": "w", "accounts": []any{"P-1", "P-2", "P-10"}, "postbox": map[string]any{"id": "p", "public_key_file": "p.pem"},
		}},
	}))
	cfg, err := readPolicy(minimal, plistLayer("x.plist", text.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	wantPolicy(t, cfg)
	if !cfg.Folders[0].Recursive {
		t.Error("not recursive")
	}
	_, err = readPolicy(minimal, plistLayer("x.plist", text.Bytes()[:100]))
	var report *ConfigError
	if !errors.As(err, &report) || !strings.HasPrefix(report.Faults[0].Text, "it is not a property list") {
		t.Errorf("half a property list: %v", err)
	}
}
