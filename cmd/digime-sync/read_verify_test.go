package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/sidecar"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/engine"
)

// The record is that of real deliveries; what comes back is not what it says.
func TestVerifyFindsWhatIsWrong(t *testing.T) {
	c := newClinic(t)
	for _, name := range []string{"same.txt", "altered.txt", "titled.txt", "lost.txt"} {
		c.drop(t, name, "content of "+name)
	}
	titled := filepath.Join(c.dir, "inbox", "alice", "titled.txt"+sidecar.Suffix)
	write(t, titled, `{"mimeType": "text/plain", "accounts": [{"accountId": "P-1001"}], "reference": ["Blood test"]}`)
	bob := filepath.Join(c.dir, "inbox", "bob", "his.txt")
	write(t, bob, "of bob")
	write(t, bob+sidecar.Suffix, `{"mimeType": "text/plain"}`)
	c.runs(t, 0, "sync")
	c.newShelf(t,
		shelved{"1", "same.txt", "content of same.txt"},
		shelved{"2", "altered.txt", "other content"},
		shelved{"3", "Blood test", "other values"},
		shelved{"4", "foreign.txt", "of another program"},
		shelved{"5", "same.txt", "content of same.txt"})
	stdout, stderr := c.runs(t, exitHeld, "read", "alice", "--verify")
	for _, line := range []string{
		"missing    " + filepath.Join(c.dir, "inbox", "alice", "lost.txt") + "  (delivered ",
		"different  " + filepath.Join(c.dir, "inbox", "alice", "altered.txt") + "  (delivered ",
		"different  " + filepath.Join(c.dir, "inbox", "alice", "titled.txt") + "  (delivered ",
		"extra      foreign.txt  (4, 18 bytes, sha256 ",
		"extra      same.txt  (",
		"a further copy of what was delivered",
		"equal: 1\nmissing: 1\ndifferent: 2\nextra: 2\n",
	} {
		if !strings.Contains(stdout, line) {
			t.Errorf("%q is missing in:\n%s%s", line, stdout, stderr)
		}
	}
}

func TestVerifyOfAnIncompleteListProvesNothing(t *testing.T) {
	c := newClinic(t)
	c.drop(t, "one.txt", "one")
	c.runs(t, 0, "sync")
	c.newShelf(t).state = "partial"
	_, stderr := c.runs(t, exitError, "read", "alice", "--verify")
	if !strings.Contains(stderr, "the list of library alice is not complete") {
		t.Error(stderr)
	}
}

// A content that was replaced, and a file that was taken away, were delivered
// all the same; what could not be read back is not called missing alone.
func TestVerifyKnowsAllThatWasDelivered(t *testing.T) {
	c := newClinic(t)
	c.drop(t, "report.txt", "first")
	c.runs(t, 0, "sync")
	c.drop(t, "report.txt", "second, and longer")
	c.runs(t, 0, "sync")
	if err := os.Remove(filepath.Join(c.dir, "inbox", "alice", "report.txt")); err != nil {
		t.Fatal(err)
	}
	s := c.newShelf(t, shelved{"1", "report.txt", "first"}, shelved{"2", "report.txt", "second, and longer"})
	if stdout, _ := c.runs(t, exitDone, "read", "alice", "--verify", "--tag", "none"); !strings.Contains(stdout, "equal: 2\nmissing: 0\n") || strings.Contains(stdout, "found") {
		t.Error(stdout)
	}
	s.refuses = "2"
	stdout, stderr := c.runs(t, exitError, "read", "alice", "--verify")
	if !strings.Contains(stdout, "equal: 1\nmissing: 1\n") || !strings.Contains(stderr, "failed     2: ") || !strings.Contains(stderr, "1 of 2 files of library alice could not be read back") {
		t.Error(stdout, stderr)
	}
}

func TestCompare(t *testing.T) {
	began := time.Now()
	at := began.Add(-time.Hour)
	back := func(sum, reference string) backFile {
		return backFile{name: "n-" + sum, sha256: sum, metadata: digime.Metadata{Descriptor: digime.Descriptor{Reference: []string{reference}}}}
	}
	names := func(f sentFile) []string { return []string{f.path} }
	for name, c := range map[string]struct {
		sent                            []sentFile
		back                            []backFile
		same, missing, different, extra int
	}{
		"nothing":                {},
		"all":                    {[]sentFile{{path: "a", sha256: "1", at: at}}, []backFile{back("1", "x")}, 1, 0, 0, 0},
		"same content twice":     {[]sentFile{{path: "a", sha256: "1", at: at}, {path: "b", sha256: "1", at: at}}, []backFile{back("1", "a"), back("1", "b")}, 2, 0, 0, 0},
		"one of two copies":      {[]sentFile{{path: "a", sha256: "1", at: at}, {path: "b", sha256: "1", at: at}}, []backFile{back("1", "a")}, 1, 1, 0, 0},
		"two of one":             {[]sentFile{{path: "a", sha256: "1", at: at}}, []backFile{back("1", "a"), back("1", "a")}, 1, 0, 0, 1},
		"delivered since":        {[]sentFile{{path: "a", sha256: "1", at: began.Add(time.Second)}}, nil, 0, 0, 0, 0},
		"delivered since, there": {[]sentFile{{path: "a", sha256: "1", at: began.Add(time.Second)}}, []backFile{back("1", "a")}, 1, 0, 0, 0},
		"earlier one is equal":   {[]sentFile{{path: "a", sha256: "1", at: began.Add(time.Second)}, {path: "a", sha256: "1", at: at}}, []backFile{back("1", "a")}, 1, 0, 0, 0},
		"altered":                {[]sentFile{{path: "a", sha256: "1", at: at}}, []backFile{back("2", "a")}, 0, 0, 1, 0},
		"other":                  {[]sentFile{{path: "a", sha256: "1", at: at}}, []backFile{back("2", "b")}, 0, 1, 0, 1},
		"two altered":            {[]sentFile{{path: "a", sha256: "1", at: at}, {path: "a", sha256: "2", at: at}}, []backFile{back("3", "a")}, 0, 1, 1, 0},
	} {
		got := compare(c.sent, c.back, began, names)
		if got.same != c.same || len(got.missing) != c.missing || len(got.different) != c.different || len(got.extra) != c.extra {
			t.Errorf("%s: %d same, missing %v, different %v, extra %v", name, got.same, got.missing, got.different, got.extra)
		}
		if got.equal() != (c.missing+c.different+c.extra == 0) {
			t.Errorf("%s: equal %v", name, got.equal())
		}
	}
}

