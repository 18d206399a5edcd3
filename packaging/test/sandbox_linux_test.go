//go:build packaging

package test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// mostExposed is the score of systemd-analyze security that the unit may have:
// 0 is shut, 10 open.
const mostExposed = 2.0

func TestUnitIsShut(t *testing.T) {
	c := bootForPackages(t)
	c.installDeb(first)
	c.openClinic()
	c.run("systemd-analyze", "verify", "--man=no", "/usr/lib/systemd/system/digime-sync.service")
	said := c.run("systemd-analyze", "security", "--no-pager", "digime-sync.service")
	found := regexp.MustCompile(`Overall exposure level for digime-sync.service: ([0-9.]+)`).FindStringSubmatch(said)
	if found == nil {
		t.Fatalf("no score in:\n%s", said)
	}
	score, err := strconv.ParseFloat(found[1], 64)
	if err != nil || score > mostExposed {
		t.Errorf("exposure %s, want %.1f at most:\n%s", found[1], mostExposed, said)
	}
	t.Logf("exposure %.1f", score)
	t.Run("from within", func(t *testing.T) { c.probeSandbox(t) })
}

// probeSandbox tries, with the service's own namespaces and rights, what it must
// not be able to do, and what it must.
func (c *container) probeSandbox(t *testing.T) {
	c.write("/home/somebody/secret", "x", 0o644)
	pid := fmt.Sprint(c.mainPID())
	inside := func(script string) (string, error) {
		// The service's view of the disk and its user. The rest of what it is
		// shut in by is looked at in the status of the process.
		return c.try("nsenter", "-t", pid, "-m", "setpriv", "--reuid", "digime-sync", "--regid", "digime-sync",
			"--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "sh", "-c", script)
	}
	for what, script := range map[string]string{
		"write to /etc":             "touch /etc/probe",
		"write to /usr":             "touch /usr/probe",
		"write to /var/log":         "touch /var/log/probe",
		"write its configuration":   "touch " + configFile,
		"read a home folder":        "cat /home/somebody/secret",
		"list root's folder":        "ls /root/.bashrc",
		"write a folder beside":     "touch /srv/drop/probe",
		"read the shadow passwords": "cat /etc/shadow",
	} {
		if out, err := inside(script); err == nil {
			t.Errorf("it can %s: %s", what, out)
		}
	}
	for what, script := range map[string]string{
		"read its configuration":   "cat " + configFile,
		"write to its state":       "touch /var/lib/digime-sync/probe && rm /var/lib/digime-sync/probe",
		"write to a folder of its": "touch /srv/drop/alice/.probe && rm /srv/drop/alice/.probe",
	} {
		if out, err := inside(script); err != nil {
			t.Errorf("it cannot %s: %v: %s", what, err, out)
		}
	}
	status := c.run("cat", "/proc/"+pid+"/status")
	for _, line := range []string{"NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"} {
		if !strings.Contains(status, line) {
			t.Errorf("its status does not say %q", line)
		}
	}
}

// A contract's key comes to the service plain or sealed to the machine, by one
// name in the configuration; one that is not there is said.
func TestKeyAsCredential(t *testing.T) {
	c := bootForService(t)
	c.serve()
	c.sh(`install -d -m 0700 /etc/credstore /etc/credstore.encrypted
mv /etc/digime-sync/clinic-write.key /root/contract.key
sed -i 's#private_key_file: clinic-write.key#private_key_file: "${CREDENTIALS_DIRECTORY}/contract.key"#' ` + configFile + `
digime-sync service restart`)
	c.untilService(soon, "degraded", "the service was given no credential contract.key", 3)
	for how, put := range map[string]string{
		"plain":  "install -m 0600 /root/contract.key /etc/credstore/digime-sync.contract.key",
		"sealed": "rm -f /etc/credstore/*; systemd-creds encrypt --with-key=host --name=contract.key /root/contract.key /etc/credstore.encrypted/digime-sync.contract.key",
	} {
		c.sh(put + "; digime-sync service restart")
		c.untilService(soon, "running", "", 0)
		c.drop(how+".txt", how)
		c.delivered(how + ".txt")
		c.sh("rm -f /etc/credstore/* /etc/credstore.encrypted/*")
	}
}
