package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// soon bounds every wait for a fact, as patience does.
const soon = patience

// controlHTTP serves handler over the control channel of a state directory and
// returns a client of it. Both are closed with the test.
func controlHTTP(t *testing.T, stateDir string, handler http.Handler) *http.Client {
	t.Helper()
	l, err := listenControl(stateDir)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("close server: %v", err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return controlClient(t, stateDir)
}

func controlClient(t *testing.T, stateDir string) *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialControl(ctx, stateDir)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// askControl returns the body of an answer with status 200.
func askControl(ctx context.Context, client *http.Client, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://daemon"+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s: %s", resp.Status, body)
	}
	return string(body), err
}

func echoPath(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) }

func TestControlAnswersManyAtOnce(t *testing.T) {
	client := controlHTTP(t, t.TempDir(), http.HandlerFunc(echoPath))
	var clients sync.WaitGroup
	for i := range 40 {
		clients.Go(func() {
			for j := range 5 { // on the same connections, once they are idle
				path := fmt.Sprintf("/%d/%d", i, j)
				if got, err := askControl(t.Context(), client, path); err != nil || got != path {
					t.Errorf("GET %s: %q, %v", path, got, err)
				}
			}
		})
	}
	clients.Wait()
}

func TestControlStreamsBothWays(t *testing.T) {
	const size = 32 << 20
	client := controlHTTP(t, t.TempDir(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body) // the client notices a short answer
	}))
	sent, got := sha256.New(), sha256.New()
	block := make([]byte, 1<<16)
	for i := range block {
		block[i] = byte(i * 7)
	}
	body := io.TeeReader(io.LimitReader(&endless{block: block}, size), sent)
	resp, err := client.Post("http://daemon/", "application/octet-stream", body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(got, resp.Body); err != nil || n != size {
		t.Fatalf("%d of %d bytes came back: %v", n, size, err)
	}
	if !slices.Equal(sent.Sum(nil), got.Sum(nil)) {
		t.Error("other bytes came back than were sent")
	}
}

// endless repeats a block.
type endless struct {
	block []byte
	at    int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.block[e.at:])
	e.at = (e.at + n) % len(e.block)
	return n, nil
}

// net/http looks ahead for the next request while it answers one, and breaks
// that off by a deadline in the past. An error it does not take for a timeout
// would cancel the contexts of all later requests of the connection.
func TestControlKeepsItsConnection(t *testing.T) {
	dir := t.TempDir()
	controlHTTP(t, dir, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.Context().Err(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	var dials atomic.Int32
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		dials.Add(1)
		return dialControl(ctx, dir)
	}}
	defer transport.CloseIdleConnections()
	for range 5 {
		if _, err := askControl(t.Context(), &http.Client{Transport: transport}, "/"); err != nil {
			t.Error(err)
		}
	}
	if n := dials.Load(); n != 1 {
		t.Errorf("five requests one after the other took %d connections", n)
	}
}

func TestControlHandlerNoticesThatTheClientHasGone(t *testing.T) {
	arrived, gone := make(chan struct{}), make(chan struct{})
	client := controlHTTP(t, t.TempDir(), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(gone)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := askControl(ctx, client, "/")
		failed <- err
	}()
	within(t, arrived, "the request arrives")
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("the client got %v", err)
	}
	within(t, gone, "the handler learns that its client has gone")
}

func TestControlServerClosesWhileAClientWaits(t *testing.T) {
	dir := t.TempDir()
	l, err := listenControl(dir)
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})}
	go func() { _ = server.Serve(l) }() // that it ends is what the client's error shows
	failed := make(chan error, 1)
	go func() {
		_, err := askControl(t.Context(), controlClient(t, dir), "/")
		failed <- err
	}()
	within(t, arrived, "the request arrives")
	if err := server.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	select {
	case err := <-failed:
		if err == nil {
			t.Error("the client got an answer from a closed server")
		}
	case <-time.After(soon):
		t.Fatal("the client still waits for a closed server")
	}
	if _, err := dialControl(t.Context(), dir); !errors.Is(err, errNoDaemon) {
		t.Errorf("dial after close: %v", err)
	}
}