// A sidecar says what the library knows, in a form that is taken again.
func TestSidecarOfWhatWasReadBack(t *testing.T) {
	full := digime.Descriptor{
		MimeType: "text/plain", Accounts: []digime.Account{{AccountID: "P-1"}}, Reference: []string{"<Blood> & test"}, Tags: []string{"lab"}, AppID: "app",
		ProviderName: "clinic", ObjectTypes: []digime.ObjectType{{Name: "n", References: []string{"r"}}}, ServiceGroups: []int{2},
	}
	text, err := sidecarText(digime.Metadata{Descriptor: full})
	if err != nil {
		t.Fatal(err)
	}
	side, err := sidecar.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(side)
	if err != nil {
		t.Fatal(err)
	}
	var got digime.Descriptor
	if err := json.Unmarshal(again, &got); err != nil || !reflect.DeepEqual(got, full) {
		t.Errorf("%+v, %v, want %+v", got, err, full)
	}
	strange := digime.Metadata{Descriptor: digime.Descriptor{
		MimeType: "nonsense", Accounts: []digime.Account{{AccountID: " "}}, ObjectTypes: []digime.ObjectType{{}}, ContractID: "of the push"}}
	text, err = sidecarText(strange)
	if want := "{\n  \"mimeType\": \"auto\",\n  \"reference\": []\n}\n"; err != nil || string(text) != want {
		t.Errorf("%s, %v, want %s", text, err, want)
	}
	huge := digime.Metadata{Descriptor: digime.Descriptor{MimeType: "text/plain", Tags: []string{strings.Repeat("x", sidecar.MaxSize)}}}
	if text, err := sidecarText(huge); err == nil || len(text) < sidecar.MaxSize {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}

// What a provider got is not looked for in the library.
func TestVerifyLeavesProvidersOut(t *testing.T) {
	c := newClinic(t)
	c.reconfigure(t, "folders:\n", "folders:\n  - {path: inbox/fhir, library: alice, push: provider, settle: 1s, provider: {version: stu3, account_id: \"ACCOUNT\"}}\n")
	cfg, err := LoadConfig(c.config)
	if err != nil {
		t.Fatal(err)
	}
	log, err := (&app{err: &strings.Builder{}}).logger("error")
	if err != nil {
		t.Fatal(err)
	}
	client, err := newClient(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	accounts, err := client.Accounts(t.Context(), cfg.contract("clinic-write"), c.token(t, "alice").Access.Value)
	if err != nil || len(accounts) == 0 {
		t.Fatal(accounts, err)
	}
	c.reconfigure(t, "ACCOUNT", accounts[0].ID)
	dir := filepath.Join(c.dir, "inbox", "fhir")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "patient.json"), `{"resourceType": "Patient"}`)
	write(t, filepath.Join(dir, "patient.json"+sidecar.Suffix), `{"provider": {"version": "stu3"}}`)
	if stdout, _ := c.runs(t, 0, "sync"); !strings.Contains(stdout, "1 delivered") {
		t.Fatal(stdout)
	}
	c.newShelf(t)
	if stdout, _ := c.runs(t, exitDone, "read", "alice", "--verify"); !strings.Contains(stdout, "equal: 0\nmissing: 0\n") {
		t.Error(stdout)
	}
}

// A file with metadata that no sidecar can hold is written, and said.
func TestReadUnfitMetadata(t *testing.T) {
	c := newClinic(t)
	c.newShelf(t, shelved{"1", strings.Repeat("long ", 14_000), "content"})
	out := t.TempDir()
	stdout, stderr := c.runs(t, exitError, "read", "alice", "--out", out)
	if got := tree(t, out); !strings.Contains(stderr, "its sidecar cannot be used") || !strings.Contains(stdout, "1 files written") || len(got) != 2 {
		t.Errorf("%s%s%d files", stdout, stderr, len(got))
	}
	if _, err := engine.New(engine.Options{}).Read(t.Context(), engine.Library{Name: "alice"}, nil); err == nil {
		t.Error("a library without a read contract is read")
	}
}
