package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/digime-sync/digime-sync/store"
)

func TestStatusOfASubfolderThatIsNotWatched(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.start()
	sub := filepath.Join(r.dir, "alice", "2026")
	must(t, os.Mkdir(sub, 0o755))
	s, err := r.engine.Status(sub)
	must(t, err)
	if len(s.Files) != 1 || s.Files[0].State != store.Ignored || !strings.Contains(s.Files[0].Reason, "recursive: false") {
		t.Errorf("%+v", s.Files)
	}
}

// A folder named ALICE beside the library alice is a slip of the pen, not another person.
func TestSubfolderThatDiffersInCase(t *testing.T) {
	r := newRig(t, func(f *Folder) {
		f.Library, f.Recursive = BySubfolder, true
	}, "alice")
	contract := r.libs["alice"].Contract
	r.folders[0].Contract = &contract
	r.restart()
	r.start()
	path := filepath.Join(r.dir, "alice", "ALICE", "a.txt")
	must(t, os.Mkdir(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte("for whom?"), 0o644))
	r.describe(path, `{"mimeType": "text/plain", "accounts": [{"accountId": "acc-alice"}]}`)
	f := r.untilState(path, store.Refused)
	if !strings.Contains(f.Hint, "rename the folder ALICE to alice") {
		t.Errorf("hint %q", f.Hint)
	}
}

// Twins: names that differ only in case or Unicode form, with sidecars of
// different people. What names its file exactly holds; anything else is refused.
func TestTwinsNeverGoToTheWrongPerson(t *testing.T) {
	long(t)
	const nfc, nfd = "Müller.txt", "Mu\u0308ller.txt"
	for _, c := range []struct {
		name     string
		files    []string
		sidecars map[string]string // its file's name as it is spelled → person
		want     map[string]string // file → person, "" is refused
	}{
		{"each its own", []string{"a.txt", "A.txt"}, map[string]string{"a.txt": "alice", "A.txt": "bob"}, map[string]string{"a.txt": "alice", "A.txt": "bob"}},
		{"one for two", []string{"a.txt", "A.TXT"}, map[string]string{"A.txt": "alice"}, map[string]string{"a.txt": "", "A.TXT": ""}},
		{"two for one", []string{"a.txt"}, map[string]string{"A.txt": "alice", "A.TXT": "bob"}, map[string]string{"a.txt": ""}},
		{"other case", []string{"report.txt"}, map[string]string{"report.TXT": "alice"}, map[string]string{"report.txt": "alice"}},
		{"forms, each its own", []string{nfc, nfd}, map[string]string{nfc: "alice", nfd: "bob"}, map[string]string{nfc: "alice", nfd: "bob"}},
		{"form of another", []string{nfd}, map[string]string{nfc: "alice"}, map[string]string{nfd: "alice"}},
		{"one form is missing", []string{nfc, nfd}, map[string]string{nfc: "alice"}, map[string]string{nfc: "alice", nfd: ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, func(f *Folder) { f.Library = ByAccount }, "alice", "bob")
			probe := filepath.Join(r.dir, "probe")
			must(t, os.WriteFile(probe, nil, 0o644))
			if exist(filepath.Join(r.dir, "PROBE")) {
				t.Skip("the file system minds no case")
			}
			in := filepath.Join(r.dir, "alice")
			for _, name := range c.files {
				must(t, os.WriteFile(filepath.Join(in, name), []byte(name), 0o644))
			}
			for name, person := range c.sidecars {
				r.describe(filepath.Join(in, name), `{"mimeType": "text/plain", "accounts": [{"accountId": "acc-`+person+`"}]}`)
			}
			r.start()
			for name, person := range c.want {
				path := filepath.Join(in, name)
				if person == "" {
					r.until(name+" rests", func() bool { s := r.state(path).State; return s == store.Refused || s == store.Waiting })
					continue
				}
				r.untilState(path, store.Delivered)
			}
			for _, d := range r.api.Deliveries() {
				for name, person := range c.want {
					if sumOfText(name) == d.SHA256 && (person == "" || r.users[person] != d.User) {
						t.Errorf("%q arrived for %s, want %q", name, d.User, person)
					}
				}
			}
		})
	}
}

func sumOfText(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
