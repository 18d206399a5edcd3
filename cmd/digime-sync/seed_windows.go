package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/windows/registry"
)

// seedKey is where the installer remembers what it was given.
const seedKey = `SOFTWARE\digime-sync`

// rememberedSeeds are the properties an installation has left, by their names,
// and the Version of the package while it is installed.
func rememberedSeeds() map[string]string {
	seeds := map[string]string{}
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, seedKey, registry.QUERY_VALUE)
	if err != nil {
		return seeds // there was none
	}
	defer key.Close()
	for _, name := range []string{"CONFIGURL", "CONFIGKEY", "APPID", "PROXY", "CACERT", "INSTALLDIR", "DATADIR", "Version"} {
		if value, _, err := key.GetStringValue(name); err == nil {
			seeds[name] = value
		}
	}
	return seeds
}

// forgetSeeds removes what the installer remembers beyond its removal: where the
// data lies.
func forgetSeeds() error {
	if err := registry.DeleteKey(registry.LOCAL_MACHINE, seedKey); err != nil && !errors.Is(err, registry.ErrNotExist) {
		return fmt.Errorf(`remove HKLM\%s: %w`, seedKey, err)
	}
	return nil
}
