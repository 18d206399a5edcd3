package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/engine"
)

func TestJudge(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	report := func(change func(*machineReport)) string {
		r := machineReport{Host: "pc-1", Version: "1.0.0", Time: now.Add(-10 * time.Minute), Every: 900}
		change(&r)
		data, err := json.Marshal(r)
		must(t, err)
		return string(data)
	}
	for _, tt := range []struct {
		name, text, state, why string
	}{
		{"well", report(func(*machineReport) {}), machineOK, ""},
		{"trouble", report(func(r *machineReport) { r.Trouble = []string{"the clock is wrong"} }), machineTrouble, "the clock is wrong"},
		{"refused files", report(func(r *machineReport) { r.Files = map[store.State]int{store.Refused: 2, store.Held: 1} }), machineTrouble, "files that are held or refused: 3"},
		{"not silent yet", report(func(r *machineReport) { r.Time = now.Add(-45 * time.Minute) }), machineOK, ""},
		{"silent", report(func(r *machineReport) { r.Time = now.Add(-46 * time.Minute) }), machineSilent, "silent for 46 minutes"},
		{"silent and in trouble", report(func(r *machineReport) { r.Time, r.Trouble = now.Add(-100*time.Hour), []string{"x"} }), machineSilent, "silent for 4 days; x"},
		{"of short intervals", report(func(r *machineReport) { r.Time, r.Every = now.Add(-9*time.Minute), 10 }), machineOK, ""},
		{"of the future", report(func(r *machineReport) { r.Time = now.Add(3 * time.Hour) }), machineTrouble, "its report is of the future, 3 hours from now: its clock or ours is wrong"},
		{"without a time", report(func(r *machineReport) { r.Time = time.Time{} }), machineUnreadable, "its report does not say when it is of"},
		{"another machine's", report(func(r *machineReport) { r.Host = "pc-2\x1b[31m\nx" }), machineUnreadable, "its report is that of another machine, \"pc-2\uFFFD[31m x\""},
		{"empty", "", machineUnreadable, "its report cannot be read: it is not a report, or half-written"},
		{"a list", "[]", machineUnreadable, "its report cannot be read: it is not a report, or half-written"},
	} {
		m := judge("pc-1.json", []byte(tt.text), nil, now)
		if got := strings.Join(m.Why, "; "); m.State != tt.state || got != tt.why {
			t.Errorf("%s: %s %q, want %s %q", tt.name, m.State, got, tt.state, tt.why)
		}
	}
}

// What a machine tells of itself has no names in it, whatever is the matter.
func TestReportHasNoNames(t *testing.T) {
	r := newFleetRig(t)
	r.local("config_url: share\nlibraries: {Geheim: {contract: w}}\n")
	must(t, os.MkdirAll(filepath.Join(r.state, "fleet"), 0o700))
	keepOutcome(r.state, &fleetError{fleetSignature, "common.yaml", "Geheim", ""})
	cfg, err := LoadConfig(r.config)
	must(t, err)
	now := time.Now()
	soon, later := now.Add(time.Hour), now.Add(100*24*time.Hour)
	status := engine.Status{
		Version: "1.0.0", Trouble: "Geheim", ClockSkew: "Geheim",
		Libraries: []engine.LibraryStatus{
			{Name: "Geheim", State: "ok", Reason: "Geheim", RefreshExpires: &soon}, {Name: "Geheim2", State: "held", Reason: "Geheim"},
			{Name: "Geheim3", State: "none"}, {Name: "Geheim4", State: "ok", RefreshExpires: &later},
		},
		Folders: []engine.FolderStatus{{Path: "/Geheim", State: "missing", Reason: "Geheim"}, {Path: "/Geheim2", State: "ok"}},
		Files:   []engine.FileStatus{{Path: "/Geheim/Geheim.pdf", Library: "Geheim"}},
	}
	report, err := newReport(status, cfg, now)
	must(t, err)
	report.addTrouble(status, cfg, standing{refused: true, inEngine: true, enrol: true})
	data, err := json.Marshal(report)
	must(t, err)
	if strings.Contains(strings.ToLower(string(data)), "geheim") {
		t.Errorf("%s", data)
	}
	want := `a changed configuration was refused
the service is in trouble
an enrolment file was not taken
the fleet's configuration was not taken: signature
the fleet's configuration has not been here yet
the clock is wrong
folders that cannot be watched: 1
libraries that are held: 1
libraries without a token: 1
consents that end within two weeks: 1`
	if report.words() != want || report.Every != 1080 || report.Host != "pc-17" || report.ConsentEnds == nil {
		t.Errorf("%+v says\n%s\nwant\n%s", report, report.words(), want)
	}
}

