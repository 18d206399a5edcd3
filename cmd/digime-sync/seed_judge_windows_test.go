package main

import (
	"encoding/base64"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// refusal is what the installer would read, "" for nothing.
func refusal(t *testing.T) string {
	t.Helper()
	key, err := registry.OpenKey(registry.CURRENT_USER, refusalKey, registry.QUERY_VALUE)
	if errors.Is(err, registry.ErrNotExist) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	defer key.Close()
	text, _, err := key.GetStringValue(refusalName)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// What cannot be used is told to the installer in a sentence; an earlier one is
// forgotten.
func TestJudgeTellsTheInstaller(t *testing.T) {
	t.Cleanup(func() { _ = registry.DeleteKey(registry.CURRENT_USER, refusalKey) }) // it is there where the test failed
	dir := t.TempDir()
	file := filepath.Join(dir, "enrol.json")
	waiting := filepath.Join(dir, "waiting", "state")
	if err := os.MkdirAll(waiting, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{file: `{"bob": {}}`, filepath.Join(waiting, enrolName): `{"alice": {}}`,
		filepath.Join(waiting, "state.db"): "", filepath.Join(dir, "file"): ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	data := "DATADIR=" + filepath.Join(dir, "new") + `\|`
	key := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for _, tt := range []struct {
		want  string
		given []string
	}{
		{"config_key is not a public key of 32 bytes in base64. To mend it: write it as", []string{data, "CONFIGURL=https://a.b/|", "CONFIGKEY=bad|"}},
		{"read the enrolment file", []string{data, `ENROLLTOKENFILE=C:\nope.json|`}},
		{"api.ca_file", []string{data, `CACERT=C:\nope.pem|`}},
		{"INSTALLDIR=x is no full path of a folder", []string{data, "INSTALLDIR=x|"}},
		{"another enrolment file waits to be read", []string{"DATADIR=" + filepath.Dir(waiting) + "|", "ENROLLTOKENFILE=" + file + "|"}},
		{`DATADIR=C:\ is a whole drive or share`, []string{`DATADIR=C:\|`}},
		{"", []string{data, "CONFIGURL=https://a.b/|", "CONFIGKEY=" + key + "|", "APPID=a|", "PROXY=|", "CACERT=|", "ENROLLTOKENFILE=" + file + "|"}},
		{"INSTALLDIR=x", []string{data, "INSTALLDIR=x|"}},
		{"", nil},
	} {
		said, code := seedRun(append([]string{"judge"}, tt.given...)...)
		if code != exitDone {
			t.Errorf("%q: exit code %d: %s", tt.given, code, said)
		}
		if got := refusal(t); !strings.HasPrefix(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%q: the installer reads %q, want %q", tt.given, got, tt.want)
		}
	}
	if said, code := seedRun("judge", "APPID=open"); code != exitUsage {
		t.Errorf("a property that is not closed: exit code %d: %s", code, said)
	}
}

func TestDataPlace(t *testing.T) {
	dir := t.TempDir()
	users, err := windows.KnownFolderPath(windows.FOLDERID_UserProfiles, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"others/thesis.doc": "", "foreign/config.yaml": "theme: dark\n", "foreign/state/precious.txt": "",
		"edited/config.yaml": "application_id: a\n", "started/config.yaml": starterMark + "00\n", "bare/state/digime-sync.log": "", "empty/sub/x": ""} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "empty", "sub")); err != nil {
		t.Fatal(err)
	}
	base := map[string]string{"INSTALLDIR": filepath.Join(dir, "programs", "sync"), "default DATADIR": `C:\ProgramData\digime-sync`, "remembered DATADIR": dir + `\others2\`}
	for _, tt := range []struct{ data, want string }{
		{`relative`, "no full path"}, {`C:relative`, "no full path"}, {`\rooted`, "no full path"}, {`\\?\C:\x`, "no full path"},
		{`C:\`, "whole drive"}, {`c:\.`, "whole drive"}, {`\\server\share`, "whole drive or share"}, {`\\server\share\`, "whole drive or share"},
		{os.Getenv("SystemRoot"), "belongs to Windows"}, {os.Getenv("SystemRoot") + `\System32\digime`, "belongs to Windows"},
		{os.Getenv("ProgramFiles"), "all programs or users share"}, {strings.ToUpper(os.Getenv("ProgramFiles")) + `\new`, "among the programs"},
		{os.Getenv("ProgramData"), "all programs or users share"}, {users, "all programs or users share"},
		{os.Getenv("USERPROFILE"), "user's own folder"}, {filepath.Join(users, "nobody"), "user's own folder"},
		{filepath.Join(dir, "others"), "has other things in it (thesis.doc)"}, {filepath.Join(dir, "foreign"), "has other things in it"},
		{filepath.Join(dir, "programs"), "holds the program"}, {filepath.Join(dir, "programs", "sync"), "holds the program"},
		{filepath.Join(dir, "new"), ""}, {filepath.Join(dir, "empty") + `\`, ""}, {filepath.Join(dir, "edited"), ""}, {filepath.Join(dir, "started"), ""},
		{filepath.Join(dir, "bare"), ""}, {`C:\ProgramData\DIGIME-sync\`, ""}, {filepath.Join(dir, "others2"), ""},
	} {
		p := maps.Clone(base)
		p["DATADIR"] = tt.data
		err := checkDataPlace(p)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("DATADIR=%s: %v, want %q", tt.data, err, tt.want)
		}
	}
}
