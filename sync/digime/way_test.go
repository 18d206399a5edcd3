package digime

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// A slow network is given time as long as it moves, though all of the file lies
// in the system's buffers already.
func TestSlowNetwork(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("this system does not tell what is in its buffers")
	}
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	unhurried(t, time.Second, func(short time.Duration) error {
		base := rawServer(t, func(conn net.Conn, req *http.Request) {
			_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
			buf := make([]byte, 4<<10)
			for n := int64(0); n < req.ContentLength; {
				m, err := req.Body.Read(buf)
				if n += int64(m); err != nil && n < req.ContentLength {
					return
				}
				<-time.After(short / 33)
			}
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		})
		client := newClient(t, Options{BaseURL: base, ApplicationID: "app", Stall: short})
		began := time.Now()
		err := client.Push(background(), aContract(), "token", newUpload(pattern(450_000)).Upload)
		if took := time.Since(began); err == nil && took < 3*short {
			t.Errorf("after %s", took)
		}
		return err
	})
}

// A connection that is never made, or whose TLS is never spoken, ends by its
// bound and leaves no doubt.
func TestBlackHoles(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	client := newClient(t, Options{BaseURL: "https://" + silent.Addr().String(), ApplicationID: "app"})
	client.transport.TLSHandshakeTimeout = 200 * time.Millisecond
	for what, err := range map[string]error{
		"push": client.Push(background(), aContract(), "token", newUpload([]byte("x")).Upload), "keys": client.Reach(background()),
	} {
		if e := wantError(t, err, Passing); !e.Host || e.Doubt {
			t.Errorf("%s: %+v", what, e)
		}
	}
	client = newClient(t, Options{BaseURL: "http://localhost:1", ApplicationID: "app", Stall: 300 * time.Millisecond})
	client.transport.DialContext = hangingDial
	err = client.Push(background(), aContract(), "token", newUpload([]byte("x")).Upload)
	if e := wantError(t, err, Passing, "no progress"); !e.Host || e.Doubt {
		t.Errorf("%+v", e)
	}
}

// authority signs certificates for servers.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, cert, key}
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func (a *authority) sign(ip string, until time.Duration) *tls.Certificate {
	a.t.Helper()
	form := &x509.Certificate{SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.ParseIP(ip)},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(until)}
	der, err := x509.CreateCertificate(rand.Reader, form, a.cert, &a.key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
}

// Certificates that are not good, and one that is changed while we run: each
// is said, and nothing was sent. When it is good again, all goes on.
func TestCertificates(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	good := ours.sign("127.0.0.1", time.Hour)
	var cert atomic.Pointer[tls.Certificate]
	got := newSink()
	server := httptest.NewUnstartedServer(got)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: []tls.Certificate{*cert.Load()}}, nil
	}}
	cert.Store(good)
	server.StartTLS()
	defer server.Close()
	client := newClient(t, Options{BaseURL: server.URL, ApplicationID: "app", CA: ours.pem()})
	push := func() error {
		return client.Push(background(), aContract(), "token", newUpload(pattern(100)).Upload)
	}
	if err := push(); err != nil {
		t.Fatal(err)
	}
	for words, changed := range map[string]*tls.Certificate{
		"not from an authority": newAuthority(t).sign("127.0.0.1", time.Hour),
		"for another name":      ours.sign("127.0.0.2", time.Hour),
		"has expired":           ours.sign("127.0.0.1", -time.Hour),
	} {
		cert.Store(changed)
		client.transport.CloseIdleConnections()
		if e := wantError(t, push(), Passing, words); !e.Host || e.Doubt {
			t.Errorf("%s: %+v", words, e)
		}
		cert.Store(good)
		if err := push(); err != nil {
			t.Errorf("good again after %q: %v", words, err)
		}
	}
	if got.complete != 4 {
		t.Errorf("%d files arrived", got.complete)
	}
}

// HTTP/2 is not spoken: to a server that offers both, HTTP/1.1 is; one that
// speaks nothing else is a fault that passes, before anything is sent.
func TestHTTP2IsNotSpoken(t *testing.T) {
	t.Parallel()
	var others atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 {
			others.Add(1)
		}
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	if next := server.TLS.NextProtos; len(next) == 0 || next[0] != "h2" {
		t.Fatalf("the server offers %v", next)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	client := newClient(t, Options{BaseURL: server.URL, ApplicationID: "app", CA: ca})
	for _, size := range []int{0, 10, 3 << 20} {
		if err := client.Push(background(), aContract(), "token", newUpload(pattern(size)).Upload); err != nil || others.Load() != 0 {
			t.Errorf("%d bytes: %v, %d requests by HTTP/2", size, err, others.Load())
		}
	}

	ours := newAuthority(t)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{NextProtos: []string{"h2"}, Certificates: []tls.Certificate{*ours.sign("127.0.0.1", time.Hour)}})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			// SETTINGS, then GOAWAY, as a server that is shutting down says.
			_, _ = conn.Write([]byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
			conn.Close()
		}
	}()
	only := newClient(t, Options{BaseURL: "https://" + listener.Addr().String(), ApplicationID: "app", CA: ours.pem()})
	u := newUpload(pattern(3 << 20))
	if e := wantError(t, only.Push(background(), aContract(), "token", u.Upload), Passing); !e.Host || e.Doubt {
		t.Errorf("a server of HTTP/2 alone: %+v", e)
	}
}

// 100-continue that never comes, or comes late, delays a body by a second and
// no more.
func TestLeaveThatComesLateOrNever(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]time.Duration{"never": 0, "late": 1500 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := rawServer(t, func(conn net.Conn, req *http.Request) {
				if late > 0 {
					<-time.After(late)
					fmt.Fprint(conn, "HTTP/1.1 100 Continue\r\n\r\n")
				}
				_, _ = io.Copy(io.Discard, req.Body)
				fmt.Fprint(conn, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			})
			client := newClient(t, Options{BaseURL: base, ApplicationID: "app"})
			began := time.Now()
			if err := client.Push(background(), aContract(), "token", newUpload(pattern(3<<20)).Upload); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took < expectTimeout || took > expectTimeout+time.Minute {
				t.Errorf("took %s", took)
			}
		})
	}
}