func TestReportCounts(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(dir, discard())
	must(t, err)
	defer s.Close()
	first := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for i, f := range []store.File{
		{Path: "/a", Library: "alice", State: store.Queued, QueuedAt: first.Add(time.Hour)},
		{Path: "/b", Library: "bob", State: store.Queued, QueuedAt: first},
		{Path: "/c", Library: "bob", State: store.Refused},
	} {
		f.SHA256, f.Dest, f.Sig.Size = strings.Repeat(string(rune('a'+i)), 64), "library/"+f.Library, 1
		if f.State == store.Refused {
			must(t, s.Put(f))
			continue
		}
		_, err := s.Enqueue(f, f.QueuedAt)
		must(t, err)
	}
	r := machineReport{Files: map[store.State]int{}}
	must(t, r.addCounts(s, map[string]store.Hold{"bob": {}}))
	if r.Files[store.Queued] != 1 || r.Files[store.Held] != 1 || r.Files[store.Refused] != 1 || r.OldestQueued == nil || r.LastDelivered != nil {
		t.Errorf("%+v", r)
	}
}

// A server's reports are those its index names.
func TestFleetStatusOfServer(t *testing.T) {
	w := newWebFleet(t)
	good, err := json.Marshal(machineReport{Host: "pc-1", Version: "1.0.0", Time: time.Now(), Every: 900})
	must(t, err)
	w.answers(func(out http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/reports/index.json":
			_, _ = io.WriteString(out, `["pc-1.json", "pc-2.json", "index.json", "../secret.json", "pc-1.json"]`)
		case "/reports/pc-1.json":
			_, _ = out.Write(good)
		default:
			out.WriteHeader(http.StatusNotFound)
		}
	})
	w.local("api: {ca_file: ca.pem}\n")
	var out strings.Builder
	a := &app{configPath: w.config, out: &out, err: io.Discard}
	if err := a.fleetStatus(w.server.URL+"/reports", false); err != errHeld {
		t.Errorf("%v", err)
	}
	got := out.String()
	if strings.Count(got, "unreadable ") != 2 || !strings.Contains(got, "ok         pc-1 ") || !strings.HasSuffix(got, "machines: 3, of them 1 ok, 0 in trouble, 0 silent, 2 unreadable\n") {
		t.Errorf("%s", got)
	}
	w.answers(func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(http.StatusNotFound) })
	if err := a.fleetStatus(w.server.URL+"/reports", false); err == nil || !strings.Contains(err.Error(), "index.json") {
		t.Errorf("%v", err)
	}
}

// What is paused is said to the fleet, without names and reasons.
func TestFleetReportOfPauses(t *testing.T) {
	for want, paused := range map[string][]store.Pause{
		"all libraries are paused":     {{Reason: "secret"}, {Library: "alice"}},
		"libraries that are paused: 2": {{Library: "alice"}, {Library: "bob", Reason: "secret"}},
		"":                             nil,
	} {
		var r machineReport
		r.addTrouble(engine.Status{Paused: paused}, &Config{}, standing{})
		if got := r.words(); got != want {
			t.Errorf("%+v: %q", paused, got)
		}
	}
}
