package digime

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	date := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for _, c := range []struct {
		value, date string
		want        time.Duration
	}{
		{"", "", 0}, {"0", "", 0}, {"7", "", 7 * time.Second}, {" 7 ", "", 7 * time.Second}, {"86400", "", 24 * time.Hour},
		{"86401", "", 0}, {"99999999999999999999999", "", 0},
		{"-5", "", 0}, {"+5", "", 0}, {"5.5", "", 0}, {"soon", "", 0}, {"0x10", "", 0}, {"1e3", "", 0}, {"٣", "", 0},
		{date(90 * time.Second), "", 90 * time.Second}, {date(-time.Hour), "", 0}, {date(24 * time.Hour), "", 24 * time.Hour}, {date(48 * time.Hour), "", 0},
		{date(90 * time.Second), date(-time.Hour), time.Hour + 90*time.Second}, // by the service's clock
		{now.Add(time.Minute).Format(time.RFC850), "", time.Minute},
		{now.Add(time.Minute).Format(time.ANSIC), "", time.Minute},
	} {
		h := http.Header{}
		h.Set("Retry-After", c.value)
		h.Set("Date", c.date)
		if got := retryAfter(h, now); got != c.want {
			t.Errorf("%q, Date %q: %v, want %v", c.value, c.date, got, c.want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("120", "")
	f.Add("Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT")
	f.Add("-1", "x")
	f.Fuzz(func(t *testing.T, value, date string) {
		got := retryAfter(http.Header{"Retry-After": {value}, "Date": {date}}, time.Unix(1.7e9, 0))
		if got < 0 || got > 24*time.Hour {
			t.Fatalf("%q: %v", value, got)
		}
	})
}

// The table of the service's errors, for a push.
func TestErrorTable(t *testing.T) {
	object := `{"error":{"code":%q,"message":"a message","reference":"ref-1"}}`
	flat := `{"error":%q,"message":"a message"}`
	for _, c := range []struct {
		status int
		code   string
		class  Class
	}{
		{401, "InvalidToken", TokenExpired},
		{401, "InvalidClient", Configuration},
		{401, "SomethingElse", Configuration},
		{403, "InsufficientScope", Configuration},
		{400, "InvalidRedirectUri", Configuration},
		{403, "SDKInvalid", ClientRefused},
		{403, "SDKVersionInvalid", ClientRefused},
		{406, "ValidationErrors", Malformed},
		{406, "InvalidRequest", Malformed},
		{406, "Whatever", Malformed},
		{400, "Bad", Refused}, {403, "Other", Refused}, {404, "NotFound", Refused}, {409, "Conflict", Refused}, {413, "TooLarge", Refused},
		{415, "X", Refused}, {422, "X", Refused}, {418, "X", Refused},
		{408, "X", Passing}, {425, "X", Passing}, {429, "X", Passing}, {500, "InvalidToken", Passing}, {502, "X", Passing}, {503, "X", Passing}, {504, "X", Passing},
		{511, "ServiceAuthorizationError", Reauthorize}, {407, "X", Configuration}, {599, "X", Passing},
	} {
		for _, shape := range []string{object, flat, ""} {
			r := newBare(t, c.status, shape, c.code)
			e := wantError(t, r.Push(background(), aContract(), "token", newUpload([]byte("x")).Upload), c.class, fmt.Sprint(c.status), c.code, "a message")
			if e.Status != c.status || e.Code != c.code || e.Message != "a message" || shape == object && e.Reference != "ref-1" || e.Doubt || e.Err != nil {
				t.Errorf("%d %s in %q: %+v", c.status, c.code, shape, e)
			}
		}
	}
}

// newBare answers everything in one way; without a shape the headers say it.
func newBare(t *testing.T, status int, shape, code string) *Client {
	return serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if shape == "" {
			w.Header().Set("X-Error-Code", code)
			w.Header().Set("X-Error-Message", "a message")
			w.WriteHeader(status)
			return
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, shape, code)
	})
}

