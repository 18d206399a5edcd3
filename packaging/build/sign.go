package main

import (
	"fmt"
	"os"
	"os/exec"
)

// signed has the command given with -sign sign a file in place; without one
// nothing is signed. packaging/signing/sign.sh is such a command.
func (b *build) signed(path string) error {
	if b.signer == "" {
		return nil
	}
	cmd := exec.Command(b.signer, path)
	cmd.Stdout, cmd.Stderr = b.log, b.log
	cmd.Env = os.Environ()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("sign %s: %w", path, err)
	}
	return nil
}
