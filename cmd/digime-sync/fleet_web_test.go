package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// webFleet serves a rig's folder over HTTPS, with a certificate of its own CA.
type webFleet struct {
	*fleetRig
	server *httptest.Server
	mu     sync.Mutex
	asked  []string // method, path and status, in order
	answer http.HandlerFunc
}

func newWebFleet(t *testing.T) *webFleet {
	w := &webFleet{fleetRig: newFleetRig(t)}
	files := http.FileServer(http.Dir(w.dir))
	w.server = httptest.NewTLSServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		answer := w.answer
		w.mu.Unlock()
		rec := &statusWriter{ResponseWriter: out, status: 200}
		if answer != nil {
			answer(rec, r)
		} else {
			if data, err := os.ReadFile(filepath.Join(w.dir, filepath.Base(r.URL.Path))); err == nil {
				rec.Header().Set("ETag", `"`+string(rune('a'+len(data)%26))+time.Duration(len(data)).String()+`"`)
			}
			http.StripPrefix("/digime/", files).ServeHTTP(rec, r)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.asked = append(w.asked, r.Method+" "+r.URL.Path+" "+http.StatusText(rec.status))
	}))
	t.Cleanup(w.server.Close)
	w.server.Config.ErrorLog = nil
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.server.Certificate().Raw})
	must(t, os.WriteFile(filepath.Join(filepath.Dir(w.config), "ca.pem"), ca, 0o600))
	w.local("config_url: " + w.server.URL + "/digime\napi: {ca_file: ca.pem}\n")
	t.Setenv("NO_PROXY", "*")
	return w
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *webFleet) answers(h http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = h
}

func (w *webFleet) requests() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := strings.Join(w.asked, "\n")
	w.asked = nil
	return all
}

func TestFleetFromServer(t *testing.T) {
	w := newWebFleet(t)
	w.put("common.yaml", fleetText(1, "alice"))
	if changed, fault := w.fetch(); changed != "common.yaml serial 1" || fault != "" {
		t.Fatal(changed, fault)
	}
	if got, want := w.requests(), "GET /digime/common.yaml OK\nGET /digime/common.yaml.sig OK\nGET /digime/pc-17.yaml Not Found"; got != want {
		t.Errorf("asked\n%s\nwant\n%s", got, want)
	}
	// What has not changed is not sent again.
	if changed, fault := w.fetch(); changed != "" || fault != "" {
		t.Fatal(changed, fault)
	}
	if got, want := w.requests(), "GET /digime/common.yaml Not Modified\nGET /digime/pc-17.yaml Not Found"; got != want {
		t.Errorf("asked\n%s\nwant\n%s", got, want)
	}
	w.put("common.yaml", fleetText(2, "alice", "bob"))
	if changed, fault := w.fetch(); changed != "common.yaml serial 2 (before: 1)" || fault != "" {
		t.Fatal(changed, fault)
	}
	w.holds("alice", "bob")
}

