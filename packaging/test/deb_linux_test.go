//go:build packaging

package test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestDebFreshInstall(t *testing.T) {
	c := bootForPackages(t)
	began := time.Now()
	c.installDeb(first)
	took := time.Since(began)
	c.eventually(soon, "the service is active", c.active)
	t.Logf("installed in %v, active after %v", took, time.Since(began))
	same(t, "enabled", c.run("systemctl", "is-enabled", "digime-sync"), "enabled")
	same(t, "failed units", c.run("systemctl", "list-units", "--failed", "--no-legend", "digime-sync.service"), "")
	same(t, "configuration folder", c.run("stat", "-c", "%U:%G %a", "/etc/digime-sync"), "root:digime-sync 750")
	same(t, "configuration", c.run("stat", "-c", "%U:%G %a", configFile), "root:digime-sync 640")
	same(t, "state folder", c.run("stat", "-c", "%U:%G %a", "/var/lib/digime-sync"), "digime-sync:digime-sync 700")
	same(t, "user of the process", c.run("stat", "-c", "%U", fmt.Sprintf("/proc/%d", c.mainPID())), "digime-sync")
	if !strings.Contains(c.version(), first) {
		t.Errorf("version: %s", c.version())
	}
	c.run("dpkg", "--verify", "digime-sync")
	if out, _ := c.try("digime-sync", "service", "status"); !strings.Contains(out, configFile) {
		t.Errorf("the status does not say that it waits for a configuration:\n%s", out)
	}

	c.openClinic()
	c.drop("report.txt", "all well")
	c.delivered("report.txt")
	same(t, "deliveries", c.deliveries(), 1)

	// The same package once more, by hand or by a tool that retries.
	c.installDeb(first)
	c.eventually(soon, "the service is active again", c.active)
	c.drop("after.txt", "installed twice")
	c.delivered("after.txt")
	same(t, "deliveries after installing twice", c.deliveries(), 2)
}

// While an image is built no systemd runs in it: nothing is started, all is
// enabled for the day it boots.
func TestDebIntoAnImage(t *testing.T) {
	c := bootForPackages(t)
	c.sh("mkdir /image && mount --bind / /image && mkdir -p /image/packages && mount --bind /packages /image/packages")
	c.run("chroot", "/image", "dpkg", "-i", debFile(first))
	if !c.exists("/etc/systemd/system/multi-user.target.wants/digime-sync.service") {
		t.Error("it is not enabled")
	}
	same(t, "a process", c.sh("pgrep -c -x digime-sync || true"), "0")
	c.sh("systemctl daemon-reload && systemctl start multi-user.target && systemctl start digime-sync")
	c.eventually(soon, "the service is active once the image boots", c.active)
}

func TestDebComesBackByItself(t *testing.T) {
	c := bootForPackages(t)
	c.installDeb(first)
	c.openClinic()
	c.comesBack()
	c.watchdogBites()
	c.drop("report.txt", "after all that")
	c.delivered("report.txt")
}

func TestDebUpgrades(t *testing.T) {
	c := bootForPackages(t)
	c.installDeb(first)
	c.openClinic()
	c.drop("first.txt", "before the upgrades")
	c.delivered("first.txt")
	c.sh("echo '# a remark of the administrator' >> " + configFile)

	for i, version := range []string{second, third} {
		c.installDeb(version)
		c.eventually(soon, "the service is active after the upgrade", c.active)
		if !strings.Contains(c.version(), version) {
			t.Errorf("version: %s", c.version())
		}
		if !strings.Contains(c.run("cat", configFile), "a remark of the administrator") {
			t.Error("the upgrade has replaced the edited configuration")
		}
		name := "after-" + version + ".txt"
		c.drop(name, version)
		c.delivered(name)
		same(t, "deliveries, nothing twice", c.deliveries(), i+2)
	}
	// The older one is older than the state may be: it is for the program to
	// refuse, and for the package to install what it is told to.
	if out := c.run("digime-sync", "status"); !strings.Contains(out, "3") {
		t.Errorf("the record of deliveries is not the old one:\n%s", out)
	}
}

func TestDebUpgradeWhilePushing(t *testing.T) {
	c := bootForPackages(t)
	c.installDeb(first)
	c.openClinic()
	c.stall()
	c.drop("large.txt", strings.Repeat("0123456789abcdef", 8<<20)) // 128 MiB: more than any buffer on the way
	c.untilStalled()
	if c.exists("/srv/drop/alice/large.txt.receipt.json") {
		t.Fatal("it was delivered before the upgrade: this test shows nothing")
	}
	c.installDeb(second)
	c.eventually(soon, "the service is active after the upgrade", c.active)
	c.delivered("large.txt")
	same(t, "deliveries", c.deliveries(), 1)
}