func TestAnswersThatSayLittle(t *testing.T) {
	for _, c := range []struct {
		status int
		kind   string
		body   string
		class  Class
		words  string
	}{
		{401, "text/plain", "Unauthorized", TokenExpired, "401"},
		{401, "text/html", "<html>", TokenExpired, "401"},
		{401, "application/json", `{"message":"no"}`, TokenExpired, "no"},
		{401, "application/json", `{"error":{}}`, TokenExpired, "401"},
		{401, "application/json", `{"error":{"code":7}}`, TokenExpired, "401"},
		{200, "text/html; charset=utf-8", "<html>log in", Passing, "web page"},
		{200, "application/xhtml+xml", "<html>log in", Passing, "web page"},
		{403, "text/html", "blocked", Passing, "web page"},
		{404, "text/html", "blocked", Passing, "web page"},
		{451, "text/html", "blocked", Passing, "web page"},
		{511, "text/html", "log in", Passing, "web page"},
		{413, "text/html", "too large", Refused, "413"},
		{503, "text/html", "later", Passing, "503"},
		{422, "application/json", "not JSON", Refused, "422"},
	} {
		client := serve(t, func(w http.ResponseWriter, r *http.Request) {
			newSink().ServeHTTP(discard{}, r) // the whole body is taken first
			w.Header().Set("Content-Type", c.kind)
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
		})
		e := wantError(t, client.Push(background(), aContract(), "token", newUpload([]byte("x")).Upload), c.class, c.words)
		if e.Doubt || e.Status != c.status {
			t.Errorf("%d %s: %+v", c.status, c.body, e)
		}
	}
}

// discard is an answer to nobody.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

func TestForeignWordsAreCleaned(t *testing.T) {
	jwt := forge(testKey(), map[string]any{"alg": "PS512"}, map[string]any{"x": "y"})
	for in, want := range map[string]string{
		"plain":                           "plain",
		"two\r\nlines\tand  blanks\u2028": "two lines and blanks",
		"bell\a esc\x1b[31m nul\x00":      "bell esc[31m nul",
		"right\u202eto left":              "rightto left",
		"bad \xff\xfe utf-8":              "bad \uFFFD utf-8",
		"token " + jwt + " is bad":        "token [token] is bad",
		"value s3cr3t-value is bad":       "value [token] is bad",
		strings.Repeat("ä", 1000):         strings.Repeat("ä", 299) + "…",
	} {
		if got := clean(in, "s3cr3t-value", "e"); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func FuzzErrorBody(f *testing.F) {
	f.Add(401, "application/json", []byte(`{"error":{"code":"InvalidToken","message":"m","reference":"r"}}`), "X")
	f.Add(403, "text/html", []byte(`{"error":"code","message":["x"]}`), "\x1b")
	f.Add(302, "", []byte(`{"error":null}`), strings.Repeat("y", 500))
	c, err := New(Options{ApplicationID: "app"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, kind string, body []byte, header string) {
		a := &answer{status: status, body: body, header: http.Header{
			"Content-Type": {kind}, "X-Error-Code": {header}, "X-Error-Message": {header}, "Location": {header}, "Retry-After": {header},
		}}
		for _, op := range []string{opPush, opRefresh, opKeys} {
			e := c.refused(op, a, "s3cr3t")
			if classes[e.Class].name == "" {
				t.Fatalf("%d: class %d", status, e.Class)
			}
			for _, text := range []string{e.Code, e.Message, e.Reference, e.Error()} {
				if !utf8.ValidString(text) || strings.Contains(text, "s3cr3t") || strings.ContainsFunc(text, unicode.IsControl) {
					t.Fatalf("%q", text)
				}
			}
			if utf8.RuneCountInString(e.Message) > maxWords || utf8.RuneCountInString(e.Code) > maxWords {
				t.Fatalf("%d characters", len(e.Message))
			}
		}
	})
}

func TestSkew(t *testing.T) {
	r := newRig(t)
	if _, ok := r.Skew(); ok {
		t.Error("a skew is known before the first answer")
	}
	push := func() error {
		return r.Push(background(), r.contract, r.token.Access.Value, newUpload([]byte("x")).Upload)
	}
	if err := push(); err != nil {
		t.Fatal(err)
	}
	if d, ok := r.Skew(); !ok || d.Abs() > 25*time.Second {
		t.Errorf("skew %v, %v", d, ok)
	}
	for shift, words := range map[time.Duration]string{
		630 * time.Second:  "the clock of this machine is 10m",
		-630 * time.Second: "the clock of this machine is 10m",
	} {
		r.sandbox.SetSkew(shift)
		e := wantError(t, push(), Malformed, words) // the timestamp is too far off
		if d, _ := r.Skew(); (d+shift).Abs() > 25*time.Second || e.Skew != d {
			t.Errorf("shifted by %v: skew %v, in the error %v", shift, d, e.Skew)
		}
		side := map[bool]string{true: "behind", false: "ahead of"}[shift > 0]
		if !strings.Contains(e.Error(), side) {
			t.Errorf("%q does not say %q", e, side)
		}
	}
	r.sandbox.SetSkew(-time.Minute)
	r.sandbox.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 401, Code: "InvalidToken"})
	if e := wantError(t, push(), TokenExpired); e.Skew != 0 || strings.Contains(e.Error(), "clock") {
		t.Errorf("a minute is mentioned: %v", e)
	}
}

