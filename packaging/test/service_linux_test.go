//go:build packaging

package test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The service that "digime-sync service install" puts on a machine, without any
// package.

const unitFile = "/etc/systemd/system/digime-sync.service"

// bootForService boots a Debian with the program of this checkout alone.
func bootForService(t *testing.T) *container {
	t.Helper()
	need(t, "systemd-nspawn", "curl")
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "digime-sync"), "../../cmd/digime-sync")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	c := bootContainer(t, map[string]string{"/checkout": dir})
	c.sh("install /checkout/digime-sync /usr/bin/digime-sync && install -d /etc/digime-sync")
	return c
}

// serve installs and starts the service for the clinic's people.
func (c *container) serve() {
	c.t.Helper()
	c.sh(`groupadd --system digime-sync; useradd --system -g digime-sync -d /var/lib/digime-sync -M -s /usr/sbin/nologin digime-sync
cat >` + configFile + ` <<'END'
application_id: app
contracts: {}
folders: []
END
digime-sync service install && digime-sync service start`)
	c.openClinic()
}

// service is what "service status --json" says, with its exit code.
func (c *container) service() (state string, reasons string, code int) {
	c.t.Helper()
	cmd := c.command("digime-sync", "service", "status", "--json")
	out, _ := cmd.Output() // its exit code says how the service stands
	var s struct {
		State   string
		Reasons []string
	}
	if err := json.Unmarshal(out, &s); err != nil {
		c.t.Fatalf("service status --json: %v\n%s", err, out)
	}
	return s.State, strings.Join(s.Reasons, "; "), cmd.ProcessState.ExitCode()
}

// untilService waits until the service stands so, for a reason with these words.
func (c *container) untilService(limit time.Duration, state, reason string, code int) {
	c.t.Helper()
	var last string
	defer func() {
		if c.t.Failed() {
			c.t.Logf("service status said last: %s", last)
		}
	}()
	c.eventually(limit, "service status: "+state+" "+reason, func() bool {
		got, why, exit := c.service()
		last = fmt.Sprintf("%s (%s), exit code %d", got, why, exit)
		return got == state && exit == code && strings.Contains(why, reason)
	})
}

func TestServiceLifeCycle(t *testing.T) {
	c := bootForService(t)
	c.untilService(soon, "not installed", "", 1)
	c.serve()
	same(t, "enabled", c.run("systemctl", "is-enabled", "digime-sync"), "enabled")
	c.untilService(soon, "running", "", 0)
	unit := c.run("cat", unitFile)
	if out := c.run("digime-sync", "service", "install"); !strings.Contains(out, "already installed") {
		t.Errorf("the second install says %q", out)
	}
	same(t, "unit after the second install", c.run("cat", unitFile), unit)
	c.drop("report.txt", "all well")
	c.delivered("report.txt")
	c.run("systemctl", "reload", "digime-sync")

	c.run("digime-sync", "service", "stop")
	c.untilService(soon, "stopped", "", 1)
	c.run("digime-sync", "service", "restart")
	c.untilService(soon, "running", "", 0)

	if out := c.run("digime-sync", "--config", "/srv/other.yaml", "service", "install"); !strings.Contains(out, "replaced") {
		t.Errorf("an install with another configuration says %q", out)
	}
	if now := c.run("cat", unitFile); !strings.Contains(now, "run --config /srv/other.yaml\n") {
		t.Errorf("--config is not kept:\n%s", now)
	}

	out := c.run("digime-sync", "service", "uninstall")
	if !strings.Contains(out, "uninstalled") || c.exists(unitFile) || c.exists(unitFile+".d/folders.conf") {
		t.Errorf("uninstall leaves the unit, or says %q", out)
	}
	if out, err := c.try("pgrep", "-f", "digime-sync run"); err == nil {
		t.Errorf("it runs on after it was uninstalled: process %s", out)
	}
	if !c.exists("/var/lib/digime-sync/tokens") || !c.exists(configFile) {
		t.Error("uninstall takes consents or configuration away")
	}
	c.untilService(soon, "not installed", "", 1)
	c.run("digime-sync", "service", "uninstall")
}

