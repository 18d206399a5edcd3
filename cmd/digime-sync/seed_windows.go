package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/windows/registry"
)

// seedKey is where the installer remembers what it was given.
const seedKey = `SOFTWARE\digime-sync`

// forgetSeeds removes what the installer remembers beyond its removal: where the
// data lies.
func forgetSeeds() error {
	if err := registry.DeleteKey(registry.LOCAL_MACHINE, seedKey); err != nil && !errors.Is(err, registry.ErrNotExist) {
		return fmt.Errorf(`remove HKLM\%s: %w`, seedKey, err)
	}
	return nil
}
