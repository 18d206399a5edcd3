//go:build packaging

package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// windowsLimit is how long a package's tests may take on a busy machine.
const windowsLimit = "18m"

// windowsPackages are those with code for Windows, and the tests among them that
// Wine cannot run or that show nothing there, each with the reason.
var windowsPackages = []struct {
	dir  string
	skip map[string]string
}{
	{"cmd/digime-sync", map[string]string{
		"TestTopLevel|TestImportFence":    "of the source, whatever the system",
		"TestSchemas|TestConfigReference": "of the source, whatever the system",
	}},
	{"sync/engine", map[string]string{
		"TestInDoubt|TestThirdDoubt|TestWireFaults|TestThreeFates|TestWhatAnAnswerMeans|TestStopWaitsForARefresh": "of the wire alone, whatever the system, and it takes its time",
	}},
	{"store", nil},
	{"sync/digime", nil},
	{"watcher", map[string]string{
		"TestStoppedConsumerLosesNoFile": "creating thousands of files takes Wine a time that grows with their square; it passes in 25 s",
		"TestOverflowLosesNoFile":        "Wine's queue of changes has no end, so that there is no overflow to see",
	}},
	{"sidecar", nil},
}

// The packages' own tests, on Windows as far as Wine is one. The binaries' names
// matter: one that is called digime-sync would be the program.
func TestPackagesOnWindows(t *testing.T) {
	dir := t.TempDir()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	w := startWine(t, dir, root)
	for _, p := range windowsPackages {
		t.Run(p.dir, func(t *testing.T) {
			t.Parallel() // most of them wait most of the time
			program := filepath.Join(dir, filepath.Base(p.dir)+".tests.exe")
			build := exec.Command("go", "test", "-c", "-o", program, "./"+p.dir)
			build.Dir, build.Env = root, append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
			if said, err := build.CombinedOutput(); err != nil {
				t.Fatalf("build the tests: %v\n%s", err, said)
			}
			args := []string{filepath.Join(root, p.dir), program, "-test.short", "-test.timeout=" + windowsLimit}
			var skipped []string
			for name, reason := range p.skip {
				skipped = append(skipped, "^("+name+")")
				t.Logf("not run: %s: %s", name, reason)
			}
			if skipped != nil {
				args = append(args, "-test.skip="+strings.Join(skipped, "|"))
			}
			inside := &windows{t: t, pid: w.pid, root: w.root}
			if said, code := inside.unix(`cd "$1" && shift && exec wine "$@" </dev/null`, args...); code != 0 {
				t.Errorf("exit code %d\n%s", code, said)
			}
		})
	}
}
