//go:build packaging

package test

import (
	"crypto/sha256"
	"debug/buildinfo"
	"debug/pe"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	winData    = "ProgramData/digime-sync"
	winProgram = "Program Files/digi.me Sync/digime-sync.exe"
	seeds      = `SOFTWARE\digime-sync`
	// rcFatal is 1603, ERROR_INSTALL_FAILURE, in the 8 bits that Wine lets through.
	rcFatal = 1603 % 256
)

// fleetKey has the form of a key that signs a fleet's configuration.
var fleetKey = base64.StdEncoding.EncodeToString(make([]byte, 32))

// msi returns the package of a version, built once, with the hook without which
// Wine does not run it as a service.
func msi(t *testing.T, version string) string {
	t.Helper()
	need(t, "wixl", "msibuild", "faketime")
	dir := filepath.Join(releases, "wine", version)
	path := filepath.Join(dir, "digime-sync_"+version+"_windows_amd64.msi")
	if _, err := os.Stat(path); err != nil {
		buildMSI(t, version, dir, "-tags", "winetest")
	}
	return path
}

func buildMSI(t *testing.T, version, out string, flags ...string) {
	t.Helper()
	args := append([]string{"run", "-C", filepath.Join("..", "build"), ".", "-version", version, "-out", out}, flags...)
	if said, err := exec.Command("go", append(args, "msi")...).CombinedOutput(); err != nil {
		t.Fatalf("build the package: %v\n%s", err, said)
	}
}

// install runs msiexec without a window and returns its exit code. The service
// is stopped before: Wine's msiexec does not wait for it, as Windows' does.
func (w *windows) msiexec(what, file string, properties ...string) int {
	w.t.Helper()
	w.stopService()
	_, code := w.try(append([]string{"msiexec", what, file, "/qn", "/l*v", `C:\msi.log`}, properties...)...)
	return code
}

func (w *windows) install(version string, properties ...string) {
	w.t.Helper()
	if code := w.msiexec("/i", msi(w.t, version), properties...); code != 0 {
		w.t.Fatalf("install %s %q: exit code %d\n%s", version, properties, code, w.log())
	}
}

// log is the end of the installer's log.
func (w *windows) log() string {
	log := w.wholeLog()
	return log[max(0, len(log)-6000):]
}

func (w *windows) wholeLog() string { return strings.ReplaceAll(w.read("msi.log"), "\x00", "") }

func (w *windows) stopService() {
	w.t.Helper()
	if w.serviceState() == "RUNNING" {
		w.run("sc", "stop", "digime-sync")
		w.awaitService("STOPPED")
	}
}

func (w *windows) awaitService(state string) {
	w.t.Helper()
	eventually(w.t, soon, "the service is "+state, func() bool { return w.serviceState() == state })
}

// One machine's way: installed, upgraded twice, left alone by what is wrong,
// removed, installed again.
func TestMSILife(t *testing.T) {
	w := startWine(t, releases)
	msi(t, third) // built outside the steps, which come after each other
	t.Run("fresh", func(t *testing.T) { w.t = t; w.installsFresh() })
	t.Run("delivers", func(t *testing.T) { w.t = t; w.delivers() })
	t.Run("upgrades", func(t *testing.T) { w.t = t; w.upgradesTwice() })
	t.Run("refuses", func(t *testing.T) { w.t = t; w.refusesWhatIsWrong() })
	t.Run("removes", func(t *testing.T) { w.t = t; w.removes() })
}

