package digime

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
)

func TestStall(t *testing.T) {
	const short = 400 * time.Millisecond
	for _, size := range []int{0, 100, 3 << 20} {
		unhurried(t, short, func(d time.Duration) error {
			var arrived atomic.Bool
			client := serve(t, func(_ http.ResponseWriter, r *http.Request) {
				_, err := io.Copy(io.Discard, r.Body)
				arrived.Store(err == nil)
				<-r.Context().Done()
			}, stall(d))
			err := client.Push(background(), aContract(), "token", newUpload(pattern(size)).Upload)
			if e := wantError(t, err, Passing, "no progress"); arrived.Load() && (!e.Doubt || !errors.Is(err, errStalled)) {
				t.Errorf("%d bytes, no answer: %+v", size, e)
			}
			if !arrived.Load() {
				return fmt.Errorf("%d bytes did not arrive within %s", size, d)
			}
			return nil
		})
	}
	t.Run("a server that does not read", func(t *testing.T) {
		let := make(chan struct{})
		client := serve(t, func(_ http.ResponseWriter, _ *http.Request) { <-let }, stall(short))
		defer close(let)
		e := wantError(t, client.Push(background(), aContract(), "token", newUpload(pattern(32<<20)).Upload), Passing, "no progress")
		if e.Doubt {
			t.Error("in doubt though the end of the file never left")
		}
	})
	t.Run("a source that hangs", func(t *testing.T) {
		client := serve(t, newSink().ServeHTTP, stall(short))
		u := newUpload(pattern(100))
		u.Open = func() (io.ReadCloser, error) { return &slowSource{closed: make(chan struct{})}, nil }
		wantError(t, client.Push(background(), aContract(), "token", u.Upload), Passing, "no progress")
	})
	t.Run("slow but moving", func(t *testing.T) {
		unhurried(t, short, func(d time.Duration) error {
			client := serve(t, newSink().ServeHTTP, stall(d))
			u := newUpload(pattern(20*1024 + LastChunk))
			open := u.Open
			u.Open = func() (io.ReadCloser, error) {
				src, err := open()
				return &drip{ReadCloser: src, piece: 1024, pause: d / 8}, err
			}
			began := time.Now()
			err := client.Push(background(), aContract(), "token", u.Upload)
			if err == nil && time.Since(began) < 2*d {
				t.Error("it was not slow enough to show anything")
			}
			return err
		})
	})
}

// drip gives a few bytes at a time for the first pieces.
type drip struct {
	io.ReadCloser
	piece  int
	pause  time.Duration
	pieces int
}

func (d *drip) Read(p []byte) (int, error) {
	if d.pieces++; d.pieces > 20 {
		return d.ReadCloser.Read(p)
	}
	<-time.After(d.pause)
	return d.ReadCloser.Read(p[:min(len(p), d.piece)])
}

func TestAnswersWithoutEnd(t *testing.T) {
	endless := func(w http.ResponseWriter, r *http.Request, status int) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		for {
			if _, err := w.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	}
	for status, class := range map[int]Class{500: Passing, 422: Refused, 401: TokenExpired} {
		client := serve(t, func(w http.ResponseWriter, r *http.Request) { endless(w, r, status) })
		wantError(t, client.Push(background(), aContract(), "token", newUpload(pattern(10)).Upload), class, fmt.Sprint(status))
	}
	client := serve(t, func(w http.ResponseWriter, r *http.Request) { endless(w, r, 201) })
	if err := client.Push(background(), aContract(), "token", newUpload(pattern(10)).Upload); err != nil {
		t.Errorf("a success with an endless body: %v", err)
	}
	wantError(t, client.Reach(background()), Passing, "does not end")

	headers := rawServer(t, func(conn net.Conn, _ *http.Request) {
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n")
		for {
			if _, err := fmt.Fprintf(conn, "X-A: %01000d\r\n", 0); err != nil {
				return
			}
		}
	})
	client = newClient(t, Options{BaseURL: headers, ApplicationID: "app"})
	wantError(t, client.Reach(background()), Passing, "fetch key set")

	interims := rawServer(t, func(conn net.Conn, _ *http.Request) {
		for {
			if _, err := fmt.Fprint(conn, "HTTP/1.1 102 Processing\r\n\r\n"); err != nil {
				return
			}
		}
	})
	client = newClient(t, Options{BaseURL: interims, ApplicationID: "app"})
	wantError(t, client.Push(background(), aContract(), "token", newUpload(pattern(10)).Upload), Passing, "does not end")
}

