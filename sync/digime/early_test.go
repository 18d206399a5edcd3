package digime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
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
		client := patient(newClient(t, Options{BaseURL: base, ApplicationID: "app"}))
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

// bodyAsked tells when the client asks for the body of a refusal, whose header it
// knows by then.
type bodyAsked struct {
	net.Conn
	refused bool // only the one goroutine that reads looks at it
	asked   chan struct{}
}

func (c *bodyAsked) Read(p []byte) (int, error) {
	if c.refused {
		close(c.asked)
	}
	n, err := c.Conn.Read(p)
	c.refused = bytes.Contains(p[:n], []byte(" 422 "))
	return n, err
}

// While a refusal trickles in, the rest of the file stays here.
func TestBodyWaitsForSlowRefusal(t *testing.T) {
	complete, asked := make(chan bool, 1), make(chan struct{})
	base := rawServer(t, func(conn net.Conn, req *http.Request) {
		fmt.Fprint(conn, "HTTP/1.1 100 Continue\r\n\r\n")
		_, _ = io.CopyN(io.Discard, req.Body, 100)
		fmt.Fprint(conn, "HTTP/1.1 422 Unprocessable\r\nContent-Length: 2\r\n\r\n")
		<-asked // meanwhile the file fills the system's buffers, and does not fit into them
		_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		_, err := io.Copy(io.Discard, req.Body)
		complete <- err == nil
		fmt.Fprint(conn, "{}")
	})
	client := newClient(t, Options{BaseURL: base, ApplicationID: "app"})
	client.transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialCounted(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return newCountedConn(&bodyAsked{Conn: conn, asked: asked}), nil
	}
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

// There is a doubt only when the last byte of the body has left. All that is
// variable in a push has a fixed length.
func TestDoubtIsExact(t *testing.T) { synctest.Test(t, testDoubtIsExact) }

func testDoubtIsExact(t *testing.T) {
	for name, push := range ways {
		for _, size := range []int64{1, 100, LastChunk, LastChunk + 1, 200_000} {
			attempt := func(takes int64) (written int64, e *Error, released int) {
				client := newClient(t, Options{BaseURL: "http://localhost/", LegacyBaseURL: "http://localhost/", ApplicationID: "app", Stall: 300 * time.Millisecond})
				conn := newCountedConn(&tornConn{takes: takes, dead: make(chan struct{})})
				client.transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return conn, nil }
				u := newUpload(pattern(int(size)))
				e = wantError(t, push(client, background(), aContract(), "token", u.Upload), Passing)
				_, _, released = u.counts()
				return conn.written.Load(), e, released
			}
			all, e, released := attempt(math.MaxInt64)
			if !e.Doubt || released != 1 || all <= size {
				t.Errorf("%s, %d bytes, all taken: doubt %v, released %d times: %v", name, size, e.Doubt, released, e)
			}
			for _, short := range []int64{1, size} { // bytes that are not taken
				if _, e, _ := attempt(all - short); e.Doubt {
					t.Errorf("%s, %d bytes, %d not taken: %v", name, size, short, e)
				}
			}
		}
	}
}

// lateWriter tells of what it wrote only a while after the other side has answered.
type lateWriter struct {
	net.Conn
	answered chan struct{}
	once     sync.Once
}

func (c *lateWriter) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.once.Do(func() { close(c.answered) })
	return n, err
}

func (c *lateWriter) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if bytes.HasSuffix(p, []byte("the end")) {
		<-c.answered
		<-time.After(100 * time.Millisecond)
	}
	return n, err
}

// The network may carry the last piece, and what is no answer come, before the write
// that gave it to the network returns: the file may have arrived.
func TestWriteThatReturnsLate(t *testing.T) {
	base := rawServer(t, func(conn net.Conn, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		fmt.Fprint(conn, "HTTP/1.1 099 X\r\n\r\n")
	})
	client := newClient(t, Options{BaseURL: base, ApplicationID: "app"})
	client.transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return newCountedConn(&lateWriter{Conn: conn, answered: make(chan struct{})}), nil
	}
	u := newUpload([]byte("a report to the end"))
	if e := wantError(t, client.Push(background(), aContract(), "token", u.Upload), Passing); !e.Doubt {
		t.Errorf("no doubt: %+v", e)
	}
}
