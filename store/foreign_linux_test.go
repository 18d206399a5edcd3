package store

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A state folder that somebody else made, who could read and exchange what is in
// it, is refused with a reason, and nothing is put into it.
func TestStateFolderOfSomebodyElse(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("to be somebody else needs root")
	}
	dir, err := os.MkdirTemp("", "somebody")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o755))
	program := filepath.Join(dir, "program")
	copyProgram(t, program)
	state := filepath.Join(dir, "state")
	must(t, os.Mkdir(state, 0o700))
	must(t, os.Chmod(state, 0o777)) // root's, and everybody's
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), crashDir+"="+state)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "protect state folder") || !strings.Contains(string(out), "not permitted") {
		t.Errorf("it says %q, %v", out, err)
	}
	if entries, _ := os.ReadDir(state); len(entries) > 0 {
		t.Errorf("it has put %v into it", entries)
	}
}

func copyProgram(t *testing.T, to string) {
	t.Helper()
	from, err := os.Open(os.Args[0])
	must(t, err)
	defer from.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	must(t, err)
	_, err = io.Copy(f, from)
	must(t, err)
	must(t, f.Chmod(0o755)) // whatever the umask
	must(t, f.Close())
}