// A portal's page has a clock of its own.
func TestSkewIsNotLearntFromPages(t *testing.T) {
	client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Date", time.Unix(1e9, 0).UTC().Format(http.TimeFormat))
	})
	wantError(t, client.Reach(background()), Passing)
	if d, ok := client.Skew(); ok {
		t.Errorf("skew %v", d)
	}
}

func TestReach(t *testing.T) {
	r := newRig(t)
	if err := r.Reach(background()); err != nil {
		t.Error(err)
	}
	r.sandbox.Fail(sandbox.Fault{Kind: sandbox.ReqKeys, Do: sandbox.DoRefuse, Status: 503})
	wantError(t, r.Reach(background()), Passing, "fetch key set", "503")
	ctx, cancel := context.WithCancel(background())
	cancel()
	if err := r.Reach(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestNew(t *testing.T) {
	for _, base := range []string{"", "https://api.digi.me/v1.7/", "https://api.digi.me/v1.7", "http://localhost:8080/v1.7/", "http://127.0.0.9/", "http://[::1]:1", "https://stage.example"} {
		c, err := New(Options{BaseURL: base, ApplicationID: "app"})
		if err != nil || !strings.HasSuffix(c.base.Path, "/") {
			t.Errorf("%q: %v", base, err)
		}
	}
	for base, words := range map[string]string{
		"http://api.digi.me/v1.7/":     "https",
		"http://localhost.evil.com/":   "https",
		"http://127.0.0.1.evil.com/":   "https",
		"ftp://localhost/":             "https://",
		"api.digi.me":                  "https://",
		"https://":                     "host",
		"https://u:s3cret@api.digi.me": "user",
		"https://api.digi.me/?s3cret":  "query",
		"https://api.digi.me/#s3cret":  "fragment",
		"https://s3cret:s3cret:1/\x7f": "not a URL",
	} {
		for what, o := range map[string]Options{"base URL": {BaseURL: base}, "onboard URL": {OnboardURL: base}, "legacy base URL": {LegacyBaseURL: base}} {
			o.ApplicationID = "app"
			_, err := New(o)
			if err == nil || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), what) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s %q: %v", what, base, err)
			}
		}
	}
	_, err := New(Options{BaseURL: "x", ApplicationID: " ", Stall: -1, Proxy: "x"})
	for _, words := range []string{"base URL", "application ID", "stall", "proxy"} {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v does not say %q", err, words)
		}
	}
}
