//go:build unix && !darwin

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A story has a policy of its own, that of whoever tells it.
func init() {
	if dir := os.Getenv("DIGIME_SYNC_TEST_POLICY"); dir != "" {
		policyDir, policyOwner = dir, uint32(os.Getuid())
	}
}

// havePolicy makes a folder of policies for a test.
func havePolicy(t *testing.T) string {
	t.Helper()
	dir, owner := policyDir, policyOwner
	t.Cleanup(func() { policyDir, policyOwner = dir, owner })
	policyDir, policyOwner = filepath.Join(t.TempDir(), "policy.d"), uint32(os.Getuid())
	must(t, os.Mkdir(policyDir, 0o755))
	return policyDir
}

func TestPolicyFolder(t *testing.T) {
	dir := havePolicy(t)
	home := writeFiles(t, map[string]string{"w.key": testKeyPEM(), "config.yaml": minimal})
	path := filepath.Join(home, "config.yaml")
	file := filepath.Join(dir, "10.yaml")
	before := layerStamp(path)
	must(t, os.WriteFile(file, []byte("log: {level: error}\n"), 0o644))
	cfg, err := LoadConfig(path)
	must(t, err)
	if cfg.Log.Level != "error" || len(cfg.Settings) != 1 || !cfg.Settings[0].Managed || cfg.Settings[0].File != file {
		t.Errorf("level %q, %+v", cfg.Log.Level, cfg.Settings)
	}
	if layerStamp(path) == before {
		t.Error("a new policy is not seen")
	}
	// A machine may have nothing but a policy.
	must(t, os.WriteFile(file, []byte("application_id: managed\n"), 0o644))
	cfg, err = LoadConfig(filepath.Join(home, "none.yaml"))
	must(t, err)
	if cfg.ApplicationID != "managed" {
		t.Errorf("%+v", cfg)
	}
}

// What somebody else than root could have written is no policy; and not having
// one for that reason is no way to be rid of it.
func TestPolicyIsNotBelieved(t *testing.T) {
	home := writeFiles(t, map[string]string{"w.key": testKeyPEM(), "config.yaml": minimal})
	for _, tt := range []struct {
		name string
		do   func(dir, file string)
		want string
	}{
		{"writable by others", func(_, file string) { must(t, os.Chmod(file, 0o646)) }, "/10.yaml: the policy is not believed: others than root can write it (mode 0646); chown root and chmod go-w it"},
		{"writable by the group", func(_, file string) { must(t, os.Chmod(file, 0o664)) }, "others than root can write it (mode 0664)"},
		{"of another user", func(_, _ string) { policyOwner++ }, "the policy is not believed: it belongs to another user than root; chown root"},
		{"in a folder of everybody", func(dir, _ string) { must(t, os.Chmod(dir, 0o777)) }, "policy.d: the policy is not believed: others than root can write it (mode 0777)"},
		{"a link", func(dir, file string) {
			must(t, os.Rename(file, filepath.Join(home, "elsewhere")))
			must(t, os.Symlink(filepath.Join(home, "elsewhere"), file))
		}, "a policy must be a file of its own, no link and no pipe"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := havePolicy(t)
			file := filepath.Join(dir, "10.yaml")
			must(t, os.WriteFile(file, []byte("log: {level: error}\n"), 0o644))
			before := layerStamp(filepath.Join(home, "config.yaml"))
			tt.do(dir, file)
			if layerStamp(filepath.Join(home, "config.yaml")) == before {
				t.Error("a running service does not see it")
			}
			if _, err := LoadConfig(filepath.Join(home, "config.yaml")); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// A pipe in conf.d or policy.d is a fault of the configuration, and holds up
// nobody who reads that.
func TestLayerIsAPipe(t *testing.T) {
	policy := havePolicy(t)
	home := writeFiles(t, map[string]string{"w.key": testKeyPEM(), "config.yaml": minimal})
	must(t, os.Mkdir(filepath.Join(home, "conf.d"), 0o700))
	for _, tt := range []struct{ path, want string }{
		{filepath.Join(home, "conf.d", "10.yaml"), "conf.d/10.yaml: it cannot be read: it is no file, but a folder, a pipe or a device"},
		{filepath.Join(policy, "10.yaml"), "policy.d/10.yaml: a policy must be a file of its own, no link and no pipe"},
	} {
		pipeAt(t, tt.path)
		read, err := make(chan struct{}), error(nil)
		go func() {
			defer close(read)
			_, err = LoadConfig(filepath.Join(home, "config.yaml"))
		}()
		within(t, read, "the configuration is read")
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %s", err, tt.want)
		}
		must(t, os.Remove(tt.path))
	}
}

// A user whom the policy is kept from is told whose the service is, and not that
// a file without faults has some.
func TestPolicyKeptFromUser(t *testing.T) {
	cmd, dir := asNobody(t)
	program := filepath.Join(dir, "digime-sync")
	must(t, os.Rename(cmd.Path, program))
	etc, own := filepath.Join(dir, "etc"), filepath.Join(dir, "my.yaml")
	must(t, os.MkdirAll(filepath.Join(etc, "policy.d"), 0o755))
	must(t, os.WriteFile(filepath.Join(etc, "policy.d", "10.yaml"), []byte("log: {level: error}\n"), 0o640))
	must(t, os.WriteFile(filepath.Join(dir, "w.key"), []byte(testKeyPEM()), 0o600))
	must(t, os.Chown(filepath.Join(dir, "w.key"), 65534, 65534))
	must(t, os.WriteFile(own, []byte(minimal+"state_dir: state\n"), 0o644))
	run := func(code int, want string, args ...string) {
		t.Helper()
		c := exec.Command(program, args...)
		c.Dir, c.SysProcAttr = dir, cmd.SysProcAttr
		c.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "DIGIME_SYNC_TEST_POLICY=" + filepath.Join(etc, "policy.d")}
		said, _ := c.CombinedOutput() // its exit code is what counts
		if c.ProcessState.ExitCode() != code || !strings.Contains(string(said), want) {
			t.Errorf("%v: exit code %d, want %d and %q\n%s", args, c.ProcessState.ExitCode(), code, want, said)
		}
		for _, untrue := range []string{"application_id", "not believed", "chown root"} {
			if strings.Contains(string(said), untrue) {
				t.Errorf("%v: it says %q\n%s", args, untrue, said)
			}
		}
	}
	for _, mode := range []os.FileMode{0o755, 0o750} { // the file is closed, then the folder too
		must(t, os.Chmod(etc, mode))
		for _, command := range []string{"status", "check", "run", "reload"} {
			run(exitConfig, "error: this machine's service is root's: you cannot read "+etc, command)
			run(exitConfig, "hint: sudo digime-sync …", command, "--config", own)
		}
		run(exitConfig, "this machine's service is root's", "check", "--offline")
		run(exitDone, "you cannot read its managed policy: the file is checked alone", "check", "--offline", "--config", own)
	}
	run(exitConfig, "this machine's service is root's", "check", "--offline", "--config", filepath.Join(etc, "config.yaml"))
}