// rawServer speaks whatever it likes once a request's header has come.
func rawServer(t *testing.T, speak func(net.Conn, *http.Request)) (baseURL string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					speak(conn, req)
				}
			}()
		}
	}()
	return "http://" + listener.Addr().String() + "/v1.7/"
}

func TestInterimsBeforeTheAnswer(t *testing.T) {
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusProcessing)
		w.WriteHeader(http.StatusEarlyHints)
		newSink().ServeHTTP(w, r)
	})
	for _, size := range []int{10, 200_000, 3 << 20} {
		if err := client.Push(background(), aContract(), "token", newUpload(pattern(size)).Upload); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestNetworkErrors(t *testing.T) {
	// Nobody listens at port 1; one that was free a moment ago may be taken by now.
	client := newClient(t, Options{BaseURL: "http://127.0.0.1:1", ApplicationID: "app"})
	err := client.Push(background(), aContract(), "token", newUpload([]byte("x")).Upload)
	if e := wantError(t, err, Passing, "push: ", "refuses the connection"); e.Doubt || !errors.Is(err, refusedErrnos[0]) {
		t.Errorf("got %+v", e)
	}

	client = newClient(t, Options{BaseURL: "https://digime.invalid/v1.7/", ApplicationID: "app"})
	client.transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Name: "digime.invalid", IsNotFound: true}}
	}
	wantError(t, client.Reach(background()), Passing, "fetch key set: ", "digime.invalid is unknown")

	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	client = newClient(t, Options{BaseURL: strings.Replace(plain.URL, "http:", "https:", 1), ApplicationID: "app"})
	wantError(t, client.Reach(background()), Passing, "TLS")

	for what, fault := range map[string]sandbox.Fault{
		"not HTTP":  {Do: sandbox.DoGarbage, AfterBody: true},
		"reset":     {Do: sandbox.DoCut, Bytes: 100_000},
		"cut short": {Do: sandbox.DoCut},
	} {
		r := newRig(t)
		fault.Kind = sandbox.ReqPush
		r.sandbox.Fail(fault)
		e := wantError(t, r.Push(background(), r.contract, r.token.Access.Value, newUpload(pattern(32<<20)).Upload), Passing)
		if e.Status != 0 || e.Doubt != (what == "not HTTP") {
			t.Errorf("%s: %+v", what, e)
		}
	}
}

func TestNetworkWords(t *testing.T) {
	dial := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}, Err: err}
	}
	for want, err := range map[string]error{
		"192.0.2.1:443 refuses":          dial(os.NewSyscallError("connect", refusedErrnos[0])),
		"does not reach 192.0.2.1:443":   dial(os.NewSyscallError("connect", unreachableErrnos[0])),
		"192.0.2.1:443 does not answer":  dial(os.ErrDeadlineExceeded),
		"broke off":                      fmt.Errorf("write: %w", os.NewSyscallError("write", resetErrnos[0])),
		"the proxy refuses":              &net.OpError{Op: "proxyconnect", Err: dial(os.NewSyscallError("connect", refusedErrnos[0]))},
		"cannot be looked up":            &net.DNSError{Name: "api.digi.me", IsTimeout: true},
		"the connection to 192.0.2.1:44": dial(errors.New("secret")),
		"does not speak HTTP":            errors.New("malformed HTTP response \"secret\""),
		"no answer in time":              fmt.Errorf("x: %w", errTooLong),
	} {
		if got := networkWords(err); !strings.Contains(got, want) || strings.Contains(got, "secret") {
			t.Errorf("%v is said as %q, want %q", err, got, want)
		}
	}
}

func TestOwnCA(t *testing.T) {
	server := httptest.NewUnstartedServer(newSink())
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshake that is meant to fail
	server.StartTLS()
	defer server.Close()
	client := newClient(t, Options{BaseURL: server.URL, ApplicationID: "app"})
	err := client.Push(background(), aContract(), "token", newUpload([]byte("x")).Upload)
	wantError(t, err, Passing, "not from an authority this machine trusts", "CA")

	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	client = newClient(t, Options{BaseURL: server.URL, ApplicationID: "app", CA: ca})
	for _, size := range []int{0, 10, 3 << 20} {
		if err := client.Push(background(), aContract(), "token", newUpload(pattern(size)).Upload); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if _, err := New(Options{ApplicationID: "app", CA: []byte("no certificate")}); err == nil {
		t.Error("a CA file without a certificate is taken")
	}
}

// A lost answer is in doubt over TLS as well: the bytes are counted below it.
func TestDoubtOverTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	}))
	defer server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	var opened atomic.Int32
	for _, proxy := range []string{"", tunnel(t, "", &opened)} {
		client := newClient(t, Options{BaseURL: server.URL, ApplicationID: "app", CA: ca, Proxy: proxy})
		for _, size := range []int{0, 10, 3 << 20} {
			e := wantError(t, client.Push(background(), aContract(), "token", newUpload(pattern(size)).Upload), Passing)
			if !e.Doubt {
				t.Errorf("%d bytes, proxy %q: no doubt", size, proxy)
			}
		}
	}
}

