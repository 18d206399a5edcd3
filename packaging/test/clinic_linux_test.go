//go:build packaging

package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	configFile = "/etc/digime-sync/config.yaml"
	// soon bounds what the service does by itself in a second or two. It measures
	// nothing: the machine may be slow, and do other things besides.
	soon = 2 * time.Minute
)

// bootForPackages boots a Debian that sees all packages below /packages.
func bootForPackages(t *testing.T) *container {
	t.Helper()
	need(t, "systemd-nspawn", "curl")
	for _, version := range []string{first, second, third} {
		release(t, version)
	}
	return bootContainer(t, map[string]string{"/packages": releases})
}

func debFile(version string) string {
	return "/packages/" + version + "/digime-sync_" + version + "-1_amd64.deb"
}

// installDeb installs a version as unattended tools do.
func (c *container) installDeb(version string) string {
	c.t.Helper()
	return c.run("dpkg", "--force-confdef", "--force-confold", "-i", debFile(version))
}

// openClinic starts a stand-in for the API and configures the service for the
// people it knows, alice and bob, with the folders /srv/drop/NAME.
func (c *container) openClinic() {
	c.t.Helper()
	// A program of its own, so that an upgrade does not touch the API.
	c.sh("cp /usr/bin/digime-sync /usr/local/bin/api && systemd-run -q --unit=api /usr/local/bin/api sandbox /srv/api")
	c.eventually(soon, "the stand-in API answers", func() bool { return c.api("GET", "state", "") != "" })
	text, err := os.ReadFile(c.path("/srv/api/config.yaml"))
	if err != nil {
		c.t.Fatal(err)
	}
	config := strings.NewReplacer("state_dir: state\n", "", "path: inbox/", "path: /srv/drop/").Replace(string(text))
	c.sh(`for key in clinic-write clinic-read; do install -g digime-sync -m 0640 /srv/api/$key.key /etc/digime-sync/; done
for name in alice bob; do install -d -o digime-sync -m 0755 /srv/drop/$name; done`)
	if err := os.WriteFile(c.path(configFile), []byte(config), 0o640); err != nil {
		c.t.Fatal(err)
	}
	c.run("digime-sync", "service", "configure")
	c.run("systemctl", "restart", "digime-sync")
	for _, name := range []string{"alice", "bob"} {
		c.run("digime-sync", "token", "import", name, "/srv/api/"+name+".token.json")
	}
	c.eventually(soon, "the service is active", c.active)
}

// api asks the stand-in API, from this machine's curl in the container's
// network; "" when there is no answer.
func (c *container) api(method, what, body string) string {
	args := []string{"-t", strconv.Itoa(c.pid), "-n", "curl", "-s", "-X", method, "http://127.0.0.1:8420/sandbox/" + what}
	if body != "" {
		args = append(args, "-d", body)
	}
	out, _ := exec.Command("nsenter", args...).Output()
	return string(out)
}

// stall has the stand-in API read no further in the next push.
func (c *container) stall() {
	c.t.Helper()
	c.api("POST", "fail", `{"kind": "push", "do": "stall"}`)
}

// untilStalled waits until a push has come that far.
func (c *container) untilStalled() {
	c.t.Helper()
	c.eventually(soon, "the push has begun", func() bool {
		state := c.api("GET", "state", "")
		return state != "" && !strings.Contains(state, `"do":"stall"`)
	})
}

// deliveries counts what has arrived.
func (c *container) deliveries() int {
	c.t.Helper()
	var all []json.RawMessage
	if err := json.Unmarshal([]byte(c.api("GET", "deliveries", "")), &all); err != nil {
		c.t.Fatalf("list the deliveries: %v", err)
	}
	return len(all)
}

// drop puts a file and its sidecar into alice's folder.
func (c *container) drop(name, text string) {
	c.t.Helper()
	file := path.Join("/srv/drop/alice", name)
	c.write(file, text, 0o644)
	c.write(file+".meta.json", `{"mimeType": "text/plain", "accounts": [{"accountId": "P-1001"}]}`, 0o644)
}

// delivered waits until a dropped file has its receipt.
func (c *container) delivered(name string) {
	c.t.Helper()
	c.eventually(soon, name+" is delivered", func() bool { return c.exists("/srv/drop/alice/" + name + ".receipt.json") })
}

func (c *container) active() bool { return c.property("ActiveState") == "active" }

// mainPID is the service's process, seen from within.
func (c *container) mainPID() int {
	c.t.Helper()
	pid, err := strconv.Atoi(c.property("MainPID"))
	if err != nil {
		c.t.Fatal(err)
	}
	return pid
}

// version is what the installed program says of itself.
func (c *container) version() string {
	c.t.Helper()
	return c.run("digime-sync", "--version")
}

// same fails the test when what is not as it should be.
func same[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
