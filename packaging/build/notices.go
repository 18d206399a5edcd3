package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// notices returns the path of a text with the licences of all that is linked
// into the program, on any system, which want to be shown with it.
func (b *build) notices() (path string, err error) {
	if b.noticesFile != "" {
		return b.noticesFile, nil
	}
	modules := map[string]string{} // name and version → folder
	for _, p := range platforms {
		list, err := b.output([]string{"GOOS=" + p.os, "GOARCH=" + p.arch}, "go", "list", "-deps",
			"-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}\t{{.Dir}}{{end}}{{end}}", "./cmd/digime-sync")
		if err != nil {
			return "", fmt.Errorf("list what is linked: %w", err)
		}
		for line := range strings.Lines(list) {
			if module, dir, found := strings.Cut(strings.TrimSpace(line), "\t"); found {
				modules[module] = dir
			}
		}
	}
	goroot, err := b.output(nil, "go", "env", "GOROOT")
	if err != nil {
		return "", fmt.Errorf("find Go's own licence: %w", err)
	}
	modules["Go's standard library"] = strings.TrimSpace(goroot)
	var text strings.Builder
	text.WriteString("digime-sync contains software of others, under these licences.\n")
	for _, module := range slices.Sorted(maps.Keys(modules)) {
		licence, err := licenceIn(modules[module])
		if err != nil {
			return "", fmt.Errorf("find the licence of %s: %w", module, err)
		}
		fmt.Fprintf(&text, "\n%s\n%s\n\n%s", module, strings.Repeat("-", len(module)), licence)
	}
	b.noticesFile, err = b.working("THIRD-PARTY.txt", []byte(text.String()))
	return b.noticesFile, err
}

// licenceIn reads the files of a module that state its licence.
func licenceIn(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, e := range entries {
		stem, _, _ := strings.Cut(strings.ToUpper(e.Name()), ".")
		if e.IsDir() || !slices.Contains([]string{"LICENSE", "LICENCE", "COPYING", "NOTICE", "PATENTS"}, stem) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", err
		}
		text.WriteString(strings.TrimSpace(strings.ReplaceAll(string(data), "\r\n", "\n")) + "\n")
	}
	if text.Len() == 0 {
		return "", fmt.Errorf("there is none in %s", dir)
	}
	return text.String(), nil
}
