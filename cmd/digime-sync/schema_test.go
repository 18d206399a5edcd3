package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/digime-sync/digime-sync/packaging"
	"github.com/digime-sync/digime-sync/sidecar"
)

// compiled is a schema as a validator of another make reads it.
func compiled(t testing.TB, text string) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	must(t, err)
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	must(t, c.AddResource("ours.json", doc))
	s, err := c.Compile("ours.json")
	must(t, err)
	return s
}

// asJSON is a YAML text as editors hand it to a schema; false when it is none.
func asJSON(text string) (any, bool) {
	var v any
	if yaml.Unmarshal([]byte(text), &v) != nil {
		return nil, false
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, false
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	return doc, err == nil
}

// onlyCheckKnows are the faults that no schema can see: of names that lead
// nowhere, of values that contradict each other, of what the environment holds,
// and of what YAML allows and JSON does not know.
var onlyCheckKnows = []string{
	"variable not set", "variable empty", "URLs", "proxy without a host", "proxy that cannot be parsed", "proxy with a port that is none",
	"proxy with a port of 0", "proxy with a path", "proxy with a query", "redirect URIs", "fleet without a key", "no contracts",
	"libraries", "no libraries", "many libraries", "patterns", "binary", "merge", "two documents", "by-subfolder without subfolders", "the same folder", "a folder in a folder", "the root", "the state folder",
}

func TestConfigSchema(t *testing.T) {
	s := compiled(t, packaging.ConfigSchema)
	for name, text := range goodConfigs(t) {
		doc, ok := asJSON(text)
		if !ok {
			t.Errorf("%s is not YAML", name)
		} else if err := s.Validate(doc); err != nil {
			t.Errorf("%s is refused: %v", name, err)
		}
		if _, err := loadText(text, map[string]string{"STATE": "/srv", "HOST": "localhost"}); err != nil {
			t.Errorf("LoadConfig refuses %s: %v", name, err)
		}
	}
	var accepted []string
	for _, tt := range configFaultTests {
		doc, ok := asJSON(tt.text)
		if ok && s.Validate(doc) == nil {
			accepted = append(accepted, tt.name)
		}
	}
	slices.Sort(accepted)
	if want := slices.Sorted(slices.Values(onlyCheckKnows)); !slices.Equal(accepted, want) {
		t.Errorf("the schema accepts, of what LoadConfig refuses,\n%q\nwant\n%q", accepted, want)
	}
}

// goodConfigs are ours and those README.md shows.
func goodConfigs(t *testing.T) map[string]string {
	t.Helper()
	list := map[string]string{"minimal": minimal, "everything": everything, "empty groups": "application_id: a\napi:\ncontracts:\nlibraries:\nfolders:\nlog:\n"}
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	must(t, err)
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(strings.ReplaceAll(string(readme), "\r\n", "\n"), -1) {
		if strings.Contains(block[1], "application_id:") {
			list["README: "+block[1]] = block[1]
		}
	}
	if len(list) < 4 {
		t.Errorf("README.md shows no whole configuration: %q", slices.Collect(maps.Keys(list)))
	}
	return list
}

// A layer needs nothing; everything else is as in config.yaml.
func TestLayerSchema(t *testing.T) {
	s := compiled(t, packaging.LayerSchema)
	for text, good := range map[string]bool{
		"serial: 2026112201\n": true, "log: {level: warn}\n": true, "libraries: {alice: {accounts: [P-1]}}\n": true, "libraries: {alice: }\n": true,
		"folders: [{path: /a, settle: 1s}]\n": true, everything: true,
		"serial: 0\n": false, "serial: '7'\n": false, "log: {level: loud}\n": false, "foo: 1\n": false, "folders: [{path: /a, settle: 0s}]\n": false,
		"libraries: {a/b: {contract: w}}\n": false, "config_key: abc\n": false,
	} {
		doc, ok := asJSON(text)
		if !ok {
			t.Fatalf("%q is not YAML", text)
		}
		if err := s.Validate(doc); (err == nil) != good {
			t.Errorf("%q: %v, want %v", text, err, good)
		}
		l := newConfigLoader("/etc/c", func(string) (string, bool) { return "localhost", true })
		layers := []*layer{{kind: layerConfD, file: "x", data: []byte(text)}}
		if strings.HasPrefix(text, "serial") {
			layers[0].kind = layerFleet
		}
		l.check(l.read(layers))
		if err := l.err("c.yaml", layers); good && text != everything && err != nil && !strings.Contains(err.Error(), "there is no") {
			t.Errorf("%q: the loader says %v", text, err)
		} else if !good && err == nil {
			t.Errorf("%q: the loader accepts it", text)
		}
	}
}

// The same samples are accepted and refused by the schema and by Parse.
func TestSidecarSchema(t *testing.T) {
	s := compiled(t, packaging.SidecarSchema)
	for _, text := range sidecarSamples {
		_, parsed := sidecar.Parse([]byte(text))
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		must(t, err)
		if err := s.Validate(doc); (err == nil) != (parsed == nil) {
			t.Errorf("%s\nschema: %v\nParse:  %v", text, err, parsed)
		}
	}
	good := 0
	for _, text := range sidecarSamples {
		if _, err := sidecar.Parse([]byte(text)); err == nil {
			good++
		}
	}
	if bad := len(sidecarSamples) - good; good < 12 || bad < 30 {
		t.Errorf("%d good and %d bad samples", good, bad)
	}
}

var sidecarSamples = []string{
	`{}`, `{"mimeType": "application/pdf"}`, `{"mimeType": "auto"}`, `{"mimeType": "text/plain; charset=utf-8"}`,
	`{"mimeType": "application/pdf", "accounts": [{"accountId": "P-1001"}], "reference": ["Blood test"], "tags": ["lab"]}`,
	`{"reference": [], "tags": [""], "contractId": "c", "appId": "a", "providerName": "City Clinic", "serviceGroups": [1, -2]}`,
	`{"objectTypes": [{"name": "Observation", "references": ["x"]}, {"name": "y"}]}`, `{"objectTypes": [], "serviceGroups": []}`,
	`{"provider": {"accountId": "P 1"}}`, `{"provider": {"version": "stu3"}}`, `{"provider": {"version": "3.0.2", "accountId": "x"}}`,
	`{"$schema": "sidecar.schema.json", "accounts": [{"accountId": "ä ö"}]}`,
	`{"fileName": "x.pdf", "fileDescriptor": {"mimeType": "application/pdf"}, "provider": {"version": "stu3"}, "$schema": ""}`, `{"fileDescriptor": {}}`,
	`[]`, `"x"`, `7`, `null`, `true`,
	`{"mimetype": "application/pdf"}`, `{"mimeType": "pdf"}`, `{"mimeType": ""}`, `{"mimeType": 7}`, `{"mimeType": null}`, `{"mimeType": ["a/b"]}`,
	`{"accounts": []}`, `{"accounts": [{}]}`, `{"accounts": ["P-1"]}`, `{"accounts": {"accountId": "P-1"}}`, `{"accounts": [{"accountId": ""}]}`,
	`{"accounts": [{"accountId": " P-1"}]}`, `{"accounts": [{"accountId": "P-1 "}]}`, `{"accounts": [{"accountId": 7}]}`, `{"accounts": [{"accountId": "a", "x": 1}]}`,
	`{"reference": "x"}`, `{"reference": [7]}`, `{"tags": null}`, `{"contractId": ""}`, `{"appId": 1}`, `{"providerName": ""}`,
	`{"objectTypes": [{}]}`, `{"objectTypes": [{"name": ""}]}`, `{"objectTypes": [{"name": "a", "references": "b"}]}`, `{"serviceGroups": ["1"]}`, `{"serviceGroups": [1.5]}`,
	`{"provider": {}}`, `{"provider": {"version": "r4"}}`, `{"provider": {"accountId": ""}}`, `{"provider": null}`,
	`{"fileName": "x.pdf"}`, `{"fileDescriptor": {"fileName": "x"}}`, `{"fileDescriptor": {}, "mimeType": "a/b"}`, `{"fileDescriptor": null}`,
	`{"fileDescriptor": {"provider": {"version": "stu3"}}}`, `{"fileDescriptor": {"$schema": "x"}}`, `{"fileName": 7, "fileDescriptor": {}}`, `{"$schema": 7}`,
}

// README.md's sidecars are good ones.
func TestReadmeSidecars(t *testing.T) {
	s := compiled(t, packaging.SidecarSchema)
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	must(t, err)
	seen := 0
	for _, block := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(strings.ReplaceAll(string(readme), "\r\n", "\n"), -1) {
		if !strings.Contains(block[1], `"mimeType"`) {
			continue
		}
		seen++
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(block[1]))
		if err == nil {
			err = s.Validate(doc)
		}
		if err != nil {
			t.Errorf("%s\n%v", block[1], err)
		}
	}
	if seen == 0 {
		t.Error("README.md shows no sidecar")
	}
}

// What the sandbox writes, which the stories use, is a good configuration too.
func TestSandboxConfigFitsSchema(t *testing.T) {
	g := &playground{dir: t.TempDir()}
	doc, ok := asJSON(g.config())
	if !ok {
		t.Fatalf("%s", g.config())
	}
	if err := compiled(t, packaging.ConfigSchema).Validate(doc); err != nil {
		t.Errorf("%s\n%v", g.config(), err)
	}
}