// Whatever a server or the way to it answers, it is said in plain words, and
// what held before still holds.
func TestFleetServerIsBad(t *testing.T) {
	w := newWebFleet(t)
	w.put("common.yaml", fleetText(1, "alice"))
	if _, fault := w.fetch(); fault != "" {
		t.Fatal(fault)
	}
	status := func(code int) http.HandlerFunc {
		return func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(code) }
	}
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"captive portal", func(out http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(out, "\n <html><body>Welcome to the clinic's Wi-Fi</body></html>")
		}, "common.yaml: a web page came in its place, as of a login or a network that wants to be agreed to first; open https://"},
		{"typed as a page", func(out http.ResponseWriter, _ *http.Request) {
			out.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(out, "agree")
		}, "common.yaml: a web page came in its place"},
		{"endless", func(out http.ResponseWriter, _ *http.Request) {
			block := []byte(strings.Repeat("# more\n", 10_000))
			for {
				if _, err := out.Write(block); err != nil {
					return
				}
			}
		}, "common.yaml: it has more than 1048576 bytes; split it, or look what it is"},
		{"broken off", func(out http.ResponseWriter, _ *http.Request) {
			out.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(out, "serial: 2\n")
		}, "common.yaml: it broke off after 10 bytes; it is tried again by itself"},
		{"forbidden", status(403), "common.yaml: the server refuses it: 403 Forbidden"},
		{"gone", status(404), "common.yaml: it is gone, and was there with serial 1"},
		{"server error", status(503), "common.yaml: the server answers 503 Service Unavailable"},
		{"no content", status(204), "common.yaml: the server answers 204 No Content"},
		{"proxy login", status(407), "common.yaml: the proxy wants a user and a password; write them into api.proxy"},
		{"away to http", func(out http.ResponseWriter, r *http.Request) {
			http.Redirect(out, r, "http://example.com/", http.StatusFound)
		},
			"common.yaml: it cannot be reached: the server sends us on to a place that is not https"},
		{"round and round", func(out http.ResponseWriter, r *http.Request) { http.Redirect(out, r, r.URL.Path, http.StatusFound) },
			"common.yaml: it cannot be reached: the server sends us on again and again"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.t = t
			w.answers(tt.answer)
			if changed, fault := w.fetch(); changed != "" || !strings.HasPrefix(fault, tt.want) {
				t.Errorf("taken %q, fault %q, want %q", changed, fault, tt.want)
			}
			w.holds("alice")
		})
	}
	w.t = t
	w.answers(nil)
	w.local("config_url: " + w.server.URL + "/digime\n") // its certificate is of nobody the system knows
	if _, fault := w.fetch(); !strings.Contains(fault, "certificate") || !strings.Contains(fault, "api.ca_file") {
		t.Error(fault)
	}
	w.server.Close()
	w.local("config_url: https://me:geheim@" + strings.TrimPrefix(w.server.URL, "https://") + "/digime\n")
	if _, fault := w.fetch(); !strings.Contains(fault, "cannot be reached") || strings.Contains(fault, "geheim") {
		t.Error(fault)
	}
}

// A file that is replaced between its reading and its signature's is read again.
func TestFleetIsReplacedWhileRead(t *testing.T) {
	w := newWebFleet(t)
	w.put("common.yaml", fleetText(1, "alice"))
	first := true
	files := http.StripPrefix("/digime/", http.FileServer(http.Dir(w.dir)))
	w.answers(func(out http.ResponseWriter, r *http.Request) {
		files.ServeHTTP(out, r)
		if first {
			first = false
			w.put("common.yaml", fleetText(2, "bob"))
		}
	})
	if changed, fault := w.fetch(); changed != "common.yaml serial 2" || fault != "" {
		t.Fatal(changed, fault)
	}
}

// The proxy of the configuration is the way there.
func TestFleetThroughProxy(t *testing.T) {
	w := newWebFleet(t)
	w.put("common.yaml", fleetText(1, "alice"))
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.Host)
		out.WriteHeader(http.StatusForbidden)
	}))
	defer proxy.Close()
	w.local("config_url: " + w.server.URL + "/digime\napi: {ca_file: ca.pem, proxy: \"" + proxy.URL + "\"}\n")
	if _, fault := w.fetch(); !strings.Contains(fault, "Forbidden") {
		t.Error(fault)
	}
	if want := "CONNECT " + strings.TrimPrefix(w.server.URL, "https://"); len(asked) == 0 || asked[0] != want {
		t.Errorf("the proxy was asked %q, want %q", asked, want)
	}
}

func TestReportIsPut(t *testing.T) {
	w := newWebFleet(t)
	got := map[string]machineReport{}
	w.answers(func(out http.ResponseWriter, r *http.Request) {
		var report machineReport
		if err := json.NewDecoder(r.Body).Decode(&report); err != nil || r.Method != http.MethodPut {
			t.Errorf("%s %v", r.Method, err)
		}
		got[r.URL.Path] = report
		out.WriteHeader(http.StatusCreated)
	})
	w.local("report_to: " + w.server.URL + "/reports\napi: {ca_file: ca.pem}\n")
	cfg, err := LoadConfig(w.config)
	must(t, err)
	must(t, putReport(t.Context(), cfg, machineReport{Host: "pc-17", Every: 900}))
	if got["/reports/pc-17.json"].Every != 900 {
		t.Errorf("%+v", got)
	}
	w.answers(func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(http.StatusMethodNotAllowed) })
	if err := putReport(t.Context(), cfg, machineReport{Host: "pc-17"}); err == nil || !strings.Contains(err.Error(), "405") {
		t.Error(err)
	}
}

