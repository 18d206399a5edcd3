//go:build packaging

package test

import (
	"strings"
	"testing"
)

// rpm works on Debian too, but knows nothing there of what its packages need.
func (c *container) rpm(args ...string) (string, error) {
	return c.try(append([]string{"rpm", "--nodeps", "--force-debian"}, args...)...)
}

func (c *container) installRPM(version string, flags ...string) {
	c.t.Helper()
	args := append([]string{"-U"}, flags...)
	if out, err := c.rpm(append(args, rpmFile(version))...); err != nil {
		c.t.Fatalf("install %s: %v\n%s", version, err, out)
	}
}

func rpmFile(version string) string {
	return "/packages/" + version + "/digime-sync-" + version + "-1.x86_64.rpm"
}

func TestRPMLife(t *testing.T) {
	c := bootForPackages(t)
	c.installRPM(first)
	c.eventually(soon, "the service is active", c.active)
	same(t, "enabled", c.run("systemctl", "is-enabled", "digime-sync"), "enabled")
	same(t, "configuration folder", c.run("stat", "-c", "%U:%G %a", "/etc/digime-sync"), "root:digime-sync 750")
	same(t, "configuration", c.run("stat", "-c", "%U:%G %a", configFile), "root:digime-sync 640")
	same(t, "state folder", c.run("stat", "-c", "%U:%G %a", "/var/lib/digime-sync"), "digime-sync:digime-sync 700")
	if out, err := c.rpm("-V", "digime-sync"); err != nil {
		t.Errorf("what rpm -V finds different:\n%s", out)
	}
	c.openClinic()
	c.drop("report.txt", "all well")
	c.delivered("report.txt")

	// Installing twice: refused, or done again when one insists; it runs on.
	if out, err := c.rpm("-U", rpmFile(first)); err == nil || !strings.Contains(out, "already installed") {
		t.Errorf("the second installation: %v\n%s", err, out)
	}
	c.installRPM(first, "--replacepkgs")
	c.eventually(soon, "the service is active after it was installed twice", c.active)

	c.sh("echo '# a remark of the administrator' >> " + configFile)
	for i, version := range []string{second, third} {
		c.installRPM(version)
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
	if out, err := c.rpm("-U", rpmFile(first)); err == nil {
		t.Errorf("an older version was installed without a word:\n%s", out)
	}
}

func TestRPMUpgradeLeavesItAsItWas(t *testing.T) {
	c := bootForPackages(t)
	c.installRPM(first)
	c.eventually(soon, "the service is active", c.active)
	c.run("systemctl", "stop", "digime-sync")
	c.installRPM(second)
	same(t, "stopped before the upgrade", c.property("ActiveState"), "inactive")
	c.run("systemctl", "disable", "digime-sync")
	c.installRPM(third)
	enabled, _ := c.try("systemctl", "is-enabled", "digime-sync")
	same(t, "disabled before the upgrade", enabled, "disabled")
	same(t, "stopped and disabled before the upgrade", c.property("ActiveState"), "inactive")
}

func TestRPMUpgradeStartsWhatHasFailed(t *testing.T) {
	c := bootForPackages(t)
	c.installRPM(first)
	c.eventually(soon, "the service is active", c.active)
	c.fails()
	c.installRPM(second)
	c.eventually(soon, "the service is active after the upgrade", c.active)
	c.fails()
	c.run("systemctl", "disable", "digime-sync")
	c.installRPM(third)
	same(t, "failed and disabled before the upgrade", c.property("ActiveState"), "failed")
}

func TestRPMErase(t *testing.T) {
	c := bootForPackages(t)
	c.installRPM(first)
	c.openClinic()
	c.drop("report.txt", "kept in mind")
	c.delivered("report.txt")
	if out, err := c.try("rpm", "-e", "digime-sync"); err != nil {
		t.Fatalf("erase: %v\n%s", err, out)
	}
	same(t, "a process is left", c.sh("pgrep -c -x digime-sync || true"), "0")
	for _, kept := range []string{configFile + ".rpmsave", "/etc/digime-sync/clinic-write.key", "/var/lib/digime-sync/state.db"} {
		if !c.exists(kept) {
			t.Errorf("the removal has taken %s", kept)
		}
	}
	if c.exists("/usr/bin/digime-sync") {
		t.Error("the removal has left the program")
	}
	c.run("mv", configFile+".rpmsave", configFile)
	c.installRPM(second)
	c.eventually(soon, "the service is active after it was installed again", c.active)
	same(t, "enabled", c.run("systemctl", "is-enabled", "digime-sync"), "enabled")
	c.drop("again.txt", "kept in mind")
	c.drop("new.txt", "after it was installed again")
	c.delivered("new.txt")
	same(t, "deliveries, nothing twice", c.deliveries(), 2)
}

// An administrator's preset goes before the package's.
func TestRPMHonoursPreset(t *testing.T) {
	c := bootForPackages(t)
	c.write("/etc/systemd/system-preset/10-local.preset", "disable digime-sync.service\n", 0o644)
	c.installRPM(first)
	enabled, _ := c.try("systemctl", "is-enabled", "digime-sync")
	same(t, "enabled against the preset", enabled, "disabled")
	same(t, "started against the preset", c.property("ActiveState"), "inactive")
}
