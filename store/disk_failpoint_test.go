//go:build failpoint

package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/digime-sync/digime-sync/store/failpoint"
)

// Whatever step of an opening fails, with whatever a disk says, nothing is lost
// by that: opened again, the store knows what it knew, and the vault has its tokens.
func TestFaultsWhileOpening(t *testing.T) {
	prepare := map[string]func(t *testing.T, dir string){
		"a damaged database": func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, dbName), make([]byte, 9000), 0o600))
		},
		"no database": func(t *testing.T, dir string) { remove(t, dir, dbName) },
		"a log cut in its last line": func(t *testing.T, dir string) {
			f, err := os.OpenFile(filepath.Join(dir, auditName), os.O_APPEND|os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteString("00000000 {half")
			must(t, errors.Join(err, f.Close()))
		},
		"a key that is gone": func(t *testing.T, dir string) { remove(t, dir, keyCopyName) },
		"nothing the matter": func(*testing.T, string) {},
	}
	marks := []string{"open.audit", "open.database", "audit.cut", "store.replay", "store.migrate", "store.closed", "rebuild.aside",
		"rebuild.create", "rebuild.replace", "rebuild.replaced", "store.commit", "store.committed", "vault.restore",
		"file.create", "file.write", "file.flush", "file.rename", "file.renamed", "move.rename", "move.renamed"}
	plan, hits := filepath.Join(t.TempDir(), "plan"), filepath.Join(t.TempDir(), "hits")
	t.Setenv(failpoint.PlanEnv, plan)
	t.Setenv(failpoint.LogEnv, hits)
	reached := map[string]bool{}
	faults := 0
	for what, prepare := range prepare {
		for _, mark := range marks {
			for _, errno := range []string{"ENOSPC", "EIO", "EROFS", "EDQUOT"} {
				dir := t.TempDir()
				must(t, vault(t, dir).Save("alice", []byte("token")))
				files := fill(t, dir, 5)
				prepare(t, dir)
				must(t, os.WriteFile(plan, []byte(mark+" "+errno+"\n"), 0o600))
				must(t, os.WriteFile(hits, nil, 0o600))
				for range 2 { // and the second time no worse
					if s, err := Open(dir, nil); err == nil {
						_ = s.Close() // what it says is not what counts
					}
					_, _ = OpenVault(dir)
				}
				must(t, os.Remove(plan))
				log, err := os.ReadFile(hits)
				must(t, err)
				if strings.Contains(string(log), mark+"\n") {
					reached[mark] = true
					faults++
				}
				s, err := Open(dir, nil)
				if err != nil {
					t.Fatalf("%s, %s %s: %v", what, mark, errno, err)
				}
				wantDelivered(t, s, files)
				must(t, s.Close())
				wantToken(t, vault(t, dir), "alice", "token")
				noFaults(t, dir)
			}
		}
	}
	for _, mark := range marks {
		if !reached[mark] {
			t.Errorf("%s was never reached", mark)
		}
	}
	t.Logf("%d faults while opening", faults)
}
