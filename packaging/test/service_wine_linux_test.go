//go:build packaging

package test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The service without a package on Windows, as far as Wine shows it: it knows no
// recovery actions and no accounts of services.
func TestServiceOnWindows(t *testing.T) {
	dir := t.TempDir()
	exe := filepath.Join(dir, "digime-sync.exe")
	build := exec.Command("go", "build", "-tags", "winetest", "-o", exe, "../../cmd/digime-sync")
	build.Env = append(build.Environ(), "CGO_ENABLED=0", "GOOS=windows", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	w := startWine(t, dir)
	const config = `C:\ProgramData\digime-sync\config.yaml`
	is := func(want string, code int) {
		t.Helper()
		var said string
		eventually(t, soon, "service status: "+want, func() bool {
			var got int
			said, got = w.try(exe, "service", "status")
			return strings.HasPrefix(said, want) && got == code
		})
	}
	is("not installed", 1)
	// A configuration that cannot be run yet: nobody sees an exit code here, so the
	// service waits for a better one, and says so.
	w.write("ProgramData/digime-sync/config.yaml", "nonsense: 1\n")
	said := w.run(exe, "--config", config, "service", "install")
	if !strings.Contains(said, "installed:") || !strings.Contains(said, "cannot be run yet") {
		t.Errorf("install says %q", said)
	}
	if said := w.run(exe, "--config", config, "service", "install"); !strings.Contains(said, "already installed") {
		t.Errorf("the second install says %q", said)
	}
	for name, want := range map[string]string{"Start": "0x2", "DelayedAutoStart": "0x1", "ObjectName": `NT SERVICE\digime-sync`} {
		if got := w.registry(`SYSTEM\CurrentControlSet\Services\digime-sync`, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	is("stopped", 1)
	w.run(exe, "service", "start")
	is("degraded", 3)
	const log = "ProgramData/digime-sync/state/digime-sync.log"
	eventually(t, soon, "the log says what is the matter", func() bool { return w.exists(log) && strings.Contains(w.read(log), "nonsense") })
	w.write("ProgramData/digime-sync/config.yaml", "application_id: app\ncontracts: {}\nfolders: []\n")
	is("running", 0) // by itself
	if said := w.run(exe, "service", "restart"); !strings.Contains(said, "started") {
		t.Errorf("restart says %q", said)
	}
	is("running", 0)
	w.run(exe, "service", "stop")
	is("stopped", 1)
	w.run(exe, "service", "start")
	w.run(exe, "service", "uninstall") // while it runs
	is("not installed", 1)
	if said := w.run(exe, "service", "uninstall"); !strings.Contains(said, "not installed") {
		t.Errorf("the second uninstall says %q", said)
	}
	if !w.exists("ProgramData/digime-sync/state/state.db") {
		t.Error("uninstall takes the state away")
	}
}