func TestServiceComesBack(t *testing.T) {
	c := bootForService(t)
	c.serve()
	c.comesBack()
	c.untilService(soon, "running", "", 0)

	// What is said in between lasts 2 s: here it lasts until it was read.
	c.limits("RestartSec=1h")
	c.run("kill", "-KILL", fmt.Sprint(c.mainPID()))
	c.untilService(soon, "restarting", "signal 9", 1)
	c.run("digime-sync", "service", "restart")
	c.untilService(soon, "running", "", 0)

	c.watchdogBites()
	c.untilService(soon, "running", "", 0)
	c.drop("after.txt", "after all that")
	c.delivered("after.txt")
}

// comesBack kills the service, as a crash does, and waits until systemd has started
// it again. How long that takes is the pause that the unit sets, and else this
// machine's work.
func (c *container) comesBack() {
	c.t.Helper()
	before, began := c.mainPID(), time.Now()
	c.run("kill", "-KILL", fmt.Sprint(before))
	c.untilAnother(before, "it is back after kill -9")
	c.t.Logf("back %v after kill -9", time.Since(began))
	same(c.t, "pause before it is started again", c.property("RestartUSec"), "2s")
	same(c.t, "starts by systemd", c.property("NRestarts"), "1")
}

// watchdogBites sees the watchdog leave a process alone whose main loop goes round,
// and end one that hangs, main loop and all. Its limit is shortened from a minute.
func (c *container) watchdogBites() {
	c.t.Helper()
	c.limits("WatchdogSec=15\nTimeoutAbortSec=1")
	c.run("systemctl", "restart", "digime-sync")
	c.eventually(soon, "it is active", c.active)
	hung := c.mainPID()
	for range 3 {
		fed := c.property("WatchdogTimestampMonotonic")
		c.eventually(soon, "the watchdog is fed", func() bool { return c.property("WatchdogTimestampMonotonic") != fed })
	}
	same(c.t, "process after the watchdog was fed", c.mainPID(), hung)
	c.run("kill", "-STOP", fmt.Sprint(hung))
	c.untilAnother(hung, "the watchdog has restarted it")
	if log := c.run("journalctl", "--no-pager", "-u", "digime-sync"); !strings.Contains(log, "Watchdog timeout") {
		c.t.Errorf("the journal does not tell of the watchdog:\n%s", log)
	}
}

// untilAnother waits until the service runs as another process than that.
func (c *container) untilAnother(pid int, what string) {
	c.t.Helper()
	c.eventually(soon, what, func() bool {
		now := c.mainPID()
		return now != 0 && now != pid && c.active()
	})
}

// limits sets limits of the unit for a test, in the place of those of the test before.
func (c *container) limits(lines string) {
	c.t.Helper()
	c.write(unitFile+".d/test.conf", "[Service]\n"+lines+"\n", 0o644)
	c.run("systemctl", "daemon-reload")
}

func TestServiceThatCannotRun(t *testing.T) {
	c := bootForService(t)
	c.serve()
	c.run("cp", configFile, "/srv/good.yaml")

	// While it runs: the last good configuration stays.
	c.sh("echo 'nonsense: 1' >> " + configFile)
	c.untilService(soon, "degraded", "nonsense", 3)
	c.drop("meanwhile.txt", "by the last good configuration")
	c.delivered("meanwhile.txt")

	// At the start it waits, and goes on when it is mended.
	if out := c.run("digime-sync", "service", "restart"); !strings.Contains(out, "cannot be run yet") {
		t.Errorf("a start with a bad configuration says %q", out)
	}
	c.untilService(soon, "degraded", "it waits: "+configFile, 3)
	waits := c.mainPID()
	c.drop("later.txt", "while it waits")
	c.run("cp", "/srv/good.yaml", configFile)
	c.untilService(mended, "running", "", 0)
	same(t, "the process", c.mainPID(), waits)
	c.delivered("later.txt")

	// Somebody else has the database: it waits, and goes on saying so.
	c.run("digime-sync", "service", "stop")
	holder := c.command("flock", "/var/lib/digime-sync/state.pid", "sleep", "1000")
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	c.eventually(soon, "somebody has the lock", func() bool {
		_, err := c.try("flock", "-n", "/var/lib/digime-sync/state.pid", "true")
		return err != nil
	})
	c.run("digime-sync", "service", "start")
	c.untilService(soon, "degraded", "in use", 3)
	if text := c.property("StatusText"); !strings.Contains(text, "in use") {
		t.Errorf("systemctl status says %q", text)
	}
	for until := time.Now().Add(3 * lookAgain); time.Now().Before(until); pause(100 * time.Millisecond) {
		if _, why, _ := c.service(); !strings.Contains(why, "in use") {
			t.Fatalf("service status gives no reason but %q", why)
		}
	}
	c.run("pkill", "sleep")
	_ = holder.Wait() // it was ended
	c.untilService(soon, "running", "", 0)
	same(t, "restarts", c.property("NRestarts"), "0")
}

