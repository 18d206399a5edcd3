package digime

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// sink is an API that keeps what arrives of a body, however it ends.
type sink struct {
	mu       sync.Mutex
	received int64
	complete int
	done     chan struct{} // one value for each request that has ended
}

func newSink() *sink { return &sink{done: make(chan struct{}, 100)} }

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	s.mu.Lock()
	s.received += n
	if err == nil && n == r.ContentLength {
		s.complete++
	}
	s.mu.Unlock()
	s.done <- struct{}{}
	answerJSON(w, 200, struct{}{})
}

// brokenSource gives some bytes, then an error.
type brokenSource struct {
	io.Reader
	err error
}

func (s brokenSource) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = s.err
	}
	return n, err
}

func (brokenSource) Close() error { return nil }

// A file that is not what was hashed is never complete at the server, and
// nobody is told that its last chunk may leave.
func TestChangedFileIsNeverComplete(t *testing.T) {
	flip := func(data []byte, at int) []byte {
		data = bytes.Clone(data)
		data[at] ^= 1
		return data
	}
	for _, size := range []int{1, 100, LastChunk, LastChunk + 1, 200_000, 3 << 20} {
		good := pattern(size)
		for name, c := range map[string]struct {
			content []byte
			words   string
		}{
			"grown":           {append(bytes.Clone(good), 'x'), "longer"},
			"shrunk":          {good[:size-1], "shorter"},
			"emptied":         {nil, "shorter"},
			"halved":          {good[:size/2], "shorter"},
			"changed at head": {flip(good, 0), "content"},
			"changed at end":  {flip(good, size-1), "content"},
		} {
			server := newSink()
			client := serve(t, server.ServeHTTP)
			u := newUpload(good)
			u.content = c.content
			e := wantError(t, client.Push(background(), aContract(), "token", u.Upload), Changed, c.words)
			if e.Doubt {
				t.Errorf("%d bytes, %s: in doubt", size, name)
			}
			client.transport.CloseIdleConnections()
			server.mu.Lock()
			if server.complete != 0 || server.received > int64(max(0, size-LastChunk)) {
				t.Errorf("%d bytes, %s: the server has %d bytes, %d complete", size, name, server.received, server.complete)
			}
			server.mu.Unlock()
			if _, closed, released := u.counts(); released != 0 || closed != 1 {
				t.Errorf("%d bytes, %s: released %d, closed %d times", size, name, released, closed)
			}
		}
	}
}

func TestUnreadableFile(t *testing.T) {
	server := newSink()
	client := serve(t, server.ServeHTTP)
	gone := newUpload(pattern(10))
	gone.Open = func() (io.ReadCloser, error) {
		return nil, &fs.PathError{Op: "open", Path: "/p/Miller.pdf", Err: fs.ErrNotExist}
	}
	err := client.Push(background(), aContract(), "token", gone.Upload)
	if wantError(t, err, Changed, "cannot be opened"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
	if strings.Contains(err.Error(), "Miller") {
		t.Errorf("%q names the file", err)
	}

	disk := errors.New("disk on fire")
	for _, at := range []int{0, 10, 150_000, 200_000} {
		u := newUpload(pattern(200_000))
		u.Open = func() (io.ReadCloser, error) { return brokenSource{bytes.NewReader(pattern(at)), disk}, nil }
		err := client.Push(background(), aContract(), "token", u.Upload)
		if wantError(t, err, Changed, "cannot be read"); !errors.Is(err, disk) {
			t.Errorf("%v does not hold the cause", err)
		}
	}
	if server.complete != 0 {
		t.Error("the server has a complete body")
	}
}

// A hash of nothing must fit an empty file, too.
func TestEmptyFileThatGrew(t *testing.T) {
	server := newSink()
	client := serve(t, server.ServeHTTP)
	u := newUpload(nil)
	u.content = []byte("x")
	wantError(t, client.Push(background(), aContract(), "token", u.Upload), Changed, "longer")
	if _, _, released := u.counts(); released != 0 || len(server.done) != 0 {
		t.Errorf("released %d times, %d requests", released, len(server.done))
	}
}

func TestReleaseBreaksOff(t *testing.T) {
	for _, size := range []int{0, 10, 200_000} {
		server := newSink()
		client := serve(t, server.ServeHTTP)
		full := errors.New("no space left")
		u := newUpload(pattern(size))
		u.Release = func() error { return full }
		err := client.Push(background(), aContract(), "token", u.Upload)
		var e *Error
		if !errors.Is(err, full) || errors.As(err, &e) {
			t.Errorf("%d bytes: got %v, want the error of release, bare of any class", size, err)
		}
		if server.complete != 0 {
			t.Errorf("%d bytes: the server has a complete body", size)
		}
	}
}
