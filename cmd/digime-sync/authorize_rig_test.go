package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
)

// lastPorts is the pair of ports that freePorts has looked at last. It goes on from
// there, since what it has given out may not be listened at yet.
var lastPorts atomic.Uint32

func init() { lastPorts.Store(rand.Uint32N(5000)) }

// freePorts returns a port that is free together with the next one, below those
// that systems give out by themselves.
func freePorts() (port int, err error) {
	for range 100 {
		port = 20000 + 2*int(lastPorts.Add(1)%5000)
		var list []net.Listener
		list, err = listenAll([]string{"127.0.0.1", "::1"}, strconv.Itoa(port))
		if err == nil {
			var next []net.Listener
			next, err = listenAll([]string{"127.0.0.1", "::1"}, strconv.Itoa(port+1))
			list = append(list, next...)
		}
		for _, l := range list {
			_ = l.Close()
		}
		if err == nil {
			return port, nil
		}
	}
	return 0, err
}

// clinic is a sandbox of its own for a test, with its configuration.
type clinic struct {
	*playground
	config, callback string
	vault            *store.Vault
}

func newClinic(t *testing.T) *clinic {
	t.Helper()
	port, err := freePorts()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	play, err := newPlayground(dir, "http://"+l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- play.serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	vault, err := store.OpenVault(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	return &clinic{playground: play, config: filepath.Join(dir, "config.yaml"), callback: play.callback(), vault: vault}
}

func (c *clinic) token(t *testing.T, name string) digime.Token {
	t.Helper()
	data, err := c.vault.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := digime.ParseToken(data)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func (c *clinic) save(t *testing.T, name string, tok digime.Token) {
	t.Helper()
	data, err := json.Marshal(tok)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.vault.Save(name, data); err != nil {
		t.Fatal(err)
	}
}

// reconfigure replaces a text of the configuration.
func (c *clinic) reconfigure(t *testing.T, old, text string) {
	t.Helper()
	data, err := os.ReadFile(c.config)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte(old)) {
		t.Fatalf("the configuration has no %q", old)
	}
	if err := os.WriteFile(c.config, bytes.ReplaceAll(data, []byte(old), []byte(text)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// screen collects what a command prints, and lets wait for it.
type screen struct {
	mu      sync.Mutex
	text    strings.Builder
	changed chan struct{}
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(p)
	close(s.changed)
	s.changed = make(chan struct{})
	return len(p), nil
}

func (s *screen) shows() (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String(), s.changed
}

// wait returns the first match of the pattern.
func (s *screen) wait(t *testing.T, pattern string) string {
	t.Helper()
	re, late := regexp.MustCompile(`(?m)`+pattern), time.After(patience)
	for {
		text, changed := s.shows()
		if found := re.FindString(text); found != "" {
			return found
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("%s did not appear; the screen shows:\n%s", pattern, text)
		}
	}
}

// typed is a command line that runs.
type typed struct {
	out  *screen // both outputs
	keys *io.PipeWriter
	done chan int
}

// types starts `authorize ARG… --no-browser`.
func (c *clinic) types(t *testing.T, args ...string) *typed {
	t.Helper()
	in, keys := io.Pipe()
	s := &screen{changed: make(chan struct{})}
	y := &typed{out: s, keys: keys, done: make(chan int, 1)}
	t.Cleanup(func() { _ = keys.Close() })
	a := &app{in: in, out: s, err: s}
	go func() { y.done <- a.main(append([]string{"--config", c.config, "authorize", "--no-browser"}, args...)) }()
	return y
}

func (y *typed) link(t *testing.T) string { return y.out.wait(t, `^http://\S+/apps/saas/\S+$`) }

func (y *typed) ends(t *testing.T, code int, words ...string) {
	t.Helper()
	select {
	case got := <-y.done:
		text, _ := y.out.shows()
		if got != code {
			t.Errorf("exit code %d, want %d:\n%s", got, code, text)
		}
		for _, w := range words {
			if !strings.Contains(text, w) {
				t.Errorf("%q is missing in:\n%s", w, text)
			}
		}
	case <-time.After(patience):
		text, _ := y.out.shows()
		t.Fatalf("it does not end:\n%s", text)
	}
}

// visit is what the browser does with an address.
func visit(t *testing.T, address string) (status int, body string, h http.Header) {
	t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data), resp.Header
}

// decide answers at the link, and returns the callback's address.
func (c *clinic) decide(t *testing.T, link string, share bool, user string) string {
	t.Helper()
	callback, err := c.server.Decide(link, share, user)
	if err != nil {
		t.Fatal(err)
	}
	return callback
}

func with(address, name, value string) string {
	u, _ := url.Parse(address)
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// ports NAME sets a variable to a port that is free together with the next one.
func ports(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ports NAME")
	}
	port, err := freePorts()
	ts.Check(err)
	ts.Setenv(args[0], strconv.Itoa(port))
}

// control DIR PATH steers the sandbox that wrote DIR.
func control(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: control DIR PATH")
	}
	ts.Check(postControl(filepath.Join(ts.MkAbs(args[0]), "config.yaml"), args[1], ""))
}

// decides share|decline says how the person decides from now on, in whose
// browser digime-sync opens its links.
func decides(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: consent share|decline")
	}
	ts.Setenv("DECISION", args[0])
}

// browser is the program by which the system opens a link, with the person who
// uses it: it presses a button of the consent page and goes where that leads.
// The page it ends up at is left in page.html.
func browser() {
	resp, err := http.PostForm(os.Args[len(os.Args)-1], url.Values{"decision": {os.Getenv("DECISION")}})
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil { // at once: the story waits for the file, and reads it then
		err = store.WriteFile(filepath.Join(os.Getenv("WORK"), "page.html"), body, 0o644)
	}
	if err != nil {
		log.Fatal(err)
	}
}
