package main

import (
	"testing"

	"golang.org/x/sys/windows/registry"
)

// A policy of every kind of value, in values with dots and in subkeys, read back
// from the registry of this user.
func TestRegistryIsRead(t *testing.T) {
	const path = `SOFTWARE\digime-sync-test`
	remove := func() {
		for _, sub := range []string{`\folders\1`, `\folders`, `\libraries\A. Miller`, `\libraries`, ``} {
			_ = registry.DeleteKey(registry.CURRENT_USER, path+sub) // it may not be there
		}
	}
	remove()
	if list := registryLayers(registry.CURRENT_USER, path); list != nil {
		t.Fatalf("a policy where none is: %+v", list)
	}
	t.Cleanup(remove)
	set := func(sub string, write func(k registry.Key) error) {
		t.Helper()
		k, _, err := registry.CreateKey(registry.CURRENT_USER, path+sub, registry.ALL_ACCESS)
		must(t, err)
		defer k.Close()
		must(t, write(k))
	}
	set("", func(k registry.Key) error { return k.SetStringValue("api.proxy", "http://proxy:3128") })
	set("", func(k registry.Key) error { return k.SetExpandStringValue("state_dir", `%SystemRoot%\x`) })
	set(`\folders\1`, func(k registry.Key) error { return k.SetStringValue("path", `C:\Export`) })
	set(`\folders\1`, func(k registry.Key) error { return k.SetDWordValue("recursive", 1) })
	set("", func(k registry.Key) error { return k.SetStringsValue("folders.1.include", []string{"*.pdf", "*.jpg"}) })
	set(`\folders\1`, func(k registry.Key) error { return k.SetStringValue("library", "A. Miller") })
	set(`\libraries\A. Miller`, func(k registry.Key) error { return k.SetStringValue("contract", "w") })
	list := registryLayers(registry.CURRENT_USER, path)
	if len(list) != 1 {
		t.Fatalf("%+v", list)
	}
	cfg, err := readPolicy(minimal, list[0])
	must(t, err)
	if cfg.API.Proxy != "http://proxy:3128" || len(cfg.Folders) != 1 || cfg.Libraries["A. Miller"].Contract != "w" || cfg.StateDir == `%SystemRoot%\x` {
		t.Errorf("%+v", cfg)
	}
	if f := cfg.Folders[0]; f.Path != `C:\Export` || !f.Recursive || len(f.Include) != 2 {
		t.Errorf("%+v", f)
	}
	set("", func(k registry.Key) error { return k.SetBinaryValue("log.level", []byte{1}) })
	if list = registryLayers(registry.CURRENT_USER, path); len(list) != 1 || len(list[0].faults) != 1 {
		t.Errorf("a value of a kind that is not read: %+v", list)
	}
}