// mended bounds how long a service that waits needs to see what has been mended;
// it looks each lookAgain.
const (
	mended    = time.Minute
	lookAgain = 2 * time.Second
)

// Installed and started before anything is configured, and with keys that come
// or can be read only later: the service lives until all is there.
func TestServiceWaitsForItsConfiguration(t *testing.T) {
	c := bootForService(t)
	c.run("rmdir", "/etc/digime-sync")
	c.run("digime-sync", "service", "install")
	c.run("digime-sync", "service", "start")
	c.untilService(soon, "degraded", "there is no such file", 3)
	if out, _ := c.try("digime-sync", "service", "status"); !strings.Contains(out, "do:  write the configuration") {
		t.Errorf("service status says\n%s", out)
	}
	c.write(configFile, "application_id: app\ncontracts: {}\nfolders: []\n", 0o644)
	c.untilService(mended, "running", "", 0)
	c.openClinic()
	c.drop("first.txt", "configured after it was started")
	c.delivered("first.txt")

	for what, steps := range map[string][2]string{
		"not readable": {"chmod 0600 /etc/digime-sync/clinic-write.key && chown root:root /etc/digime-sync/clinic-write.key", "chown digime-sync /etc/digime-sync/clinic-write.key"},
		"not there":    {"mv /etc/digime-sync/clinic-write.key /srv/", "mv /srv/clinic-write.key /etc/digime-sync/"},
		"shut":         {"chmod 0600 " + configFile + " && chown root:root " + configFile, "chmod 0644 " + configFile},
		"deleted":      {"mv " + configFile + " /srv/away.yaml", "mv /srv/away.yaml " + configFile},
	} {
		c.sh(steps[0])
		c.run("digime-sync", "service", "restart")
		c.untilService(soon, "degraded", "it waits: ", 3)
		c.drop(what+".txt", what)
		c.sh(steps[1])
		c.untilService(mended, "running", "", 0)
		c.delivered(what + ".txt")
	}
	same(t, "restarts", c.property("NRestarts"), "0")
}

func TestServiceInstallIsAllOrNothing(t *testing.T) {
	c := bootForService(t)
	c.write(configFile, "application_id: app\ncontracts: {}\nfolders: []\n", 0o644)

	c.write("/usr/lib/systemd/system/digime-sync.service", "[Service]\nExecStart=/bin/true\n", 0o644)
	out, err := c.try("digime-sync", "service", "install")
	if err == nil || !strings.Contains(out, "hint: systemctl enable") || c.exists(unitFile) {
		t.Errorf("a package's unit is hidden: %s", out)
	}
	if out, err := c.try("digime-sync", "service", "uninstall"); err == nil || !strings.Contains(out, "belongs to a package") {
		t.Errorf("a package's service is uninstalled: %s", out)
	}
	c.run("rm", "/usr/lib/systemd/system/digime-sync.service")
	c.run("systemctl", "daemon-reload")

	c.write(unitFile, "[Service]\nExecStart=/bin/true\n", 0o644)
	for _, what := range []string{"install", "uninstall"} {
		if out, err := c.try("digime-sync", "service", what); err == nil || !strings.Contains(out, "was not made by digime-sync") {
			t.Errorf("%s takes another program's unit: %s", what, out)
		}
	}
	c.run("rm", unitFile)

	wants := "/etc/systemd/system/multi-user.target.wants"
	c.sh("mv " + wants + " /srv/wants && touch " + wants) // so that enabling fails
	if out, err := c.try("digime-sync", "service", "install"); err == nil {
		t.Fatalf("it says %q though it could not be enabled", out)
	}
	if c.exists(unitFile) {
		t.Error("a unit is left")
	}
	if out, err := c.try("getent", "passwd", "digime-sync"); err == nil {
		t.Errorf("a user is left: %s", out)
	}
	c.sh("rm " + wants + " && mv /srv/wants " + wants)
	c.run("digime-sync", "service", "install")
	same(t, "enabled", c.run("systemctl", "is-enabled", "digime-sync"), "enabled")

	out, err = c.try("setpriv", "--reuid", "nobody", "--clear-groups", "digime-sync", "service", "stop")
	if err == nil || !strings.Contains(out, "only root") || !strings.Contains(out, "hint: sudo") {
		t.Errorf("somebody else hears %q", out)
	}
}

