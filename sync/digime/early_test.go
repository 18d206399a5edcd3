package digime

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// A refusal that leaves the connection open: Go's transport would send the
// body then, for nothing.
func TestEarlyRefusalOnOpenConnection(t *testing.T) {
	for range 20 {
		base := rawServer(t, func(conn net.Conn, _ *http.Request) {
			fmt.Fprint(conn, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}")
			_, _ = io.Copy(io.Discard, conn)
		})
		client := newClient(t, Options{BaseURL: base, ApplicationID: "app"})
		var read atomic.Int64
		u := newUpload(pattern(3 << 20))
		open := u.Open
		u.Open = func() (io.ReadCloser, error) {
			src, err := open()
			return countingSource{src, &read}, err
		}
		wantError(t, client.Push(background(), aContract(), "token", u.Upload), TokenExpired)
		if read.Load() != 0 {
			t.Fatalf("%d bytes of the file were read", read.Load())
		}
	}
}

// While a refusal trickles in, the rest of the file stays here.
func TestBodyWaitsForSlowRefusal(t *testing.T) {
	complete := make(chan bool, 1)
	base := rawServer(t, func(conn net.Conn, req *http.Request) {
		fmt.Fprint(conn, "HTTP/1.1 100 Continue\r\n\r\n")
		_, _ = io.CopyN(io.Discard, req.Body, 100)
		fmt.Fprint(conn, "HTTP/1.1 422 Unprocessable\r\nContent-Length: 2\r\n\r\n")
		_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		_, err := io.Copy(io.Discard, req.Body)
		complete <- err == nil
		fmt.Fprint(conn, "{}")
	})
	client := newClient(t, Options{BaseURL: base, ApplicationID: "app"})
	u := newUpload(pattern(32 << 20))
	wantError(t, client.Push(background(), aContract(), "token", u.Upload), Refused)
	if _, _, released := u.counts(); released != 0 || <-complete {
		t.Errorf("the file went on: released %d times", released)
	}
}

// tornConn takes only so much, then breaks.
type tornConn struct {
	net.Conn
	takes int64
	dead  chan struct{}
}

func (c *tornConn) Write(p []byte) (int, error) {
	n := min(int64(len(p)), c.takes)
	c.takes -= n
	if n < int64(len(p)) {
		return int(n), errors.New("torn")
	}
	return int(n), nil
}

func (c *tornConn) Read([]byte) (int, error) {
	<-c.dead
	return 0, io.EOF
}

func (c *tornConn) Close() error {
	select {
	case <-c.dead:
	default:
		close(c.dead)
	}
	return nil
}

// There is a doubt only when the last byte of the file has left.
func TestDoubtIsExact(t *testing.T) {
	for _, size := range []int64{1, 100, LastChunk, LastChunk + 1, 200_000} {
		for _, short := range []int64{0, 1, size} { // of the file's bytes are not taken
			client := newClient(t, Options{BaseURL: "http://localhost/", ApplicationID: "app", Stall: 300 * time.Millisecond})
			u := newUpload(pattern(int(size)))
			header := int64(0)
			client.transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
				return &countedConn{Conn: &tornConn{takes: header + size - short, dead: make(chan struct{})}}, nil
			}
			header = headerSize(t, client, u)
			e := wantError(t, client.Push(background(), aContract(), "token", u.Upload), Passing)
			if _, _, released := u.counts(); e.Doubt != (short == 0) || released == 0 && short == 0 {
				t.Errorf("%d bytes, %d not taken: doubt %v, released %d times: %v", size, short, e.Doubt, released, e)
			}
		}
	}
}

// headerSize is that of a push's request: all its variable parts have a fixed length.
func headerSize(t *testing.T, c *Client, u *upload) int64 {
	t.Helper()
	p := &pushing{c: c, contract: aContract(), access: "token", upload: u.Upload}
	b := newBody(background(), io.NopCloser(errReader{}), u.Upload, nil, func() {}, func(int) {})
	req, err := p.request(background(), b, false)
	if err != nil {
		t.Fatal(err)
	}
	var n counter
	w := bufio.NewWriter(&n)
	_ = req.Write(w) // breaks off at the body
	w.Flush()
	return int64(n)
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("no body") }

type counter int64

func (n *counter) Write(p []byte) (int, error) {
	*n += counter(len(p))
	return len(p), nil
}
