package main

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
	"github.com/digime-sync/digime-sync/sync/engine"
)

// What is not the answer is refused, and the waiting goes on until the answer.
func TestAuthorizeTakesTheRightAnswerOnly(t *testing.T) {
	c := newClinic(t)
	before := c.token(t, "alice")
	y := c.types(t, "alice")
	callback := c.decide(t, y.link(t), true, "")
	code := callback[strings.Index(callback, "code=")+len("code="):]
	code, _, _ = strings.Cut(code, "&")

	for address, want := range map[string]int{
		with(callback, "state", "forged"):                                  400,
		with(callback, "state", ""):                                        400,
		c.callback + "?success=false&errorCode=UserCancelled&state=forged": 400,
		c.callback + "?success=true":                                       400,
		with(with(callback, "code", ""), "success", "true"):                400,
		strings.Replace(c.callback, "/callback", "/favicon.ico", 1):        404,
		strings.Replace(callback, "/callback", "/callback/else", 1):        404,
	} {
		if got, body, _ := visit(t, address); got != want || !strings.Contains(body, "close this window") {
			t.Errorf("%s: %d, want %d\n%s", strings.Replace(address, code, "CODE", 1), got, want, body)
		}
	}
	if resp, err := http.Head(callback); err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("HEAD: %v, %v", resp, err)
	}
	y.out.wait(t, `its state is wrong`)

	status, body, h := visit(t, callback)
	if status != 200 || !strings.Contains(body, "Thank you") || strings.Contains(body, code) {
		t.Errorf("%d\n%s", status, body)
	}
	for name, want := range map[string]string{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"} {
		if h.Get(name) != want {
			t.Errorf("%s: %q", name, h.Get(name))
		}
	}
	y.ends(t, exitDone, "consent for library alice saved; access until 20")
	after := c.token(t, "alice")
	if after.UserID != before.UserID || after.Access == before.Access {
		t.Errorf("token of %q, before %q", after.UserID, before.UserID)
	}
	if text, _ := y.out.shows(); strings.Contains(text, code) || strings.Contains(text, after.Access.Value) || strings.Contains(text, after.UserID) {
		t.Errorf("it says too much:\n%s", text)
	}
	if _, err := http.Get(callback); err == nil {
		t.Error("it still listens after its end")
	}
}

// One answer is taken, once; also while the first is still being worked on.
func TestReceiverExplainsReplays(t *testing.T) {
	r, err := newReceiver("https://elsewhere.example/callback")
	if err != nil || r.listening() {
		t.Fatal(err)
	}
	get := func(query string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest("GET", "/callback?"+query, nil))
		return w
	}
	if w := get("success=false&errorCode=x"); w.Code != 400 {
		t.Errorf("before anything was asked: %d", w.Code)
	}
	r.expect("right")
	first := make(chan *httptest.ResponseRecorder)
	go func() { first <- get("success=true&code=c&state=right") }()
	ans := <-r.answers
	for _, query := range []string{"success=true&code=c&state=right", "success=true&code=d&state=right", "success=false&errorCode=x"} {
		if w := get(query); w.Code != http.StatusGone || !strings.Contains(w.Body.String(), "answered already") {
			t.Errorf("%s: %d\n%s", query, w.Code, w.Body)
		}
	}
	ans.show(page{http.StatusOK, "<b>&", "<script>"})
	if w := <-first; ans.code != "c" || w.Code != 200 || !strings.Contains(w.Body.String(), "&lt;b&gt;&amp;") || strings.Contains(w.Body.String(), "<script>") {
		t.Errorf("code %q, %d\n%s", ans.code, w.Code, w.Body)
	}
	select {
	case ans := <-r.answers:
		t.Errorf("a second answer was taken: %+v", ans)
	default:
	}
}

func TestRefusalWords(t *testing.T) {
	for code, want := range map[string]string{
		"UserCancelled": "the person declined (UserCancelled)",
		"OnboardError":  "the person declined, or could not go on (digi.me says OnboardError)",
		"":              "the person declined, or could not go on (digi.me does not say why)",
		"Call 0800 1":   "the person declined, or could not go on (digi.me does not say why)",
		"cancel\x1b[2J": "the person declined, or could not go on (digi.me does not say why)",
	} {
		if got := refusalWords(code); got != want {
			t.Errorf("%q: %s", code, got)
		}
	}
}