// tunnel is a proxy that opens ways, to those who show the password if it has one.
func tunnel(t *testing.T, password string, opened *atomic.Int32) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want := "Basic " + base64.StdEncoding.EncodeToString([]byte("clinic:"+password))
		if password != "" && r.Header.Get("Proxy-Authorization") != want {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		if r.Method != http.MethodConnect {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		far, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer far.Close()
		opened.Add(1)
		near, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer near.Close()
		fmt.Fprint(near, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(far, near); far.Close() }()
		_, _ = io.Copy(near, far)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestProxy(t *testing.T) {
	server := httptest.NewTLSServer(newSink())
	defer server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	try := func(proxy string) error {
		client := newClient(t, Options{BaseURL: server.URL, ApplicationID: "app", CA: ca, Proxy: proxy})
		return client.Push(background(), aContract(), "token", newUpload(pattern(200_000)).Upload)
	}
	var opened atomic.Int32
	if err := try(tunnel(t, "", &opened)); err != nil || opened.Load() != 1 {
		t.Errorf("through a proxy: %v, %d ways opened", err, opened.Load())
	}
	guarded := tunnel(t, "s3cret!", &opened)
	wantError(t, try(guarded), Configuration, "user name and password")
	if err := try(strings.Replace(guarded, "//", "//clinic:s3cret!@", 1)); err != nil || opened.Load() != 2 {
		t.Errorf("with a password: %v, %d ways opened", err, opened.Load())
	}
	err := try(strings.Replace(guarded, "//", "//clinic:wr0ng@", 1))
	if wantError(t, err, Configuration); strings.Contains(err.Error(), "wr0ng") {
		t.Errorf("%q shows the password", err)
	}
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }))
	defer refusing.Close()
	wantError(t, try(refusing.URL), Passing, "proxy does not open", "403")

	for _, bad := range []string{"proxy:3128", "ftp://proxy:21", "http://", "http://u:p4ss@pro xy:1"} {
		_, err := New(Options{ApplicationID: "app", Proxy: bad})
		if err == nil || strings.Contains(err.Error(), "p4ss") {
			t.Errorf("proxy %q: %v", bad, err)
		}
	}
}

func TestProxyOfTheEnvironment(t *testing.T) {
	client := newClient(t, Options{ApplicationID: "app"})
	client.transport.Proxy = func(*http.Request) (_ *url.URL, _ error) { return nil, &proxyError{} }
	wantError(t, client.Reach(background()), Configuration, "HTTPS_PROXY")
}

func TestRedirects(t *testing.T) {
	followed := newSink()
	elsewhere := httptest.NewServer(followed)
	defer elsewhere.Close()
	portal := strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1) + "/login?session=SECRET"
	for _, c := range []struct {
		status   int
		location string
		class    Class
		words    string
	}{
		{302, portal, Passing, "redirects to host localhost"},
		{307, portal, Passing, "redirects to host localhost"},
		{308, portal, Passing, "redirects to host localhost"},
		{301, "/elsewhere", Configuration, "base URL"},
		{308, "/v1.8/permission-access/import", Configuration, "base URL"},
		{307, "/maintenance", Passing, "another address on its host"},
		{304, "", Passing, "another address"},
	} {
		client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", c.location)
			w.WriteHeader(c.status)
		})
		for name, err := range map[string]error{
			"push": client.Push(background(), aContract(), "token", newUpload([]byte("x")).Upload),
			"keys": client.Reach(background()),
		} {
			if wantError(t, err, c.class, c.words, fmt.Sprint(c.status)); strings.Contains(err.Error(), "SECRET") {
				t.Errorf("%s: %q shows the query", name, err)
			}
		}
	}
	if len(followed.done) != 0 {
		t.Errorf("%d redirects were followed", len(followed.done))
	}
}
