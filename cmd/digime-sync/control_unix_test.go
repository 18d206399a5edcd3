//go:build linux || darwin

package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What the tests make for other users can be seen by them, whatever the umask is of
// whoever runs the tests.
func init() { syscall.Umask(0o022) }

func TestControlSocketIsForItsOwnerOnly(t *testing.T) {
	dir := t.TempDir()
	controlHTTP(t, dir, http.HandlerFunc(echoPath))
	info, err := os.Lstat(filepath.Join(dir, socketName))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := info.Mode(), fs.ModeSocket|0o600; got != want {
		t.Errorf("mode %v, want %v", got, want)
	}
}

func TestControlRefusesASecondListener(t *testing.T) { refuseSecondListener(t) }

func TestControlCloseRemovesTheSocket(t *testing.T) {
	dir := t.TempDir()
	l, err := listenControl(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(dir, socketName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after close: %v", err)
	}
}

func TestControlInALongPath(t *testing.T) {
	short, err := os.MkdirTemp("/tmp", "") // t.TempDir is long already on macOS
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	t.Setenv("TMPDIR", short)
	base := t.TempDir()
	relative := strings.Repeat(strings.Repeat("d", 40)+"/", 5)
	dir := filepath.Join(base, relative)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	client := controlHTTP(t, dir, http.HandlerFunc(echoPath))
	if got, err := askControl(t.Context(), client, "/long"); err != nil || got != "/long" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, socketName)); err != nil {
		t.Errorf("the socket is not in its state directory: %v", err)
	}
	if l, err := listenControl(dir); err == nil {
		_ = l.Close()
		t.Error("two daemons listen")
	}
	left, err := filepath.Glob(filepath.Join(short, "digime-sync-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}

	t.Chdir(base)
	conn, err := dialControl(t.Context(), relative)
	if err != nil {
		t.Fatalf("dial by a relative path: %v", err)
	}
	_ = conn.Close()
}

func TestControlKeepsWhatIsNoSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, socketName)
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := listenControl(dir); err == nil {
		_ = l.Close()
		t.Fatal("a file was replaced by the socket")
	}
	if got, err := os.ReadFile(path); string(got) != "precious" {
		t.Errorf("the file afterwards: %q, %v", got, err)
	}
}

// asNobody returns a command that runs this test binary as another user, and a
// directory he can reach.
func asNobody(t *testing.T, args ...string) (cmd *exec.Cmd, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	dir, err := os.MkdirTemp("/tmp", "digime-sync-test-") // t.TempDir's parent is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	binary := filepath.Join(dir, "child.test")
	if err := copyFile(binary, os.Args[0]); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(binary, append([]string{"child"}, args...)...)
	cmd.Args = append(cmd.Args, dir)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	return cmd, dir
}

func copyFile(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

func TestControlRefusesAnotherUser(t *testing.T) {
	cmd, dir := asNobody(t, "ask")
	controlHTTP(t, dir, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Error("another user's request was heard")
	}))
	out, err := cmd.CombinedOutput()
	if got := string(out); !strings.Contains(got, "permission: true") {
		t.Errorf("by the socket's mode: %q, %v", got, err)
	}

	// Somebody has opened the socket to all: the peer check is what is left.
	if err := os.Chmod(filepath.Join(dir, socketName), 0o666); err != nil {
		t.Fatal(err)
	}
	again := exec.Command(cmd.Path, cmd.Args[1:]...)
	again.Dir, again.SysProcAttr = cmd.Dir, cmd.SysProcAttr
	out, err = again.CombinedOutput()
	if got := string(out); got != "connected, heard 0 bytes\n" {
		t.Errorf("by the peer check: %q, %v", got, err)
	}
}

func TestControlRefusesAnotherUsersDaemon(t *testing.T) {
	cmd, dir := asNobody(t, "listen")
	said := startCommand(t, cmd)
	if line, err := said.ReadString('\n'); line != "ready\n" {
		t.Fatalf("child said %q, %v", line, err)
	}
	if conn, err := dialControl(t.Context(), dir); err == nil || errors.Is(err, errNoDaemon) {
		t.Errorf("connected to another user's listener: %v, %v", conn, err)
	}
	// The daemon's own account owns its state directory: root may ask it.
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if got, err := askControl(t.Context(), controlClient(t, dir), "/root"); err != nil || got != "/root" {
		t.Errorf("root asks the daemon of another account: %q, %v", got, err)
	}
}

// A socket that somebody deletes, with its folder, comes back once the folder does.
func TestControlSocketComesBack(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	client := controlHTTP(t, dir, http.HandlerFunc(echoPath))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	for {
		got, err := askControl(ctx, client, "/back")
		if err == nil && got == "/back" {
			break
		}
		select { // it is looked at every socketCheck
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("it does not answer: %v", err)
		}
	}
	info, err := os.Lstat(filepath.Join(dir, socketName))
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
}
