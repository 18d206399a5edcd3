//go:build packaging

package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Somebody who has unpacked the archive and has nothing else does what its page
// says first.
func TestArchiveFirstSteps(t *testing.T) {
	need(t, "tar")
	name := "digime-sync_" + first + "_linux_amd64"
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-xzf", filepath.Join(release(t, first), name+".tar.gz"), "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("unpack: %v\n%s", err, out)
	}
	folder := filepath.Join(dir, name)
	data, err := os.ReadFile(filepath.Join(folder, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	command, _, _ := strings.Cut(page[strings.Index(page, "```\n")+4:], " #")
	same(t, "the first command of the page", strings.TrimSpace(command), "./digime-sync demo")
	demo := exec.Command("sh", "-c", command)
	demo.Dir, demo.Env = folder, []string{"HOME=" + dir, "TMPDIR=" + dir, "PATH=/usr/bin:/bin"}
	if out, err := demo.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", command, err, out)
	}
	for _, source := range []string{"go run", "go build", "go test"} {
		if strings.Contains(page, source) {
			t.Errorf("the page tells to %s, and there is no source", source)
		}
	}
	for _, file := range []string{"packaging/README.md", "packaging/MANUAL-CHECKS.md", "packaging/windows/intune/README.md", "packaging/schemas/config.schema.json"} {
		if _, err := os.Stat(filepath.Join(folder, file)); err != nil {
			t.Errorf("what the pages lead to is not there: %v", err)
		}
	}
}