func (w *windows) installsFresh() {
	t := w.t
	w.install(first, "CONFIGURL=https://fleet.example/cfg/", "CONFIGKEY="+fleetKey, "APPID=app-1", "PROXY=http://proxy.example:3128")
	w.awaitService("RUNNING")
	config := w.read(winData + "/config.yaml")
	for _, line := range []string{"application_id: app-1", "config_url: https://fleet.example/cfg/", "config_key: " + fleetKey,
		"proxy: http://proxy.example:3128", `state_dir: C:\ProgramData\digime-sync\state`} {
		if !strings.Contains(config, line+"\n") {
			t.Errorf("the configuration has no line %q:\n%s", line, config)
		}
	}
	same(t, "the licences are there", w.exists("Program Files/digi.me Sync/THIRD-PARTY.txt"), true)
	same(t, "remembered APPID", w.registry(seeds, "APPID"), "app-1")
	same(t, "event source", w.registry(`SYSTEM\CurrentControlSet\Services\EventLog\Application\digime-sync`, "TypesSupported"), "0x7")
	same(t, "account", w.registry(`SYSTEM\CurrentControlSet\Services\digime-sync`, "ObjectName"), `NT SERVICE\digime-sync`)
	eventually(t, soon, "the database is made", func() bool { return w.exists(winData + "/state/state.db") })
	if version := w.run(`C:\Program Files\digi.me Sync\digime-sync.exe`, "--version"); !strings.Contains(version, first) {
		t.Errorf("--version says %q", version)
	}
}

