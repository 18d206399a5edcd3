//go:build packaging

package test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// rootPackages are what the booted Debian has beyond the minimum. The service's
// package must get along without any more.
const rootPackages = "systemd,systemd-sysv,dbus,procps,ca-certificates,init-system-helpers,rpm"

// What is put into a container is for its service too, whatever the umask is of
// whoever runs the tests.
func init() { syscall.Umask(0o022) }

// container is a Debian that systemd has booted, with a root file system of its
// own that is gone afterwards, and no network but loopback.
type container struct {
	t   *testing.T
	pid int // of its PID 1, seen from here
}

// bootContainer boots a fresh Debian and stops it when the test ends. Folders
// of this machine can be seen inside, read-only: share maps inside to outside.
func bootContainer(t *testing.T, share map[string]string) *container {
	t.Helper()
	need(t, "systemd-nspawn", "unshare", "nsenter")
	return bootRoot(t, baseRoot(t, "bookworm", rootPackages), share)
}

// bootRoot is bootContainer of another root file system.
func bootRoot(t *testing.T, root string, share map[string]string) *container {
	t.Helper()
	mounted := t.TempDir()
	// The mounts are in a namespace of the container's own, so that nothing is
	// left of them however this process ends. The upper layer is in memory: an
	// overlay cannot lie upon an overlay, which /tmp may be.
	script := `set -e
mount -t tmpfs -o size=2g tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/up,workdir=$1/work" "$1/root"
dir=$1; shift 2
exec systemd-nspawn -q -D "$dir/root" --boot --register=no --keep-unit --private-network --console=pipe "$@"`
	args := []string{"-m", "--propagation", "private", "sh", "-c", script, "sh", mounted, root,
		"-M", fmt.Sprintf("t%d-%d", os.Getpid(), time.Now().UnixNano()%1e9)}
	for inside, outside := range share {
		args = append(args, "--bind-ro="+outside+":"+inside)
	}
	cmd := exec.Command("unshare", args...)
	var console bytes.Buffer
	cmd.Stdout, cmd.Stderr = &console, &console
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start the container: %v", err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	c := &container{t: t}
	t.Cleanup(func() { c.stop(cmd, ended) })
	c.waitForBoot(cmd.Process.Pid, ended, &console)
	return c
}

// bootPatience is for a machine that does much besides.
const bootPatience = 4 * time.Minute

// waitForBoot finds the container's PID 1 and waits until systemd says that all
// is up.
func (c *container) waitForBoot(nspawn int, ended <-chan struct{}, console *bytes.Buffer) {
	c.t.Helper()
	for deadline := time.Now().Add(bootPatience); time.Now().Before(deadline); {
		select {
		case <-ended:
			c.t.Fatalf("the container ended while it booted:\n%s", console)
		default:
		}
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", nspawn, nspawn))
		for child := range strings.FieldsSeq(string(children)) {
			c.pid, _ = strconv.Atoi(child)
			if state, _ := c.try("systemctl", "is-system-running", "--wait"); state == "running" || state == "degraded" {
				return
			}
		}
		pause(50 * time.Millisecond)
	}
	c.t.Fatalf("the container has not booted within %s", bootPatience)
}

// stop powers the container off, and kills it where that takes too long.
func (c *container) stop(cmd *exec.Cmd, ended <-chan struct{}) {
	if c.t.Failed() && c.pid != 0 {
		log, _ := c.try("journalctl", "--no-pager", "-n", "80", "-u", "digime-sync")
		c.t.Logf("the service's last words:\n%s", log)
	}
	if c.pid != 0 {
		_, _ = c.try("systemctl", "poweroff")
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		_ = cmd.Process.Kill()
		<-ended
	}
}

// try runs a command in the container and returns what it says, standard error
// included.
func (c *container) try(args ...string) (string, error) {
	cmd := c.command(args...)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// command prepares a command inside the container.
func (c *container) command(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(c.pid), "-a"}, args...)...)
	cmd.Env = []string{"HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "TERM=dumb", "DEBIAN_FRONTEND=noninteractive"}
	cmd.WaitDelay = time.Minute // what it leaves behind may hold its output open
	return cmd
}

// run is try that must succeed.
func (c *container) run(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// sh is run of a shell script.
func (c *container) sh(script string) string {
	c.t.Helper()
	return c.run("sh", "-ec", script)
}

// path is where this machine sees a file of the container.
func (c *container) path(inside string) string {
	return filepath.Join(fmt.Sprintf("/proc/%d/root", c.pid), inside)
}

// write puts a file into the container.
func (c *container) write(inside, text string, mode os.FileMode) {
	c.t.Helper()
	if err := os.MkdirAll(filepath.Dir(c.path(inside)), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(c.path(inside), []byte(text), mode); err != nil {
		c.t.Fatal(err)
	}
}

// exists says whether there is something of that name in the container.
func (c *container) exists(inside string) bool {
	_, err := os.Lstat(c.path(inside))
	return err == nil
}

// property returns what systemctl show says of the service.
func (c *container) property(name string) string {
	c.t.Helper()
	return c.run("systemctl", "show", "-p", name, "--value", "digime-sync")
}

// eventually waits until ok holds, and fails the test when it does not in time.
func (c *container) eventually(limit time.Duration, what string, ok func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(limit); !ok(); pause(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// pause waits a moment between two looks at something outside this process.
func pause(d time.Duration) { <-time.After(d) }

// baseRoot returns the folder of a Debian with these packages, made once and
// kept in $DIGIME_SYNC_ROOTS, else in the user's cache folder.
func baseRoot(t *testing.T, suite, packages string) string {
	t.Helper()
	need(t, "mmdebstrap")
	dir := os.Getenv("DIGIME_SYNC_ROOTS")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatalf("find the cache folder (set DIGIME_SYNC_ROOTS): %v", err)
		}
		dir = filepath.Join(cache, "digime-sync-roots")
	}
	sum := sha256.Sum256([]byte(packages))
	root := filepath.Join(dir, fmt.Sprintf("%s-%x", suite, sum[:4]))
	if _, err := os.Stat(root); err == nil {
		return root
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	made, err := os.MkdirTemp(dir, suite+".making.")
	if err != nil {
		t.Fatal(err)
	}
	for try := 1; ; try++ { // a mirror may not answer for a moment
		out, err := exec.Command("mmdebstrap", "--variant=minbase", "--include="+packages, suite, made).CombinedOutput()
		if err == nil {
			break
		}
		if _ = os.RemoveAll(made); try == 3 {
			t.Fatalf("make a Debian to boot: %v\n%s", err, out)
		}
		pause(10 * time.Second)
	}
	if err := os.Rename(made, root); err != nil && !errors.Is(err, os.ErrExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		t.Fatal(err)
	}
	return root
}

// need skips the test where it cannot run, and says why. In CI that is a
// failure: there packaging/test/setup.sh has installed everything.
func need(t *testing.T, tools ...string) {
	t.Helper()
	reason := ""
	if os.Geteuid() != 0 {
		reason = "needs root, to boot containers"
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			reason = tool + " is not installed (packaging/test/setup.sh installs it)"
		}
	}
	switch {
	case reason == "":
	case os.Getenv("CI") == "true":
		t.Fatal(reason)
	default:
		t.Skip(reason)
	}
}
