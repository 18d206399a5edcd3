//go:build packaging

package test

import (
	"strings"
	"testing"
)

// A property that only the program can judge is refused before an upgrade has
// taken anything away: the old version runs on, and the log has the reason.
func TestMSIRefusalLeavesWhatRuns(t *testing.T) {
	w := startWine(t, releases)
	newer := msi(t, second) // built before the service is looked at
	w.install(first, "APPID=app-1")
	w.awaitService("RUNNING")
	w.write("others/thesis.doc", "precious")
	w.write("others/config.yaml", "theme: dark\n")
	w.write("here.json", `{"alice": {}}`)
	for _, tt := range []struct {
		why        string
		properties []string
	}{
		{"config_key is not a public key of 32 bytes in base64", []string{"CONFIGURL=https://a.b/", "CONFIGKEY=bad"}},
		{"config_key is not a public key of 32 bytes in base64", []string{"CONFIGKEY=bad", `ENROLLTOKENFILE=C:\here.json`}},
		{"read the enrolment file", []string{`ENROLLTOKENFILE=C:\nope.json`}},
		{"api.ca_file", []string{`CACERT=C:\nope.pem`}},
		{"INSTALLDIR=x is no full path of a folder", []string{"INSTALLDIR=x"}},
		{"DATADIR=relative is no full path of a folder", []string{"DATADIR=relative"}},
		{`DATADIR=C:\ is a whole drive or share`, []string{`DATADIR=C:\`}},
		{`DATADIR=C:\windows\digime belongs to Windows`, []string{`DATADIR=C:\windows\digime`}},
		{`DATADIR=C:\ProgramData is a folder that all programs or users share`, []string{`DATADIR=C:\ProgramData`}},
		{`DATADIR=C:\users\root is a user's own folder`, []string{`DATADIR=C:\users\root`}},
		{`DATADIR=C:\others has other things in it`, []string{`DATADIR=C:\others`}},
	} {
		_, code := w.try(append([]string{"msiexec", "/i", newer, "/qn", "/l*v", `C:\msi.log`}, tt.properties...)...)
		same(t, "exit code with "+strings.Join(tt.properties, " "), code, rcFatal)
		if log := w.wholeLog(); !strings.Contains(log, tt.why) {
			t.Errorf("%q: the log does not say %q:\n%s", tt.properties, tt.why, w.log())
		}
		same(t, "service after "+tt.why, w.serviceState(), "RUNNING")
	}
	same(t, "Version", w.registry(seeds, "Version"), first)
	same(t, "DATADIR", w.registry(seeds, "DATADIR"), `C:\ProgramData\digime-sync\`)
	same(t, "a refusal that is left", w.registryOf("HKCU", seeds, "Refused"), "")
	same(t, "the enrolment file is left", w.exists("here.json"), true)
	if version := w.run(`C:\Program Files\digi.me Sync\digime-sync.exe`, "--version"); !strings.Contains(version, first) {
		t.Errorf("--version says %q", version)
	}
	w.install(second, `ENROLLTOKENFILE=C:\here.json`) // and what is right goes
	same(t, "the enrolment file is left", w.exists("here.json"), false)
	same(t, "Version", w.registry(seeds, "Version"), second)
	w.awaitService("RUNNING")
	w.refusesTheServiceCommands()
}

// refusesTheServiceCommands sees that the service of the package is not changed
// or removed behind the Installer's back.
func (w *windows) refusesTheServiceCommands() {
	t := w.t
	const service = `SYSTEM\CurrentControlSet\Services\digime-sync`
	before := w.registry(service, "ImagePath")
	w.unix(`cp "$1" "$2"`, winePrefix+"/drive_c/"+winProgram, winePrefix+"/drive_c/another.exe")
	for command, why := range map[string]string{"install": "has installed the service already", "uninstall": "the service belongs to the Windows package (MSI) of version " + second} {
		said, code := w.try(`C:\another.exe`, "service", command)
		if code != 1 || !strings.Contains(said, why) || !strings.Contains(said, "msiexec") {
			t.Errorf("service %s: exit code %d, want 1 and %q:\n%s", command, code, why, said)
		}
	}
	same(t, "what the service runs", w.registry(service, "ImagePath"), before)
	same(t, "service", w.serviceState(), "RUNNING")
}

// What was never configured leaves nothing with PURGEDATA=1 either, but other
// people's files.
func TestMSIPurgesWhatWasNeverConfigured(t *testing.T) {
	w := startWine(t, releases)
	purge := func() {
		t.Helper()
		w.install(first)
		w.awaitService("RUNNING")
		eventually(t, soon, "the waiting service has its log", func() bool { return w.exists(winData + "/state/digime-sync.log") })
		same(t, "the database is there", w.exists(winData+"/state/state.db"), false)
	}
	purge()
	same(t, "exit code of the removal", w.msiexec("/x", msi(t, first), "PURGEDATA=1"), 0)
	same(t, "the data folder is there", w.exists(winData), false)
	same(t, "what was remembered", w.registry(seeds, "DATADIR"), "")
	purge()
	w.write(winData+"/state/thesis.doc", "precious")
	same(t, "exit code of the removal", w.msiexec("/x", msi(t, first), "PURGEDATA=1"), 0)
	same(t, "our log is there", w.exists(winData+"/state/digime-sync.log"), false)
	same(t, "our configuration is there", w.exists(winData+"/config.yaml"), false)
	same(t, "another's file is there", w.exists(winData+"/state/thesis.doc"), true)
	same(t, "what was remembered", w.registry(seeds, "DATADIR"), "")
}
