package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// ofSource finds what can only be done in a checkout of the source.
var ofSource = regexp.MustCompile(`\bgo (run|build|test|tool|vet)\b`)

// archiveReadme is the page for whoever has unpacked an archive: the archive's
// own beginning, and of the project's page all sections but those that speak of
// the source, which is not there.
func archiveReadme(beginning, project string) string {
	page := strings.TrimRight(beginning, "\n") + "\n"
	for i, section := range sections(project) {
		if i == 0 || ofSource.MatchString(section) { // the first is what stands before all headings
			continue
		}
		page += "\n" + strings.TrimRight(section, "\n") + "\n"
	}
	return page
}

// sections splits a page before its headings of the second and third level.
func sections(page string) []string {
	var list []string
	fenced, current := false, ""
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if !fenced && (strings.HasPrefix(line, "## ") || strings.HasPrefix(line, "### ")) {
			list, current = append(list, current), ""
		}
		current += line
	}
	return append(list, current)
}

// archiveDocs are what the archives have to read, beside their one README.md:
// the pages of packaging and all these name.
func (b *build) archiveDocs(windows bool) ([]entry, error) {
	beginning, err := os.ReadFile(b.source("archive.md"))
	if err != nil {
		return nil, fmt.Errorf("read the archive's page: %w", err)
	}
	project, err := os.ReadFile(filepath.Join(b.root, "README.md"))
	if err != nil {
		return nil, fmt.Errorf("read the project's page: %w", err)
	}
	name, text := "README.unix.md", string(beginning)
	if windows {
		name, text = "README.windows.md", strings.ReplaceAll(text, "./digime-sync", `.\digime-sync.exe`)
	}
	readme := filepath.Join(b.work, name)
	if err := os.WriteFile(readme, []byte(archiveReadme(text, string(project))), 0o644); err != nil {
		return nil, fmt.Errorf("write the archive's page: %w", err)
	}
	entries := []entry{{"README.md", readme, 0o644}}
	for _, name := range []string{"README.md", "MANUAL-CHECKS.md", "ansible", "schemas", "macos/jamf.md", "macos/example.mobileconfig",
		"windows/gpo.md", "windows/sccm.md", "windows/intune", "windows/policy"} {
		err := filepath.WalkDir(b.source(name), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(b.root, path)
			entries = append(entries, entry{filepath.ToSlash(rel), path, 0o644})
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("list what there is to read: %w", err)
		}
	}
	return entries, nil
}
