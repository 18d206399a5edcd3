package digime

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// Garbage in the place of an answer to a push whose body has arrived: what is
// no answer leaves a doubt, and what is one counts by its status, whatever
// becomes of its own body. None takes long or much.
func TestGarbageAfterTheBody(t *testing.T) {
	t.Parallel()
	head := "HTTP/1.1 200 OK\r\n"
	for name, c := range map[string]struct {
		answer string
		taken  bool
	}{
		"nothing":              {"", false},
		"not HTTP":             {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", false},
		"half a status line":   {"HTTP/1.1 2", false},
		"half a header":        {head + "Content-Le", false},
		"a header of 1 MiB":    {head + "X-A: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", false},
		"a broken header":      {head + "no colon\r\n\r\n", false},
		"a strange version":    {"HTTP/7.3 200 OK\r\n\r\n", true},
		"status 99":            {"HTTP/1.1 99 No\r\n\r\n", false},
		"status -200":          {"HTTP/1.1 -200 OK\r\n\r\n", false},
		"two lengths":          {head + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", false},
		"a negative length":    {head + "Content-Length: -1\r\n\r\n", false},
		"HTTP/2 frames":        {"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", false},
		"length too large":     {head + "Content-Length: 100\r\n\r\nshort", true},
		"length too small":     {head + "Content-Length: 1\r\n\r\nfar too long", true},
		"a huge length":        {head + "Content-Length: 9223372036854775807\r\n\r\n", true},
		"a broken chunk":       {head + "Transfer-Encoding: chunked\r\n\r\nZZZ\r\n", true},
		"another type":         {head + "Content-Type: application/x-nothing\r\n\r\nwhat", true},
		"compressed nonsense":  {head + "Content-Encoding: gzip\r\n\r\nthis is not gzip", true},
		"a compressed bomb":    {head + "Content-Encoding: gzip\r\n\r\n" + bomb(64<<20), true},
		"a page":               {head + "Content-Type: text/html\r\n\r\n<html>", false},
		"a page without type":  {head + "\r\n\n <!DOCTYPE html><html>log in", false},
		"a page of other type": {head + "Content-Type: application/json\r\n\r\n<html>log in", false},
	} {
		page := strings.HasPrefix(name, "a page")
		for _, size := range []int{10, 200_000} {
			base := rawServer(t, func(conn net.Conn, req *http.Request) {
				_, _ = io.Copy(io.Discard, req.Body)
				fmt.Fprint(conn, c.answer)
			})
			client := newClient(t, Options{BaseURL: base, ApplicationID: "app"})
			began := time.Now()
			err := client.Push(background(), aContract(), "token", newUpload(pattern(size)).Upload)
			if took := time.Since(began); took >= answerTime {
				t.Errorf("%s took %s", name, took)
			}
			if c.taken {
				if err != nil {
					t.Errorf("%s, %d bytes: a success was lost: %v", name, size, err)
				}
				continue
			}
			if err == nil {
				t.Errorf("%s, %d bytes: taken for a success", name, size)
				continue
			}
			if e := wantError(t, err, Passing); e.Doubt == page || !e.Host {
				t.Errorf("%s, %d bytes: doubt %v, host %v: %v", name, size, e.Doubt, e.Host, e)
			}
		}
	}
}

func bomb(size int) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(make([]byte, size)) // to memory
	_ = z.Close()
	return b.String()
}

// The same in the middle of the body is never a doubt: the last chunk stays here.
func TestGarbageDuringTheBody(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"closed":          "",
		"not HTTP":        "\x00\x01\x02\x03\r\n\r\n",
		"half an answer":  "HTTP/1.1 200 OK\r\nContent-Le",
		"a success":       "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		"HTTP/2's GOAWAY": "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			over := make(chan struct{})
			base := rawServer(t, func(conn net.Conn, req *http.Request) {
				_, _ = io.CopyN(io.Discard, req.Body, 100_000)
				fmt.Fprint(conn, answer)
				_ = conn.(*net.TCPConn).CloseWrite()
				<-over // what is not read stays in the system's buffers, and does not fit into them
			})
			defer close(over)
			client := newClient(t, Options{BaseURL: base, ApplicationID: "app"})
			u := newUpload(pattern(32 << 20))
			e := wantError(t, client.Push(background(), aContract(), "token", u.Upload), Passing)
			if _, _, released := u.counts(); e.Doubt || released != 0 || !e.Host {
				t.Errorf("released %d times: %+v", released, e)
			}
		})
	}
}

