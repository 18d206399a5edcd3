package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// sums writes the SHA-256 of everything this run has released, in the form that
// sha256sum -c reads.
func (b *build) sums() error {
	var lines strings.Builder
	slices.Sort(b.products)
	for _, name := range b.products {
		data, err := os.ReadFile(filepath.Join(b.out, name))
		if err != nil {
			return fmt.Errorf("read what was made: %w", err)
		}
		fmt.Fprintf(&lines, "%x  %s\n", sha256.Sum256(data), name)
	}
	if err := os.WriteFile(filepath.Join(b.out, "SHA256SUMS"), []byte(lines.String()), 0o644); err != nil {
		return fmt.Errorf("write checksums: %w", err)
	}
	return nil
}
