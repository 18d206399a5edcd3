//go:build packaging

package test

import (
	"os"
	"path"
	"strings"
	"testing"
	"time"
)

// byItself bounds what happens after the fleet's file was taken, with nothing
// typed on the machine: seconds, but not of a machine that does much besides.
const byItself = time.Minute

// joinFleet makes the machine one of a fleet whose files lie in /srv/fleet.
func (c *container) joinFleet() {
	c.t.Helper()
	c.openClinic()
	c.sh(`install -d /srv/fleet /root/keys
key=$(digime-sync fleet keygen /root/keys/fleet.key | grep -oE '[A-Za-z0-9+/]{43}=' | head -n 1)
printf 'config_url: /srv/fleet\nconfig_key: %s\nconfig_interval: 1m\n' "$key" >/etc/digime-sync/conf.d/fleet.yaml`)
}

// fleetSays signs a file of the fleet and waits until the service has taken it,
// which a reload makes sooner than the interval.
func (c *container) fleetSays(text string) {
	c.t.Helper()
	c.write("/srv/fleet/common.yaml", text, 0o644)
	c.run("digime-sync", "fleet", "sign", "--key", "/root/keys/fleet.key", "/srv/fleet/common.yaml")
	serial, _, _ := strings.Cut(text, "\n")
	had, _ := os.ReadFile(c.path(takenFile))
	c.eventually(soon, "the fleet's file with "+serial+" is taken", func() bool {
		_, _ = c.try("systemctl", "reload", "digime-sync") // it may be starting
		now, err := os.ReadFile(c.path(takenFile))
		return err == nil && string(now) != string(had)
	})
}

const takenFile = "/var/lib/digime-sync/fleet/taken.json"

// dropAt puts a file with its sidecar into a folder, as its owner.
func (c *container) dropAt(folder, name string) {
	c.t.Helper()
	c.write(path.Join(folder, name+".meta.json"), `{"mimeType": "text/plain", "accounts": [{"accountId": "P-1001"}]}`, 0o644)
	c.write(path.Join(folder, name), "well "+name, 0o644)
}

// What the fleet's configuration names is opened to the service with nothing
// typed on the machine; what is the system's is not.
func TestFleetsFoldersOpenByThemselves(t *testing.T) {
	c := bootForPackages(t)
	c.installDeb(first)
	same(t, "enabled", c.run("systemctl", "is-enabled", "digime-sync-configure.path"), "enabled")
	c.joinFleet()
	c.sh(`install -d -o digime-sync /srv/new /srv/reports /var/lib/other
install -d -m 0755 /home/anna && install -d -o digime-sync "/home/anna/two words%n"`)
	c.fleetSays(`serial: 1
report_to: /srv/reports
folders:
  - {path: /srv/new, library: alice}
  - {path: "/home/anna/two words%n", library: alice}
`)
	began := time.Now()
	for _, folder := range []string{"/srv/new", "/home/anna/two words%n"} {
		name := strings.ReplaceAll(path.Base(folder), " ", "-") + ".txt"
		c.dropAt(folder, name)
		c.eventually(byItself-time.Since(began), name+" has its receipt", func() bool { return c.exists(path.Join(folder, name+".receipt.json")) })
		t.Logf("%s has its receipt after %v", name, time.Since(began))
	}
	c.eventually(soon, "the report is written", func() bool { return c.sh("ls /srv/reports") != "" })
	t.Logf("reported after %v", time.Since(began))

	t.Run("nothing changed", func(t *testing.T) { c.touchedOnly(t) })
	t.Run("refused", func(t *testing.T) { c.refusesTheSystem(t) })
	t.Run("forged", func(t *testing.T) { c.refusesForgery(t) })
	t.Run("bad", func(t *testing.T) { c.keepsOverABadOne(t) })
}

const dropIn = unitFile + ".d/folders.conf"

