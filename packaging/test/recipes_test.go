//go:build packaging

package test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The policy's files are well-formed, name nothing that is not there, and every
// setting is a key of the configuration.
func TestPolicyTemplates(t *testing.T) {
	admx, adml := elements(t, "../windows/policy/digime-sync.admx"), elements(t, "../windows/policy/en-US/digime-sync.adml")
	var defined []string
	for _, e := range adml {
		defined = append(defined, attribute(e, "id"))
	}
	text, err := os.ReadFile("../windows/policy/digime-sync.admx")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`\$\((?:string|presentation)\.(\w+)\)`).FindAllStringSubmatch(string(text), -1) {
		if !slices.Contains(defined, m[1]) {
			t.Errorf("%s is not in the ADML file", m[0])
		}
	}
	settings := 0
	for _, e := range admx {
		if key := attribute(e, "key"); key != "" && key != `SOFTWARE\Policies\digime-sync` {
			t.Errorf("a policy is written to %s, where nobody reads it", key)
		}
		if name := attribute(e, "valueName"); name != "" {
			settings++
			if !inSchema(t, strings.Split(name, ".")) {
				t.Errorf("%s is no key of the configuration", name)
			}
		}
	}
	if settings < 5 {
		t.Errorf("%d settings, want more", settings)
	}
	for _, e := range adml {
		if ref := attribute(e, "refId"); ref != "" && !slices.ContainsFunc(admx, func(a xml.StartElement) bool { return attribute(a, "id") == ref }) {
			t.Errorf("%s is not in the ADMX file", ref)
		}
	}
}

// elements are all start elements of an XML file.
func elements(t *testing.T, path string) []xml.StartElement {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []xml.StartElement
	for d := xml.NewDecoder(f); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if e, ok := token.(xml.StartElement); ok {
			list = append(list, e.Copy())
		}
	}
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// inSchema says whether the configuration has a key at this path.
func inSchema(t *testing.T, path []string) bool {
	t.Helper()
	data, err := os.ReadFile("../schemas/config.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(data, &root); err != nil {
		t.Fatal(err)
	}
	node := root
	for _, name := range path {
		if ref, ok := node["$ref"].(string); ok {
			defs, _ := root["$defs"].(map[string]any)
			node, _ = defs[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
		}
		properties, _ := node["properties"].(map[string]any)
		next, ok := properties[name].(map[string]any)
		if !ok {
			return false
		}
		node = next
	}
	return true
}