func TestAuthorizeDeclined(t *testing.T) {
	c := newClinic(t)
	before := c.token(t, "alice")
	y := c.types(t, "alice")
	if status, body, _ := visit(t, c.decide(t, y.link(t), false, "")); status != 200 || !strings.Contains(body, "You did not share") {
		t.Errorf("%d\n%s", status, body)
	}
	y.ends(t, exitHeld, "the person declined (UserCancelled)", "hint: digime-sync authorize alice")
	if c.token(t, "alice") != before {
		t.Error("the token was changed")
	}
}

// A port that is somebody else's, at either address of localhost, is said
// before the service hears of anything.
func TestAuthorizePortTaken(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			if !hasAddress(host) {
				t.Skip("this machine does not have the address")
			}
			c := newClinic(t)
			u, _ := url.Parse(c.callback)
			l, err := net.Listen("tcp", net.JoinHostPort(host, u.Port()))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			y := c.types(t, "alice")
			y.ends(t, exitError, "that port cannot be used", "hint: end the program that uses the port")
			if text, _ := y.out.shows(); strings.Contains(text, "/apps/saas/") {
				t.Errorf("a link was made:\n%s", text)
			}
		})
	}
}

// The browser is on another machine: its address is pasted.
func TestAuthorizePaste(t *testing.T) {
	c := newClinic(t)
	y := c.types(t, "alice")
	callback := c.decide(t, y.link(t), true, "")
	for _, line := range []string{"", "what?", "hello", with(callback, "state", "forged"), c.callback + "?%zz"} {
		if _, err := io.WriteString(y.keys, line+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	y.out.wait(t, `that is not the address the browser ended up at`)
	y.out.wait(t, `its state is wrong`)
	if _, err := io.WriteString(y.keys, "  <"+callback+"#_>\r\n"); err != nil {
		t.Fatal(err)
	}
	y.ends(t, exitDone, "consent for library alice saved")
}

// At the end of the input the browser can still come.
func TestAuthorizeInputEnds(t *testing.T) {
	c := newClinic(t)
	y := c.types(t, "alice")
	callback := c.decide(t, y.link(t), true, "")
	if err := y.keys.Close(); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := visit(t, callback); status != 200 {
		t.Errorf("status %d", status)
	}
	y.ends(t, exitDone)
}

// With a redirect URI elsewhere there is pasting alone.
func TestAuthorizeRedirectElsewhere(t *testing.T) {
	c := newClinic(t)
	const elsewhere = "https://clinic.example/callback"
	data, err := os.ReadFile(filepath.Join(c.dir, "clinic-write.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := digime.ParsePrivateKey(data)
	if err != nil {
		t.Fatal(err)
	}
	c.server.AddContract(sandbox.KindWrite, "clinic-write", &key.PublicKey, elsewhere)
	c.reconfigure(t, c.callback, elsewhere)

	y := c.types(t, "alice")
	if _, err := io.WriteString(y.keys, c.decide(t, y.link(t), true, "")+"\n"); err != nil {
		t.Fatal(err)
	}
	y.ends(t, exitDone, "paste the address")

	y = c.types(t, "alice")
	y.link(t)
	if err := y.keys.Close(); err != nil {
		t.Fatal(err)
	}
	y.ends(t, exitError, "the input ended without an answer")

	null, err := os.Open(filepath.Join(c.dir, "config.yaml")) // no terminal
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	s := &screen{changed: make(chan struct{})}
	code := (&app{in: null, out: s, err: s}).main([]string{"--config", c.config, "authorize", "alice"})
	if text, _ := s.shows(); code != exitError || !strings.Contains(text, "is not on this machine") || !strings.Contains(text, "--no-browser") {
		t.Errorf("%d\n%s", code, text)
	}
}

func TestAuthorizeFaults(t *testing.T) {
	was := verifyFor
	verifyFor = time.Second
	t.Cleanup(func() { verifyFor = was })
	for name, test := range map[string]struct {
		fault sandbox.Fault
		code  int
		words string
	}{
		"away for a moment":   {sandbox.Fault{Kind: sandbox.ReqExchange, Do: sandbox.DoRefuse}, exitDone, "saved"},
		"away":                {sandbox.Fault{Kind: sandbox.ReqExchange, Do: sandbox.DoRefuse, Count: -1}, exitError, "hint: ask again: digime-sync authorize alice"},
		"forged":              {sandbox.Fault{Kind: sandbox.ReqExchange, Do: sandbox.DoForeignKey}, exitHeld, "digi.me's answer is kept, and cannot be verified yet"},
		"foreign key set":     {sandbox.Fault{Kind: sandbox.ReqExchange, Do: sandbox.DoForeignJKU}, exitError, "cannot be believed"},
		"the answer was lost": {sandbox.Fault{Kind: sandbox.ReqExchange, Do: sandbox.DoLose}, exitError, "is lost"},
		"not asked":           {sandbox.Fault{Kind: sandbox.ReqReference, Do: sandbox.DoRefuse, Count: -1}, exitError, "ask for consent: "},
		"wrong redirect URI":  {sandbox.Fault{Kind: sandbox.ReqReference, Do: sandbox.DoRefuse, Status: 400, Code: "InvalidRedirectUri"}, exitError, "redirect_uri of contract clinic-write"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClinic(t)
			before := c.token(t, "alice")
			c.server.Fail(test.fault)
			y := c.types(t, "alice")
			if test.fault.Kind == sandbox.ReqExchange {
				status, body, _ := visit(t, c.decide(t, y.link(t), true, ""))
				if saved := strings.Contains(body, "received and saved"); saved != (test.code == exitDone) || saved != (status == 200) {
					t.Errorf("the person is told %d\n%s", status, body)
				}
			}
			y.ends(t, test.code, test.words)
			after := c.token(t, "alice")
			if waits := after.Unverified != nil; waits != (test.code == exitHeld) {
				t.Errorf("an answer waits to be verified: %v", waits)
			}
			after.Unverified = nil
			if kept := after == before; kept != (test.code != exitDone) {
				t.Errorf("the old token was kept: %v", kept)
			}
		})
	}
}

// A token file that nobody can read is what this command is for.
func TestAuthorizeReplacesDamagedToken(t *testing.T) {
	c := newClinic(t)
	files, err := filepath.Glob(filepath.Join(c.dir, "state", "tokens", "*.token*"))
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		if err := os.WriteFile(name, make([]byte, 512), 0o600); err != nil { // as a disk leaves them that lost power
			t.Fatal(err)
		}
	}
	y := c.types(t, "alice")
	visit(t, c.decide(t, y.link(t), true, "user-1"))
	y.ends(t, exitDone, "the token there is cannot be read", "saved")
	if c.token(t, "alice").UserID != "user-1" {
		t.Error("not saved")
	}
}

func TestAuthorizeRefusesToStart(t *testing.T) {
	c := newClinic(t)
	c.types(t, "alice", "--timeout", "1ms").ends(t, exitError, "nobody answered within 1ms; nothing was changed")
	c.types(t, "alice", "--timeout", "0").ends(t, exitUsage, "leaves no time")
	c.types(t, "carol").ends(t, exitError, `there is no library named "carol"`)
	c.types(t).ends(t, exitUsage)
	c.reconfigure(t, `, redirect_uri: "`+c.callback+`"`, "")
	c.types(t, "alice").ends(t, exitError, "contract clinic-write has no redirect_uri")

	c.reconfigure(t, "folders:\n", "folders:\n  - {path: all, library: by-subfolder, contract: clinic-write}\n")
	c.types(t, "alice/read").ends(t, exitError, `there is no library named "alice/read"`)
	if _, err := c.vault.Load(engine.ReadToken("alice")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// A browser that cannot be opened is said; the link is there to be opened by hand.
func TestAuthorizeWithoutBrowser(t *testing.T) {
	c := newClinic(t)
	t.Setenv("PATH", "")
	y := &typed{out: &screen{changed: make(chan struct{})}, done: make(chan int, 1)}
	a := &app{in: strings.NewReader(""), out: y.out, err: y.out}
	go func() { y.done <- a.main([]string{"--config", c.config, "authorize", "alice"}) }()
	link := y.link(t)
	y.out.wait(t, `the browser cannot be opened \(.*\); open the link by hand`)
	visit(t, c.decide(t, link, true, ""))
	y.ends(t, exitDone)
}

// The redirect URI says where answers are received, if that is here.
func TestLoopback(t *testing.T) {
	for text, want := range map[string]string{
		"http://localhost:8421/callback":  "127.0.0.1 ::1",
		"http://LOCALHOST:8421":           "127.0.0.1 ::1",
		"http://127.0.0.1:8421/":          "127.0.0.1",
		"http://127.1.2.3/":               "127.1.2.3",
		"http://[::1]:8421/x":             "::1",
		"https://localhost:8421/callback": "",
		"http://localhost:0/callback":     "",
		"https://clinic.example/":         "",
		"http://127.0.0.1.example:8421/":  "",
		"http://192.168.1.1:8421/":        "",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(loopback(u), " "); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
