//go:build packaging

package test

import (
	"bytes"
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

// winePackages make a Debian 13 that runs Windows programs. The Wine of Debian 12
// is too old: programs made by Go do not start there.
const winePackages = "ca-certificates,procps,wine,wine64"

// windows is a Wine with a C: of its own, that is gone afterwards. Its folders
// are seen here below root, this machine's temporary and project folders there
// under the names they have here, on Z:.
type windows struct {
	t    *testing.T
	pid  int    // of a process inside, by whose namespaces it is entered
	root string // the mounted file system, as the process inside sees it
}

const winePrefix = "/wine"

// startWine prepares a Windows. share are folders of this machine to be seen
// inside under their own names.
func startWine(t *testing.T, share ...string) *windows {
	t.Helper()
	need(t, "unshare", "nsenter")
	base := baseRoot(t, "trixie", winePackages)
	mounted := t.TempDir()
	script := `set -e
mount -t tmpfs -o size=4g tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/up,workdir=$1/work" "$1/root"
root=$1/root; shift 2
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
for dir in "$@"; do mkdir -p "$root$dir"; mount --bind "$dir" "$root$dir"; done
echo "127.0.0.1 localhost" >"$root/etc/hosts"
ip link set lo up 2>/dev/null || true
exec chroot "$root" sleep infinity`
	cmd := exec.Command("unshare", append([]string{"-m", "-p", "-f", "--kill-child", "--propagation", "private",
		"sh", "-c", script, "sh", mounted, base}, share...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var console bytes.Buffer
	cmd.Stdout, cmd.Stderr = &console, &console
	if err := cmd.Start(); err != nil {
		t.Fatalf("start Wine: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if console.Len() > 0 {
			t.Logf("Wine's file system: %s", &console)
		}
	})
	w := &windows{t: t}
	w.waitForInside(cmd.Process.Pid)
	// The first start sets the registry up; what it has not saved when it is ended
	// is lost, on a busy machine all of it.
	said, code := w.unix(`for try in 1 2 3; do
wineboot -i; wineserver -k; wineserver -w
if grep -q '"ProgramData"' "$WINEPREFIX/system.reg"; then exec wineserver -p600; fi
rm -rf "$WINEPREFIX"
done; exit 1`)
	if code != 0 {
		t.Fatalf("set Wine up: %s", said)
	}
	return w
}

// waitForInside finds the process that sleeps in the new root.
func (w *windows) waitForInside(unshare int) {
	w.t.Helper()
	eventually(w.t, soon, "Wine's file system is mounted", func() bool {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", unshare, unshare))
		for child := range strings.FieldsSeq(string(children)) {
			if name, _ := os.ReadFile("/proc/" + child + "/comm"); string(name) == "sleep\n" {
				w.pid, _ = strconv.Atoi(child)
				w.root = "/proc/" + child + "/root"
				return true
			}
		}
		return false
	})
}

// unix runs a shell script inside, and returns what it says and how it ended.
func (w *windows) unix(script string, args ...string) (said string, code int) {
	w.t.Helper()
	// Wine leaves processes behind that keep a pipe open: the output is a file.
	out, err := os.CreateTemp(w.t.TempDir(), "said")
	if err != nil {
		w.t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(w.pid), "-m", "-p", "-r", "-w", "sh", "-c", script, "sh"}, args...)...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = []string{"HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "WINEPREFIX=" + winePrefix, "WINEDEBUG=-all", "DISPLAY=",
		"XDG_RUNTIME_DIR=/tmp", "LC_ALL=C.UTF-8", "CI=" + os.Getenv("CI")}
	err = cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		w.t.Fatalf("run in Wine: %v", err)
	}
	data, err := os.ReadFile(out.Name())
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.ReplaceAll(string(data), "\r", ""), cmd.ProcessState.ExitCode()
}

// try runs a Windows program. Of its exit code 8 bits come through.
func (w *windows) try(args ...string) (said string, code int) {
	w.t.Helper()
	return w.unix(`exec wine "$@" </dev/null`, args...)
}

// run is try that must succeed.
func (w *windows) run(args ...string) string {
	w.t.Helper()
	said, code := w.try(args...)
	if code != 0 {
		w.t.Fatalf("%s: exit code %d\n%s", strings.Join(args, " "), code, said)
	}
	return said
}

// path is where this machine sees a file of C:, given with slashes.
func (w *windows) path(c string) string { return filepath.Join(w.root, winePrefix, "drive_c", c) }

func (w *windows) exists(c string) bool {
	_, err := os.Stat(w.path(c))
	return err == nil
}

func (w *windows) read(c string) string {
	w.t.Helper()
	data, err := os.ReadFile(w.path(c))
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.ReplaceAll(string(data), "\r", "")
}

func (w *windows) write(c, text string) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(w.path(c)), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(w.path(c), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// registry returns a value below HKLM, "" when it is not there.
func (w *windows) registry(key, name string) string {
	w.t.Helper()
	return w.registryOf("HKLM", key, name)
}

// registryOf is registry below another root.
func (w *windows) registryOf(root, key, name string) string {
	w.t.Helper()
	said, _ := w.try("reg", "query", root+`\`+key, "/v", name)
	for line := range strings.Lines(said) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), name+"    "); ok {
			_, value, _ := strings.Cut(rest, "    ")
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// serviceState is that of the service manager: RUNNING, STOPPED, "" for none.
func (w *windows) serviceState() string {
	w.t.Helper()
	said, _ := w.try("sc", "query", "digime-sync")
	for line := range strings.Lines(said) {
		if strings.Contains(line, "STATE") {
			fields := strings.Fields(line)
			return fields[len(fields)-1]
		}
	}
	return ""
}

// eventually waits until ok holds, and fails the test when it does not in time.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); pause(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}