func TestDebUpgradeLeavesItAsItWas(t *testing.T) {
	c := bootForPackages(t)
	c.installDeb(first)
	c.openClinic()
	c.run("systemctl", "stop", "digime-sync")
	c.installDeb(second)
	same(t, "stopped before the upgrade", c.property("ActiveState"), "inactive")
	same(t, "enabled before the upgrade", c.run("systemctl", "is-enabled", "digime-sync"), "enabled")

	c.run("systemctl", "disable", "digime-sync")
	c.installDeb(third)
	same(t, "stopped and disabled before the upgrade", c.property("ActiveState"), "inactive")
	enabled, _ := c.try("systemctl", "is-enabled", "digime-sync")
	same(t, "disabled before the upgrade", enabled, "disabled")
}

// What is saved with a typo is not the end of a service, neither the first time
// nor when an upgrade restarts it.
func TestDebWithABadConfiguration(t *testing.T) {
	c := bootForPackages(t)
	c.installDeb(first)
	c.untilService(soon, "degraded", "nothing is configured yet", 3)
	c.write(configFile, "application_id: app\ncontracts: {}\nfolderz: []\n", 0o640)
	c.untilService(soon, "degraded", "folderz", 3)
	c.write(configFile, "application_id: app\ncontracts: {}\nfolders: []\n", 0o640)
	c.untilService(mended, "running", "", 0)

	c.openClinic()
	const bad = "/etc/digime-sync/conf.d/z.yaml"
	c.write(bad, "nonsense: 1\n", 0o644)
	c.untilService(soon, "degraded", "the one before still holds", 3)
	c.installDeb(second)
	c.untilService(soon, "degraded", "it waits: ", 3)
	c.drop("report.txt", "while it waits")
	c.run("rm", bad)
	c.untilService(mended, "running", "", 0)
	c.delivered("report.txt")
	same(t, "restarts", c.property("NRestarts"), "0")
}

// fails makes the service fail for good, whatever it runs.
func (c *container) fails() {
	c.t.Helper()
	const never = "/run/systemd/system/digime-sync.service.d/never.conf"
	c.write(never, "[Service]\nRestart=no\n", 0o644)
	c.run("systemctl", "daemon-reload")
	c.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "digime-sync")
	c.eventually(soon, "the service has failed", func() bool { return c.property("ActiveState") == "failed" })
	c.run("rm", never)
	c.run("systemctl", "daemon-reload")
}

// Nobody has stopped what has failed: the upgrade may be what mends it.
func TestDebUpgradeStartsWhatHasFailed(t *testing.T) {
	c := bootForPackages(t)
	c.installDeb(first)
	c.eventually(soon, "the service is active", c.active)
	c.fails()
	c.installDeb(second)
	c.eventually(soon, "the service is active after the upgrade", c.active)
	c.fails()
	c.run("systemctl", "disable", "digime-sync")
	c.installDeb(third)
	same(t, "failed and disabled before the upgrade", c.property("ActiveState"), "failed")
}

func TestDebRemoveReinstallPurge(t *testing.T) {
	c := bootForPackages(t)
	c.installDeb(first)
	c.openClinic()
	c.drop("report.txt", "kept in mind")
	c.delivered("report.txt")

	// Removed while a push is under way: it is stopped all the same.
	c.stall()
	c.drop("unfinished.txt", strings.Repeat("0123456789abcdef", 4<<20))
	c.untilStalled()
	c.run("dpkg", "-r", "digime-sync")
	same(t, "a process is left", c.sh("pgrep -c -x digime-sync || true"), "0")
	for _, kept := range []string{configFile, "/etc/digime-sync/clinic-write.key", "/var/lib/digime-sync/state.db", "/srv/drop/alice/report.txt"} {
		if !c.exists(kept) {
			t.Errorf("removal has taken %s", kept)
		}
	}
	for _, gone := range []string{"/usr/bin/digime-sync", "/usr/lib/systemd/system/digime-sync.service", "/usr/share/man/man1/digime-sync.1.gz"} {
		if c.exists(gone) {
			t.Errorf("removal has left %s", gone)
		}
	}

	c.installDeb(second)
	c.eventually(soon, "the service is active after it was installed again", c.active)
	same(t, "enabled", c.run("systemctl", "is-enabled", "digime-sync"), "enabled")
	c.delivered("unfinished.txt")
	same(t, "deliveries", c.deliveries(), 2)

	before := c.footprints()
	c.run("dpkg", "-P", "digime-sync")
	if left := c.footprints(); left != "" {
		t.Errorf("the purge has left:\n%s\nof:\n%s", left, before)
	}
	same(t, "the dropped file", c.run("cat", "/srv/drop/alice/report.txt"), "kept in mind")
	if out, _ := c.try("systemctl", "status", "digime-sync"); !strings.Contains(out, "could not be found") {
		t.Errorf("systemd still knows the service:\n%s", out)
	}
}

