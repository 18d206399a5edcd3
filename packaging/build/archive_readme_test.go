package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestArchiveReadme(t *testing.T) {
	got := archiveReadme("# begin\n\nfirst steps\n", "# project\n\n```\ngo run ./cmd demo\n```\n\n## Play\n\n`go build ./cmd`\n\n## Configure\n\nwrite\n\n"+
		"```\n## no heading: go away\n```\n\n### From source\n\n`go test ./...`\n\n### Keys\n\n| a |\n")
	want := "# begin\n\nfirst steps\n\n## Configure\n\nwrite\n\n```\n## no heading: go away\n```\n\n### Keys\n\n| a |\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// The pages in the archives can be followed by somebody who has no more than the
// archive: no page leads to a file that is not there, none begins in the source.
func TestArchiveDocsStandAlone(t *testing.T) {
	b, err := newBuild("1.2.3", t.TempDir(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)
	for _, windows := range []bool{false, true} {
		entries, err := b.archiveDocs(windows)
		if err != nil {
			t.Fatal(err)
		}
		there := map[string]bool{}
		for _, e := range entries {
			there[e.name] = true
		}
		for _, e := range entries {
			if filepath.Ext(e.name) != ".md" {
				continue
			}
			data, err := os.ReadFile(e.source)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range link.FindAllStringSubmatch(string(data), -1) {
				if to := filepath.ToSlash(filepath.Join(filepath.Dir(e.name), m[1])); !strings.Contains(m[1], "://") && !there[to] {
					t.Errorf("%s leads to %s, which is not in the archive", e.name, to)
				}
			}
			if e.name != "README.md" {
				continue
			}
			page := string(data)
			if found := ofSource.FindString(page); found != "" {
				t.Errorf("README.md speaks of the source: %s", found)
			}
			for _, want := range []string{" demo ", " sandbox ", "digime-sync service install", "| `application_id` |"} {
				if !strings.Contains(page, want) {
					t.Errorf("README.md does not name %q", want)
				}
			}
			if strings.Contains(page, `.\digime-sync.exe demo`) != windows {
				t.Errorf("the program has the other system's name:\n%s", page[:1500])
			}
		}
	}
}
