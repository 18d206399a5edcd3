//go:build packaging

package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"howett.net/plist"
)

// Every key of the example for device management is one of the configuration's,
// which README.md lists.
func TestExampleProfile(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "macos", "example.mobileconfig"))
	if err != nil {
		t.Fatal(err)
	}
	var profile struct {
		PayloadType, PayloadScope string
		PayloadContent            []map[string]any
	}
	if _, err := plist.Unmarshal(data, &profile); err != nil {
		t.Fatal(err)
	}
	same(t, "profile", profile.PayloadType+" of the "+profile.PayloadScope, "Configuration of the System")
	if len(profile.PayloadContent) != 1 || profile.PayloadContent[0]["PayloadType"] != "me.digi.digime-sync" {
		t.Fatalf("content: %v", profile.PayloadContent)
	}
	manual, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	known := 0
	var look func(group string, keys map[string]any)
	look = func(group string, keys map[string]any) {
		for key, value := range keys {
			if strings.HasPrefix(key, "Payload") {
				continue
			}
			if below, ok := value.(map[string]any); ok {
				look(group+key+".", below)
				continue
			}
			known++
			if !strings.Contains(string(manual), "| `"+group+key+"` |") {
				t.Errorf("there is no key %s%s", group, key)
			}
		}
	}
	look("", profile.PayloadContent[0])
	if known < 4 {
		t.Errorf("only %d keys were looked at", known)
	}
}