// A purge takes what is the package's, and not what others have put beside or
// mounted below.
func TestDebPurgeLeavesOthersThings(t *testing.T) {
	c := bootForPackages(t)
	c.installDeb(first)
	const admins = "/etc/systemd/system/digime-sync.service.d/admin.conf"
	c.write(admins, "[Service]\nNice=5\n", 0o644)
	c.sh(`install -d /srv/share "/var/lib/digime-sync/Praxis [alt]"
echo kept >/srv/share/report.txt; mount --bind /srv/share "/var/lib/digime-sync/Praxis [alt]"`)
	c.run("dpkg", "-P", "digime-sync")
	for _, kept := range []string{"/srv/share/report.txt", admins} {
		if !c.exists(kept) {
			t.Errorf("the purge has taken %s", kept)
		}
	}
	same(t, "left of the state", c.sh("ls -A /var/lib/digime-sync"), "Praxis [alt]")
}

// A unit of a bare installation goes before the package's: that is said, and how
// to undo it, and then the package's is the one that runs.
func TestDebOverABareInstall(t *testing.T) {
	c := bootForPackages(t)
	c.sh("dpkg-deb -x " + debFile(first) + " /opt/bare && /opt/bare/usr/bin/digime-sync service install && /opt/bare/usr/bin/digime-sync service start")
	if said := c.run("dpkg", "-i", debFile(first)); !strings.Contains(said, "hides the package's unit") {
		t.Errorf("it is not said that a unit hides the package's:\n%s", said)
	}
	if said, err := c.try("digime-sync", "service", "status"); err == nil || !strings.Contains(said, "hides the package's") || !strings.Contains(said, "systemctl enable --now digime-sync") {
		t.Errorf("the status does not say it:\n%s", said)
	}
	c.sh("digime-sync service uninstall && systemctl enable --now digime-sync digime-sync-configure.path")
	c.eventually(soon, "the package's service runs", func() bool {
		return c.active() && strings.HasSuffix(c.property("FragmentPath"), "/lib/systemd/system/digime-sync.service")
	})
}

// footprints lists all files of the system with the service's name.
func (c *container) footprints() string {
	c.t.Helper()
	return c.sh("find / -xdev -name '*digime-sync*' -not -path '/packages/*' -not -path '/tmp/*' -not -path '/var/lib/dpkg/*' -not -path '/var/log/*'")
}

// A package that cannot be unpacked leaves what ran before running.
func TestDebUpgradeFailsInTheMiddle(t *testing.T) {
	c := bootForPackages(t)
	c.installDeb(first)
	c.openClinic()
	before := c.mainPID()

	// A disk that is full.
	c.sh("mount -t tmpfs -o size=1m tmpfs /usr/share/man && dd if=/dev/zero of=/usr/share/man/filler bs=4k count=254 status=none")
	if out, err := c.try("dpkg", "--force-confold", "-i", debFile(second)); err == nil {
		t.Fatalf("the upgrade succeeded on a full disk:\n%s", out)
	} else if !strings.Contains(out, "No space left on device") {
		t.Fatalf("the upgrade failed for another reason:\n%s", out)
	}
	same(t, "the process", c.mainPID(), before)
	if !strings.Contains(c.version(), first) {
		t.Errorf("the program is not the old one: %s", c.version())
	}
	c.drop("report.txt", "while the upgrade has failed")
	c.delivered("report.txt")

	c.run("rm", "/usr/share/man/filler")
	c.installDeb(second)
	if !strings.Contains(c.version(), second) {
		t.Errorf("once there is room: %s", c.version())
	}

	// A file that is cut short.
	whole, err := os.ReadFile(c.path(debFile(third)))
	if err != nil {
		t.Fatal(err)
	}
	c.write("/tmp/short.deb", string(whole[:len(whole)/2]), 0o644)
	if out, err := c.try("dpkg", "-i", "/tmp/short.deb"); err == nil {
		t.Fatalf("half a package was installed:\n%s", out)
	}
	c.eventually(soon, "the service is active", c.active)
	if !strings.Contains(c.version(), second) {
		t.Errorf("after half a package: %s", c.version())
	}
}