// delivers has the installed service push a file into a stand-in for the API.
func (w *windows) delivers() {
	w.stopService()
	exe := `C:\Program Files\digi.me Sync\digime-sync.exe`
	// A program of its own: one that runs would have the upgrade ask for a new start of Windows (3010).
	w.unix(`cp "$1" "$2"`, filepath.Join(winePrefix, "drive_c", winProgram), winePrefix+"/drive_c/api.exe")
	w.unix(`wine "$@" >/tmp/api.log 2>&1 </dev/null &`, `C:\api.exe`, "sandbox", `C:\api`, "--listen", "127.0.0.1:0")
	eventually(w.t, soon, "the stand-in API answers", func() bool { return w.exists("api/config.yaml") })
	config := strings.NewReplacer("state_dir: state\n", "state_dir: C:\\ProgramData\\digime-sync\\state\n", "private_key_file: ", `private_key_file: C:\api\`,
		"path: inbox/", `path: C:\drop\`).Replace(w.read("api/config.yaml"))
	for _, name := range []string{"alice", "bob"} {
		w.write("drop/"+name+"/.keep", "")
	}
	w.write(winData+"/config.yaml", config)
	w.run("sc", "start", "digime-sync")
	w.awaitService("RUNNING")
	w.run(exe, "token", "import", "alice", `C:\api\alice.token.json`)
	w.write("drop/alice/scan.txt", "a file")
	w.write("drop/alice/scan.txt.meta.json", `{"mimeType": "text/plain", "accounts": [{"accountId": "P-1001"}]}`)
	eventually(w.t, 2*soon, "the file has its receipt", func() bool { return w.exists("drop/alice/scan.txt.receipt.json") })
}

func (w *windows) upgradesTwice() {
	t := w.t
	config, key := w.read(winData+"/config.yaml"), w.read(winData+"/state/vault.key")
	w.install(second)
	w.awaitService("RUNNING")
	same(t, "remembered APPID", w.registry(seeds, "APPID"), "app-1")
	same(t, "Version", w.registry(seeds, "Version"), second)
	w.install(third, "APPID=app-2", "STARTSERVICE=0")
	same(t, "APPID given anew", w.registry(seeds, "APPID"), "app-2")
	same(t, "CONFIGURL remembered", w.registry(seeds, "CONFIGURL"), "https://fleet.example/cfg/")
	same(t, "service after STARTSERVICE=0", w.serviceState(), "STOPPED")
	same(t, "the administrator's configuration", w.read(winData+"/config.yaml"), config)
	same(t, "the vault's key", w.read(winData+"/state/vault.key"), key)
	w.install(third) // again, and nothing changes
	same(t, "APPID after installing again", w.registry(seeds, "APPID"), "app-2")
	w.run("sc", "start", "digime-sync")
	w.awaitService("RUNNING")
}

// refusesWhatIsWrong sees that nothing changes and that what runs goes on.
func (w *windows) refusesWhatIsWrong() {
	t := w.t
	config := w.read(winData + "/config.yaml")
	for action, properties := range map[string][]string{
		"RefuseConfigURL":    {"CONFIGURL=ftp://fleet.example/"},
		"RefuseStartService": {"STARTSERVICE=yes"},
		"RefuseProxy":        {"PROXY=proxy.example"},
		"RefuseCACert":       {"CACERT=ca.pem"},
		"RefuseEnrolFile":    {"ENROLLTOKENFILE=enrol.json"},
		"RefusePurgeData":    {"PURGEDATA=please"},
	} {
		_, code := w.try(append([]string{"msiexec", "/i", msi(t, third), "/qn", "/l*v", `C:\msi.log`}, properties...)...)
		if log := w.log(); code == 0 || !strings.Contains(w.wholeLog(), action) {
			t.Errorf("%q: exit code %d, want a refusal by %s\n%s", properties, code, action, log)
		}
	}
	_, code := w.try("msiexec", "/i", msi(t, second), "/qn", "/l*v", `C:\msi.log`)
	same(t, "exit code of a downgrade", code, rcFatal)
	same(t, "service", w.serviceState(), "RUNNING")
	same(t, "Version", w.registry(seeds, "Version"), third)
	same(t, "APPID", w.registry(seeds, "APPID"), "app-2")
	same(t, "configuration", w.read(winData+"/config.yaml"), config)
	said, code := w.try(`C:\Program Files\digi.me Sync\digime-sync.exe`, "configure", "--config", `C:\other\config.yaml`, "--config-url", "https://fleet.example/", "--config-key", "short")
	if code != 78 || !strings.Contains(said, "config_key is not a public key") || w.exists("other") {
		t.Errorf("configure with a bad key: exit code %d\n%s", code, said)
	}
}

func (w *windows) removes() {
	t := w.t
	same(t, "exit code of the removal", w.msiexec("/x", msi(t, third)), 0)
	same(t, "service", w.serviceState(), "")
	same(t, "the program is there", w.exists(winProgram), false)
	same(t, "the database is there", w.exists(winData+"/state/state.db"), true)
	same(t, "the configuration is there", w.exists(winData+"/config.yaml"), true)
	w.write("enrol.json", `{"alice": {}}`)
	w.install(third, `ENROLLTOKENFILE=C:\enrol.json`)
	same(t, "the enrolment file is left", w.exists("enrol.json"), false)
	same(t, "STARTSERVICE, which a removal forgets", w.registry(seeds, "STARTSERVICE"), "")
	w.awaitService("RUNNING")
	same(t, "the receipt is there", w.exists("drop/alice/scan.txt.receipt.json"), true)
}

// An enrolment file is taken over at once; PURGEDATA=1 leaves nothing of ours,
// and all of others.
func TestMSIEnrolsAndPurges(t *testing.T) {
	w := startWine(t, releases)
	w.write(winData, "a file in the way")
	same(t, "exit code with a file in the way", w.msiexec("/i", msi(t, first)), rcFatal)
	if !strings.Contains(w.wholeLog(), "is no folder of its own") {
		t.Errorf("the log does not say why:\n%s", w.log())
	}
	same(t, "the service after that", w.serviceState(), "")
	same(t, "the program is there", w.exists(winProgram), false)
	if err := os.Remove(w.path(winData)); err != nil {
		t.Fatal(err)
	}
	w.write("enrol.json", `{"alice": {}}`)
	w.write("drop/alice/scan.txt", "a file")
	w.install(first, "STARTSERVICE=0", `ENROLLTOKENFILE=C:\enrol.json`)
	same(t, "the service", w.serviceState(), "STOPPED")
	same(t, "the enrolment waits", w.read(winData+"/state/enrol.json"), `{"alice": {}}`)
	same(t, "the enrolment file is left", w.exists("enrol.json"), false)
	same(t, "exit code of the removal", w.msiexec("/x", msi(t, first), "PURGEDATA=1"), 0)
	same(t, "the data folder is there", w.exists(winData), false)
	same(t, "what was remembered", w.registry(seeds, "DATADIR"), "")
	same(t, "the watched folder is left", w.exists("drop/alice/scan.txt"), true)
}

// The tables of which Wine makes nothing are looked at; and two builds give the
// same bytes.
func TestMSITables(t *testing.T) {
	need(t, "wixl", "msibuild", "msiinfo", "faketime")
	one, two := t.TempDir(), t.TempDir()
	for _, dir := range []string{one, two} {
		buildMSI(t, first, dir)
	}
	name := "digime-sync_" + first + "_windows_amd64.msi"
	same(t, "the bytes of two builds", sumOf(t, filepath.Join(one, name)), sumOf(t, filepath.Join(two, name)))
	for table, rows := range map[string][]string{
		"MsiServiceConfigFailureActions": {"Recovery\tdigime-sync\t1\t3600\t\t\t1[~]1[~]1\t1000[~]5000[~]30000\tProgram"},
		"MsiServiceConfig":               {"DelayedStart\tdigime-sync\t1\t3\t1\tProgram", "RestartOnError\tdigime-sync\t1\t4\t1\tProgram", "OwnSID\tdigime-sync\t1\t5\t1\tProgram"},
		"MsiLockPermissionsEx":           {"Data\tDATADIR\tCreateFolder\tD:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;S-1-5-80-"},
		"Component":                      {"\t276\t\t"},
		"File":                           {"\t" + first + ".0\t1033\t"},
		"InstallExecuteSequence": {"RemoveExistingProducts\t\t1501", "MsiConfigureServices\tVersionMsi >= \"5.00\"\t5850",
			"Judge\tNOT REMOVE\t45", "RefuseWhatWasJudged\tNOT REMOVE AND REFUSED\t117", // before InstallInitialize, 1500
			"Configure\tNOT REMOVE\t5750", // between files and service, wherever wixl would have put it
			"Purge\tREMOVE=\"ALL\" AND PURGEDATA=\"1\" AND NOT UPGRADINGPRODUCTCODE\t3400"},
		"InstallUISequence": {"Judge\tNOT REMOVE\t45", "ForgetRefusal\tREFUSED\t105"},
		"RegLocator":        {"FindREFUSED\t1\tSOFTWARE\\digime-sync\tRefused\t18"},
		"Property":          {"UpgradeCode\t{5C0B7A0C-3B7E-4E58-9E52-4A3B0D1F7C61}", ";CONFIGURL;CONFIGKEY;APPID;"},
	} {
		text := exported(t, filepath.Join(one, name), table)
		for _, row := range rows {
			if !strings.Contains(text, row) {
				t.Errorf("table %s has no %q:\n%s", table, row, text)
			}
		}
	}
	program := filepath.Join(one, "work", "windows_amd64", "digime-sync.exe")
	f, err := pe.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := f.Section(".rsrc").Data()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"longPathAware", "asInvoker", utf16Text("FileVersion"), utf16Text(first), utf16Text("digi.me Sync")} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the program's resources have no %q", want)
		}
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range info.Settings {
		if s.Key == "-tags" {
			t.Errorf("the program for release has the tags of tests: %s", s.Value)
		}
	}
}

func exported(t *testing.T, file, table string) string {
	t.Helper()
	out, err := exec.Command("msiinfo", "export", file, table).CombinedOutput()
	if err != nil {
		t.Errorf("table %s: %v\n%s", table, err, out)
	}
	return strings.ReplaceAll(string(out), "\r", "")
}

func sumOf(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(data))
}

// utf16Text is text as resources hold it.
func utf16Text(text string) string { return strings.Join(strings.Split(text, ""), "\x00") + "\x00" }