// untilFollowed does something, and waits until the unit has run after it with
// these words in its journal.
func (c *container) untilFollowed(words string, do func()) {
	c.t.Helper()
	c.run("journalctl", "--sync")
	cursor := strings.TrimSpace(strings.TrimPrefix(lastLine(c.run("journalctl", "-n", "0", "--show-cursor")), "-- cursor:"))
	do()
	c.eventually(byItself, "digime-sync-configure says: "+words, func() bool {
		out, _ := c.try("journalctl", "--no-pager", "-u", "digime-sync-configure", "--after-cursor", cursor)
		return strings.Contains(out, words)
	})
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// touchedOnly shows that a write that changes nothing does not restart.
func (c *container) touchedOnly(t *testing.T) {
	before := c.mainPID()
	c.untilFollowed("already open", func() { c.sh("echo '# a remark' >>" + configFile) })
	same(t, "process", c.mainPID(), before)
}

func (c *container) refusesTheSystem(t *testing.T) {
	c.sh("ln -s /etc/ssl /srv/innocent")
	c.untilFollowed("not opened to the service", func() {
		c.fleetSays(`serial: 2
folders:
  - {path: /srv/new, library: alice}
  - {path: /var/lib/other, library: alice}
  - {path: /srv/innocent, library: alice}
  - {path: /srv/not-there, library: alice}
`)
	})
	text := c.run("cat", dropIn)
	if strings.Contains(text, "/var/lib/other") || strings.Contains(text, "innocent") || strings.Contains(text, "/etc/ssl") {
		t.Errorf("what is the system's was opened:\n%s", text)
	}
	if !strings.Contains(text, "=-/srv/new\n") {
		t.Errorf("what is not the system's was shut:\n%s", text)
	}
	if c.exists("/srv/not-there") {
		t.Error("a folder that the fleet names was made")
	}
	if said, err := c.try("digime-sync", "service", "configure"); err == nil || !strings.Contains(said, "/var/lib/other") {
		t.Errorf("by hand it says nothing of it: %v\n%s", err, said)
	}
}

// refusesForgery has the service's user write what config_key has not signed.
func (c *container) refusesForgery(t *testing.T) {
	before, err := os.ReadFile(c.path(takenFile))
	if err != nil {
		t.Fatal(err)
	}
	// The content, in base64, of common.yaml with a folder that nobody has signed.
	c.untilFollowed("", func() {
		c.sh(`content=$(printf 'serial: 9\nfolders:\n  - {path: /srv/forged, library: alice}\n' | base64 -w0)
sed -E "s#\"content\":\"[^\"]*\"#\"content\":\"$content\"#" ` + takenFile + ` >/tmp/forged
install -o digime-sync -m 0600 /tmp/forged ` + takenFile)
	})
	c.untilFollowed("open", func() { c.run("touch", configFile) })
	if text := c.run("cat", dropIn); strings.Contains(text, "/srv/forged") {
		t.Errorf("what nobody has signed was opened:\n%s", text)
	}
	c.write(takenFile, string(before), 0o600)
}

// keepsOverABadOne breaks the configuration.
func (c *container) keepsOverABadOne(t *testing.T) {
	c.untilFollowed("open", func() { c.run("touch", configFile) })
	before := c.run("cat", dropIn)
	c.untilFollowed("error:", func() { c.sh("cp " + configFile + " /srv/good.yaml; echo 'folders: [' >>" + configFile) })
	same(t, "drop-in", c.run("cat", dropIn), before)
	c.sh("cat /srv/good.yaml >" + configFile)
	c.untilFollowed("nothing is opened to the service by itself", func() { c.run("chown", "digime-sync", configFile) })
	same(t, "drop-in", c.run("cat", dropIn), before)
}

// Whoever disables the service has no other unit left that acts for it.
func TestConfigureUnitsGoWithTheService(t *testing.T) {
	c := bootForPackages(t)
	c.installDeb(first)
	c.run("systemctl", "disable", "--now", "digime-sync")
	c.installDeb(second)
	enabled, _ := c.try("systemctl", "is-enabled", "digime-sync-configure.path")
	same(t, "disabled with the service, after an upgrade", enabled, "disabled")
	c.run("systemctl", "enable", "--now", "digime-sync")
	same(t, "enabled with the service", c.run("systemctl", "is-enabled", "digime-sync-configure.path"), "enabled")
	c.run("dpkg", "-P", "digime-sync")
	same(t, "left by the purge", c.sh("find /etc /usr/lib /var/lib/systemd -name 'digime-sync*'"), "")
	same(t, "left running", c.sh("systemctl list-units --all --plain --no-legend 'digime-sync*' | grep -w active || true"), "")

	c.installRPM(first)
	c.eventually(soon, "the path unit is active", func() bool {
		state, _ := c.try("systemctl", "is-active", "digime-sync-configure.path")
		return state == "active"
	})
	if out, err := c.rpm("-e", "digime-sync"); err != nil {
		t.Fatalf("remove: %v\n%s", err, out)
	}
	same(t, "left enabled by the rpm", c.sh("find /etc/systemd -name 'digime-sync*.path'"), "")
}

// The service that is installed without a package has the same units, which go
// with it.
func TestServiceInstallFollowsTheConfiguration(t *testing.T) {
	c := bootForService(t)
	c.serve()
	c.sh("install -d -o digime-sync /srv/more")
	began := time.Now()
	c.write("/etc/digime-sync/conf.d/more.yaml", "folders:\n  - {path: /srv/more, library: alice}\n", 0o644)
	c.dropAt("/srv/more", "more.txt")
	c.eventually(byItself, "more.txt has its receipt", func() bool { return c.exists("/srv/more/more.txt.receipt.json") })
	t.Logf("more.txt has its receipt after %v", time.Since(began))
	c.run("digime-sync", "service", "uninstall")
	same(t, "left in /etc/systemd", c.sh("find /etc/systemd -name 'digime-sync*'"), "")
	same(t, "left running", c.sh("systemctl list-units --all --plain --no-legend 'digime-sync*' | grep -w active || true"), "")
}
