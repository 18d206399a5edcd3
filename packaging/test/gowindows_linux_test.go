//go:build packaging

package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// windowsPackages are those with code for Windows, and the tests among them that
// Wine cannot run or runs for minutes, each with the reason.
var windowsPackages = []struct {
	dir  string
	skip map[string]string
}{
	{"sidecar", nil},
	{"sync/digime", nil},
	{"store", nil},
	{"watcher", map[string]string{
		"TestStoppedConsumerLosesNoFile": "creating thousands of files takes Wine a time that grows with their square",
		"TestOverflowLosesNoFile":        "Wine's queue of changes has no end; and the same",
	}},
	{"sync/engine", nil},
	{"cmd/digime-sync", map[string]string{
		"TestScript":                      "the stories use kill, links and paths of Unix; the service of the package is tried in TestMSILife",
		"TestReadOutsideWatchedFolders":   "Wine's links look like folders to Go",
		"TestHouse|TestImportFence":       "of the source, whatever the system",
		"TestSchemas|TestConfigReference": "of the source, whatever the system",
		"TestCrash|TestSoak|TestPower":    "they kill and cut as Unix does, and take minutes",
	}},
}

// The packages' own tests, on Windows as far as Wine is one.
func TestPackagesOnWindows(t *testing.T) {
	dir := t.TempDir()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	w := startWine(t, dir, root)
	for _, p := range windowsPackages {
		t.Run(p.dir, func(t *testing.T) {
			program := filepath.Join(dir, filepath.Base(p.dir)+".tests.exe")
			build := exec.Command("go", "test", "-c", "-o", program, "./"+p.dir)
			build.Dir, build.Env = root, append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
			if said, err := build.CombinedOutput(); err != nil {
				t.Fatalf("build the tests: %v\n%s", err, said)
			}
			args := []string{filepath.Join(root, p.dir), program, "-test.timeout=4m"}
			var skipped []string
			for name, reason := range p.skip {
				skipped = append(skipped, "^("+name+")")
				t.Logf("not run: %s: %s", name, reason)
			}
			if skipped != nil {
				args = append(args, "-test.skip="+strings.Join(skipped, "|"))
			}
			w.t = t
			if said, code := w.unix(`cd "$1" && shift && exec wine "$@" </dev/null`, args...); code != 0 {
				t.Errorf("exit code %d\n%s", code, said)
			}
		})
	}
}
