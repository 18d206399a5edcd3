//go:build packaging

package test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// ansiblePackages are those of the other containers, and Ansible.
const ansiblePackages = rootPackages + ",ansible-core,python3-apt"

const play = `
- hosts: all
  roles:
    - role: digime_sync
      vars:
        digime_sync_package_file: %PACKAGE%
        digime_sync_folders: [{path: /srv/drop/alice}]
        digime_sync_keys: [{name: clinic-write.key, content: "{{ lookup('file', '/tmp/clinic-write.key') }}"}]
        digime_sync_config:
          application_id: my-app
          contracts: {clinic-write: {id: clinic-write, private_key_file: clinic-write.key}}
          libraries: {alice: {contract: clinic-write, accounts: [P-1001]}}
          folders: [{path: /srv/drop/alice, library: alice}]
`

// The second time nothing is changed; a new version is.
func TestAnsibleTwice(t *testing.T) {
	need(t, "systemd-nspawn")
	roles, err := filepath.Abs(filepath.Join("..", "ansible", "roles"))
	if err != nil {
		t.Fatal(err)
	}
	release(t, first)
	release(t, second)
	c := bootRoot(t, baseRoot(t, "bookworm", ansiblePackages), map[string]string{"/packages": releases, "/etc/ansible/roles": roles})
	c.write("/tmp/clinic-write.key", newKey(t), 0o600)
	apply := func(version string) string {
		t.Helper()
		c.write("/tmp/play.yml", strings.Replace(play, "%PACKAGE%", debFile(version), 1), 0o644)
		return c.run("ansible-playbook", "-i", "localhost,", "-c", "local", "/tmp/play.yml")
	}
	apply(first)
	c.eventually(soon, "the service is active", c.active)
	if out := apply(first); !regexp.MustCompile(`changed=0\b`).MatchString(out) {
		t.Errorf("the second time something was changed:\n%s", out)
	}
	same(t, "enabled", c.run("systemctl", "is-enabled", "digime-sync"), "enabled")
	same(t, "key", c.run("stat", "-c", "%U:%G %a", "/etc/digime-sync/clinic-write.key"), "root:digime-sync 640")
	if out := apply(second); !regexp.MustCompile(`changed=[1-9]`).MatchString(out) {
		t.Errorf("the new version was not installed:\n%s", out)
	}
	c.eventually(soon, "the service is active after the upgrade", c.active)
}

// newKey is a contract's private key.
func newKey(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}
