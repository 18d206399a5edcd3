//go:build packaging

// Package test installs what packaging/build makes, as an administrator would:
// in a Debian booted by real systemd (container_linux_test.go). It needs root
// and the tools that setup.sh installs:
//
//	packaging/test/setup.sh && go test -tags packaging ./packaging/...
package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The versions that are installed one over the other.
const (
	first  = "1.0.0"
	second = "1.1.0"
	third  = "1.2.0"
)

// allTargets are those that this package looks at.
var allTargets = []string{"deb", "rpm", "archives", "macos", "sbom", "sums"}

// releases is the folder of what was built, a folder for each version.
var releases string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "digime-sync-packages-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	releases = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// release returns the folder of a version's packages, built once.
func release(t *testing.T, version string) string {
	t.Helper()
	dir := filepath.Join(releases, version)
	if _, err := os.Stat(filepath.Join(dir, "SHA256SUMS")); err != nil {
		targets := []string{"deb", "rpm", "sums"}
		if version == first {
			targets = allTargets
		}
		buildRelease(t, filepath.Join("..", "build"), version, dir, targets...)
	}
	return dir
}

// buildRelease runs the build of a checkout.
func buildRelease(t *testing.T, program, version, out string, targets ...string) {
	t.Helper()
	args := append([]string{"run", "-C", program, ".", "-version", version, "-out", out}, targets...)
	if said, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		t.Fatalf("build the packages: %v\n%s", err, said)
	}
}