func TestControlCloseEndsAccept(t *testing.T) {
	dir := t.TempDir()
	l, err := listenControl(dir)
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan error, 1)
	go func() {
		for {
			if _, err := l.Accept(); err != nil {
				accepted <- err
				return
			}
		}
	}()
	conn, err := dialControl(t.Context(), dir) // Accept waits again after this
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Errorf("close connection: %v", err)
	}
	select {
	case err := <-accepted:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept: %v", err)
		}
	case <-time.After(soon):
		t.Fatal("accept still waits after close")
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after close: %v", err)
	}

	next, err := listenControl(dir)
	if err != nil {
		t.Fatalf("listen again: %v", err)
	}
	defer next.Close()
	if err := l.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second close: %v", err)
	}
	conn, err = dialControl(t.Context(), dir)
	if err != nil {
		t.Fatalf("the second close took the next listener away: %v", err)
	}
	_ = conn.Close()
}

func TestControlDeadlines(t *testing.T) {
	dir := t.TempDir()
	l, err := listenControl(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := dialControl(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()

	read := make(chan error, 1)
	go func() {
		_, err := server.Read(make([]byte, 1))
		read <- err
	}()
	if err := server.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	var netErr net.Error
	if err := <-read; !errors.As(err, &netErr) || !netErr.Timeout() {
		t.Errorf("read past its deadline: %v", err)
	}
	if err := server.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write([]byte("later")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(server, got); err != nil || string(got) != "later" {
		t.Errorf("read after the deadline was lifted: %q, %v", got, err)
	}
	// What was written before a close arrives, then the end.
	if _, err := server.Write([]byte("bye")); err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(client); err != nil || string(got) != "bye" {
		t.Errorf("read after the other end closed: %q, %v", got, err)
	}
	if _, err := server.Read(got); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read from a closed connection: %v", err)
	}
}

func TestControlWithoutDaemon(t *testing.T) {
	dir := t.TempDir()
	for _, dir := range []string{dir, filepath.Join(dir, "missing"), filepath.Join(dir, strings.Repeat("long", 50))} {
		conn, err := dialControl(t.Context(), dir)
		if !errors.Is(err, errNoDaemon) {
			t.Errorf("dial %s: %v, %v", dir, conn, err)
		}
	}
}

// refuseSecondListener is a test; in Wine it cannot hold.
func refuseSecondListener(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	client := controlHTTP(t, dir, http.HandlerFunc(echoPath))
	if l, err := listenControl(dir); err == nil {
		_ = l.Close()
		t.Fatal("two daemons listen")
	}
	if got, err := askControl(t.Context(), client, "/still"); err != nil || got != "/still" {
		t.Errorf("the first listener after the second's attempt: %q, %v", got, err)
	}
}

func TestControlAfterAKilledDaemon(t *testing.T) {
	dir := t.TempDir()
	cmd := startChild(t, "listen", dir)
	if got, err := askControl(t.Context(), controlClient(t, dir), "/alive"); err != nil || got != "/alive" {
		t.Fatalf("ask the child: %q, %v", got, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if _, err := dialControl(t.Context(), dir); !errors.Is(err, errNoDaemon) {
		t.Errorf("dial a killed daemon: %v", err)
	}
	client := controlHTTP(t, dir, http.HandlerFunc(echoPath))
	if got, err := askControl(t.Context(), client, "/again"); err != nil || got != "/again" {
		t.Errorf("ask the next daemon: %q, %v", got, err)
	}
}

// A daemon that hangs keeps nobody waiting who only asks how it stands.
func TestDaemonThatDoesNotAnswer(t *testing.T) {
	dir := t.TempDir()
	controlHTTP(t, dir, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	err := askSoon(t.Context(), 50*time.Millisecond, dir, "/health", nil, &heartbeat{})
	if !errors.Is(err, errHangs) || !strings.Contains(explain(err).hint, "service restart") {
		t.Errorf("a daemon that hangs: %v", err)
	}
}