func TestNextLook(t *testing.T) {
	for _, tt := range []struct {
		interval time.Duration
		failures int
		waiting  bool
		dice     float64
		want     time.Duration
	}{
		{15 * time.Minute, 0, false, 0.5, 15 * time.Minute},
		{15 * time.Minute, 0, false, 0, 12 * time.Minute},
		{15 * time.Minute, 0, false, 1, 18 * time.Minute},
		{15 * time.Minute, 1, false, 0.5, time.Minute},
		{15 * time.Minute, 3, false, 0.5, 4 * time.Minute},
		{15 * time.Minute, 5, false, 0.5, 15 * time.Minute},
		{15 * time.Minute, 1_000_000, false, 0.5, 15 * time.Minute},
		{15 * time.Minute, 1, true, 0.5, 5 * time.Second},
		{15 * time.Minute, 4, true, 0.5, 40 * time.Second},
		{30 * time.Second, 1, false, 0.5, 30 * time.Second},
	} {
		if got := nextLook(tt.interval, tt.failures, tt.waiting, tt.dice); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

// Two hours of a machine's life: it looks at the interval, soon after a failure,
// and says a trouble once.
func TestFleetLoop(t *testing.T) {
	r := newFleetRig(t)
	r.put("common.yaml", fleetText(1, "alice"))
	cfg := r.cfg()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var audits []string // guarded by mu, as is the next
		reloads := 0
		locked := func(check func()) {
			mu.Lock()
			defer mu.Unlock()
			check()
		}
		f := &fleetLoop{
			path: r.config, config: func() *Config { return cfg }, log: discard(), again: make(chan struct{}, 1),
			audit: func(event, reason string) error {
				locked(func() { audits = append(audits, event+": "+reason) })
				return nil
			},
			reload: func(context.Context) error {
				locked(func() { reloads++ })
				return nil
			},
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.Run(ctx) }()
		time.Sleep(startSpread)
		synctest.Wait()
		locked(func() {
			if reloads != 1 || len(audits) != 1 || audits[0] != "fleet configuration taken: common.yaml serial 1" {
				t.Errorf("%d reloads, %q", reloads, audits)
			}
		})
		must(t, os.Remove(filepath.Join(r.dir, "common.yaml")))
		time.Sleep(time.Hour)
		synctest.Wait()
		locked(func() {
			if len(audits) != 2 || !strings.HasPrefix(audits[1], "fleet configuration refused: common.yaml: it is gone") || !strings.Contains(f.Trouble(), "it is gone") {
				t.Errorf("%q, trouble %q", audits, f.Trouble())
			}
		})
		r.put("common.yaml", fleetText(2, "bob"))
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		locked(func() {
			if reloads != 2 || f.Trouble() != "" {
				t.Errorf("%d reloads, trouble %q", reloads, f.Trouble())
			}
		})
		r.put("common.yaml", fleetText(3, "bob"))
		f.LookNow()
		synctest.Wait()
		locked(func() {
			if reloads != 3 {
				t.Errorf("%d reloads", reloads)
			}
		})
		cancel()
		must(t, <-done)
	})
}

// A fleet's client speaks TLS 1.2 or later, to a server of its CA as well.
func TestFleetClientRefusesOldTLS(t *testing.T) {
	w := newWebFleet(t)
	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11}
	old.StartTLS()
	defer old.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: old.Certificate().Raw})
	must(t, os.WriteFile(filepath.Join(filepath.Dir(w.config), "ca.pem"), ca, 0o600))
	w.local("config_url: " + old.URL + "\napi: {ca_file: ca.pem}\n")
	if _, fault := w.fetch(); !strings.Contains(fault, "protocol version") {
		t.Error(fault)
	}
}
