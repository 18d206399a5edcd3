//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func init() {
	children["cli"] = func(args []string) error { // ARGUMENT…
		a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}
		os.Exit(a.main(args))
		return nil
	}
}

// Root can read all, the service cannot: check says what the service may do.
func TestCheckAsOwnerOfState(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	const service = 65534
	dir, err := os.MkdirTemp("/tmp", "digime-sync-test-") // t.TempDir's parent is closed to others
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.WriteFile(at("config.yaml"), []byte(minimal+"state_dir: state\nfolders: [{path: in, library: alice}]\n"), 0o644))
	must(t, os.WriteFile(at("w.key"), []byte(testKeyPEM()), 0o640))
	must(t, os.Chown(at("w.key"), 0, service))
	for _, name := range []string{"state", "in"} {
		must(t, os.Mkdir(at(name), 0o700))
		must(t, os.Chown(at(name), service, service))
	}
	check := func(code int, want ...string) {
		t.Helper()
		cmd := exec.Command(os.Args[0], "child", "cli", "check", "--offline", "--config", at("config.yaml"))
		said, _ := cmd.CombinedOutput() // its exit code is what counts
		if cmd.ProcessState.ExitCode() != code {
			t.Errorf("exit code %d, want %d", cmd.ProcessState.ExitCode(), code)
		}
		for _, text := range append(want, ": checked as this user, who owns the state folder") {
			if !strings.Contains(string(said), text) {
				t.Errorf("no %q in\n%s", text, said)
			}
		}
	}
	check(0, "in: it can be read, and is watched by")
	must(t, os.Chown(at("in"), 0, 0))
	must(t, os.Chmod(at("in"), 0o755))
	check(0, "warn  folder", "it cannot be written to, so that receipts and error notes go to the state folder")
	must(t, os.Chmod(at("in"), 0o700))
	check(1, "fail  folder", "permission denied")
	must(t, os.Chmod(at("w.key"), 0o600))
	check(78, "private_key_file: ", "it cannot be read; let the user the program runs as read it")
	must(t, os.Chown(at("state"), 0, 0))
	cmd := exec.Command(os.Args[0], "child", "cli", "check", "--offline", "--config", at("config.yaml"))
	if said, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(said), "root: checked as root; what another user could not read") {
		t.Errorf("%v\n%s", err, said)
	}
}