// A success that comes while the last chunk is still here is none: also where
// the whole file is one chunk, and the transport has taken it.
func TestSuccessBeforeTheLastChunkHasLeft(t *testing.T) {
	t.Parallel()
	for _, size := range []int{LastChunk / 2, LastChunk} {
		base := rawServer(t, func(conn net.Conn, _ *http.Request) {
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
			<-time.After(300 * time.Millisecond)
			fmt.Fprint(conn, "{}")
			<-time.After(gateTime)
		})
		client := newClient(t, Options{BaseURL: base, ApplicationID: "app"})
		client.transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialCounted(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return newCountedConn(&narrow{conn, 8 << 10}), nil
		}
		e := wantError(t, client.Push(background(), aContract(), "token", newUpload(pattern(size)).Upload), Passing, "before the whole file")
		if e.Doubt || e.Status != 200 {
			t.Errorf("%d bytes: %+v", size, e)
		}
	}
}

// narrow takes so many bytes, then none until it is closed.
type narrow struct {
	net.Conn
	takes int
}

func (c *narrow) Write(p []byte) (int, error) {
	n := min(len(p), c.takes)
	c.takes -= n
	if n > 0 {
		if n, err := c.Conn.Write(p[:n]); err != nil {
			return n, err
		}
	}
	if n == len(p) {
		return n, nil
	}
	for { // a read deadline of the past, or a close, ends it
		if _, err := c.Conn.Write(nil); err != nil {
			return n, err
		}
		if c.closed() {
			return n, os.ErrDeadlineExceeded
		}
		<-time.After(10 * time.Millisecond)
	}
}

func (c *narrow) closed() bool { return c.Conn.SetWriteDeadline(time.Time{}) != nil }

// Answers that come compressed although nobody asked for it are read, within
// the bounds of others.
func TestCompressedAnswers(t *testing.T) {
	t.Parallel()
	s := newService(t)
	plainly := s.Client
	compress := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			h(rec, r)
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(rec.Code)
			z := gzip.NewWriter(w)
			_, _ = z.Write(rec.Body.Bytes())
			_ = z.Close()
		}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "jwks/oauth") {
			compress(s.answerKeys)(w, r)
			return
		}
		compress(s.answerToken)(w, r)
	}))
	defer server.Close()
	s.header["jku"] = server.URL + "/v1.7/jwks/oauth"
	c := newClient(t, Options{BaseURL: server.URL + "/v1.7", ApplicationID: "app"})
	if got, err := c.Refresh(background(), aContract(), oldToken(), nil, nil); err != nil || got.Access.Value != "new-access" {
		t.Errorf("%v, %v", got, err)
	}
	s.header["jku"] = s.root + "/v1.7/jwks/oauth"
	s.tokenDo = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = io.WriteString(w, bomb(64<<20))
	})
	_, err := plainly.Refresh(background(), aContract(), oldToken(), nil, nil)
	if e := wantError(t, err, Passing, "does not end"); !e.Lost {
		t.Errorf("a bomb in the place of a token: %+v", e)
	}
}

// A portal answers everything with its page, or sends everybody to its login:
// nothing is delivered by that and no consent ends.
func TestCaptivePortal(t *testing.T) {
	t.Parallel()
	page := "<html><body>Welcome to our network, please <a href=/login>log in</a>"
	for name, portal := range map[string]http.HandlerFunc{
		"page": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, page) },
		"page as text": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprint(w, page)
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://login.example/?from=digi.me", http.StatusFound)
		},
		"own redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) },
		"511": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(511)
		},
		"long wait": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "86400")
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, page)
		},
	} {
		swallows := func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			portal(w, r)
		}
		s := newService(t)
		s.tokenDo = http.HandlerFunc(swallows)
		c := serve(t, swallows)
		_, refreshed := s.Refresh(background(), aContract(), oldToken(), nil, nil)
		_, listed := c.Accounts(background(), aContract(), "token")
		for what, err := range map[string]error{
			"push":    c.Push(background(), aContract(), "token", newUpload(pattern(100)).Upload),
			"keys":    c.Reach(background()),
			"refresh": refreshed, "accounts": listed,
		} {
			if e := wantError(t, err, Passing); !e.Host || e.Doubt || e.Lost || e.RetryAfter != 0 {
				t.Errorf("%s, %s: %+v", name, what, e)
			}
		}
	}
}