// Folders below /home are out of the service's sight until they are configured,
// and a key may come as a credential.
func TestServiceReachesWhatIsConfigured(t *testing.T) {
	c := bootForService(t)
	c.serve()
	c.sh(`install -d -m 0700 /home/anna && install -d -m 0777 /home/anna/scans
install -d /etc/credstore.encrypted
systemd-creds encrypt --with-key=host --name=clinic.key /srv/api/clinic-write.key /etc/credstore.encrypted/digime-sync.clinic.key
rm /etc/digime-sync/clinic-write.key
sed -i 's#/srv/drop/alice#/home/anna/scans#; s#private_key_file: clinic-write.key#private_key_file: "${CREDENTIALS_DIRECTORY}/clinic.key"#' ` + configFile)
	c.untilService(soon, "degraded", "not open to the service yet", 3)
	out := c.run("digime-sync", "service", "configure")
	c.run("digime-sync", "service", "restart")
	c.untilService(soon, "running", "", 0)
	if again := c.run("digime-sync", "service", "configure"); !strings.Contains(out, "opened") || !strings.Contains(again, "already open") {
		t.Errorf("configure says %q, then %q", out, again)
	}
	c.write("/home/anna/scans/x.txt", "from home", 0o644)
	c.write("/home/anna/scans/x.txt.meta.json", `{"mimeType": "text/plain", "accounts": [{"accountId": "P-1001"}]}`, 0o644)
	c.eventually(soon, "the receipt", func() bool { return c.exists("/home/anna/scans/x.txt.receipt.json") })
}

// A configuration below /home that cannot be read at the installation is seen by
// the service all the same, and taken over when it is mended.
func TestServiceSeesABadConfiguration(t *testing.T) {
	c := bootForService(t)
	c.write("/home/anna/sync/config.yaml", "folders: [", 0o644)
	c.sh("digime-sync service install --config /home/anna/sync/config.yaml; digime-sync service start")
	c.untilService(soon, "degraded", "config.yaml:1: this is not YAML", 3)
	c.write("/home/anna/sync/config.yaml", "application_id: app\ncontracts: {}\nfolders: []\n", 0o644)
	c.untilService(soon, "running", "", 0)
}

// A stop in the middle of a push is repeated by the next start; nothing is lost,
// and nothing is there twice without being said.
func TestRestartInTheMiddleOfAPush(t *testing.T) {
	c := bootForService(t)
	c.serve()
	c.stall()
	c.sh(`head -c 100000000 /dev/urandom > /srv/drop/alice/scan.bin
echo '{"mimeType": "application/octet-stream", "accounts": [{"accountId": "P-1001"}]}' > /srv/drop/alice/scan.bin.meta.json`)
	c.untilStalled()
	began := time.Now()
	c.run("systemctl", "restart", "digime-sync")
	t.Logf("the restart took %v", time.Since(began))
	if log := c.run("journalctl", "--no-pager", "-u", "digime-sync"); strings.Contains(log, "timed out") {
		t.Errorf("it did not stop by itself:\n%s", log)
	}
	c.delivered("scan.bin")
	receipt := c.run("cat", "/srv/drop/alice/scan.bin.receipt.json")
	if n := c.deliveries(); n != 1 && !strings.Contains(receipt, `"may_be_double": true`) {
		t.Errorf("%d deliveries, and the receipt says %s", n, receipt)
	}
}
