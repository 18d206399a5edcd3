package digime

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
)

func TestPushSizes(t *testing.T) {
	r := newRig(t)
	for n, size := range []int{0, 1, LastChunk - 1, LastChunk, LastChunk + 1, expectAbove, expectAbove + 1, 5<<20 + 3} {
		u := newUpload(pattern(size))
		if err := r.Push(background(), r.contract, r.token.Access.Value, u.Upload); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		got := r.sandbox.Deliveries()
		if len(got) != n+1 {
			t.Fatalf("%d bytes: %d deliveries, want %d", size, len(got), n+1)
		}
		if d := got[n]; d.SHA256 != hex.EncodeToString(u.SHA256[:]) || d.Size != u.Size || d.User != r.token.UserID || d.Kind != "library" {
			t.Errorf("%d bytes: delivered %+v", size, d)
		}
		if opened, closed, released := u.counts(); opened != 1 || closed != 1 || released != 1 {
			t.Errorf("%d bytes: opened %d, closed %d, released %d times", size, opened, closed, released)
		}
	}
}

func TestDescriptorIsSentAsGiven(t *testing.T) {
	r := newRig(t)
	u := newUpload([]byte("x"))
	u.Descriptor = Descriptor{
		MimeType: "application/pdf", Accounts: []Account{{"P-1"}, {"P-2"}}, Reference: []string{`Ä "b" <c> & d`}, Tags: []string{"lab"},
		ContractID: "c", AppID: "a", ProviderName: "p", ObjectTypes: []ObjectType{{Name: "n", References: []string{"r"}}, {Name: "m"}}, ServiceGroups: []int{1, 2},
	}
	bare := newUpload([]byte("y"))
	bare.Descriptor.Reference, bare.Descriptor.Tags = []string{}, nil
	for _, up := range []*upload{u, bare} {
		if err := r.Push(background(), r.contract, r.token.Access.Value, up.Upload); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		`{"mimeType":"application/pdf","accounts":[{"accountId":"P-1"},{"accountId":"P-2"}],"reference":["Ä \"b\" <c> & d"],"tags":["lab"],` +
			`"contractId":"c","appId":"a","providerName":"p","objectTypes":[{"name":"n","references":["r"]},{"name":"m"}],"serviceGroups":[1,2]}`,
		`{"mimeType":"application/pdf","accounts":[{"accountId":"P-1"}]}`,
	}
	for i, d := range r.sandbox.Deliveries() {
		if !sameJSON(t, d.Descriptor, []byte(want[i])) {
			t.Errorf("sent %s, want %s", d.Descriptor, want[i])
		}
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var texts [2]string
	for i, data := range [][]byte{a, b} {
		var v any
		if err := json.Unmarshal(data, &v); err != nil {
			t.Fatal(err)
		}
		text, _ := json.Marshal(v)
		texts[i] = string(text)
	}
	return texts[0] == texts[1]
}

func TestIncompleteDescriptorIsNotSent(t *testing.T) {
	r := newRig(t)
	for name, spoil := range map[string]func(*Descriptor){
		"mimeType":  func(d *Descriptor) { d.MimeType = " " },
		"accounts":  func(d *Descriptor) { d.Accounts = nil },
		"accountId": func(d *Descriptor) { d.Accounts = []Account{{"P-1"}, {""}} },
	} {
		u := newUpload([]byte("x"))
		spoil(&u.Descriptor)
		wantError(t, r.Push(background(), r.contract, r.token.Access.Value, u.Upload), Refused, name)
		if opened, _, _ := u.counts(); opened != 0 {
			t.Errorf("%s: the file was opened", name)
		}
	}
	wantError(t, r.Push(background(), Contract{ID: "x"}, "token", newUpload([]byte("x")).Upload), Configuration, "private key")
}

// The three fates of a push: taken, refused, and taken with the answer lost.
func TestFates(t *testing.T) {
	for _, size := range []int{0, 1, 100, LastChunk + 1, 3 << 20} {
		r := newRig(t)
		u := newUpload(pattern(size))
		push := func() error { return r.Push(background(), r.contract, r.token.Access.Value, u.Upload) }

		r.sandbox.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 503, RetryAfter: "7", AfterBody: true})
		e := wantError(t, push(), Passing)
		if e.Doubt || e.Status != 503 || e.RetryAfter != 7*time.Second {
			t.Errorf("%d bytes, refused: %+v", size, e)
		}
		if got := len(r.sandbox.Deliveries()); got != 0 {
			t.Errorf("%d bytes: %d deliveries after a refusal", size, got)
		}

		r.sandbox.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoLose})
		e = wantError(t, push(), Passing, "it may have arrived")
		if !e.Doubt || e.Status != 0 {
			t.Errorf("%d bytes, answer lost: %+v", size, e)
		}
		if got := len(r.sandbox.Deliveries()); got != 1 {
			t.Errorf("%d bytes: %d deliveries after a lost answer", size, got)
		}

		if err := push(); err != nil {
			t.Error(err)
		}
		if got := len(r.sandbox.Deliveries()); got != 2 {
			t.Errorf("%d bytes: %d deliveries in the end", size, got)
		}
	}
}

func TestConnectionsAreReused(t *testing.T) {
	var mu sync.Mutex
	peers := map[string]bool{}
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		peers[r.RemoteAddr] = true
		mu.Unlock()
		_, _ = io.Copy(io.Discard, r.Body)
		answerJSON(w, 200, struct{}{})
	})
	for _, size := range []int{10, LastChunk, expectAbove + 1, 10, 3 << 20, 0, 5} {
		if err := c.Push(background(), aContract(), "token", newUpload(pattern(size)).Upload); err != nil {
			t.Fatal(err)
		}
	}
	// Go gives a connection up whose writer has not said within 50 ms of the
	// answer that it is done, as may be on a busy machine.
	if len(peers) > 3 {
		t.Errorf("%d connections for seven pushes one after the other", len(peers))
	}
}

// The end of the caller's context is in doubt only once the last chunk has left.
func TestCancelledPush(t *testing.T) {
	t.Run("before release", func(t *testing.T) {
		ctx, cancel := context.WithCancel(background())
		server := newSink()
		client := serve(t, server.ServeHTTP)
		u := newUpload(pattern(200_000))
		u.Release = func() error { cancel(); return nil } // the last moment before it leaves
		if err := client.Push(ctx, aContract(), "token", u.Upload); err != context.Canceled {
			t.Errorf("got %v, want context.Canceled alone", err)
		}
		if server.complete != 0 {
			t.Error("the server has a complete body")
		}
	})
	t.Run("after the whole body", func(t *testing.T) {
		ctx, cancel := context.WithCancel(background())
		client := serve(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			cancel()
			<-r.Context().Done()
		})
		err := client.Push(ctx, aContract(), "token", newUpload(pattern(200_000)).Upload)
		if e := wantError(t, err, Passing, "may have arrived"); !e.Doubt || !errors.Is(err, context.Canceled) {
			t.Errorf("got %+v", e)
		}
	})
	t.Run("from the start", func(t *testing.T) {
		ctx, cancel := context.WithCancel(background())
		cancel()
		u := newUpload(pattern(10))
		if err := serve(t, newSink().ServeHTTP).Push(ctx, aContract(), "token", u.Upload); err != context.Canceled {
			t.Errorf("got %v", err)
		}
		if opened, _, _ := u.counts(); opened != 0 {
			t.Error("the file was opened")
		}
	})
	t.Run("success that is cancelled while its body is read", func(t *testing.T) {
		ctx, cancel := context.WithCancel(background())
		defer cancel()
		unhurried(t, time.Second, func(d time.Duration) error {
			client := serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Content-Length", "1000")
				w.WriteHeader(200)
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}, stall(d))
			return client.Push(ctx, aContract(), "token", newUpload(pattern(10)).Upload)
		})
	})
}

// Early answers cost nothing where leave was asked for, and are honoured
// where the body is already under way.
func TestEarlyAnswers(t *testing.T) {
	t.Run("401 to 64 MiB", func(t *testing.T) {
		r := newRig(t)
		patient(r.Client)
		r.sandbox.ExpireAccess(r.token.UserID)
		u := newUpload(pattern(64 << 20))
		var read atomic.Int64
		open := u.Open
		u.Open = func() (io.ReadCloser, error) {
			src, err := open()
			return countingSource{src, &read}, err
		}
		wantError(t, r.Push(background(), r.contract, r.token.Access.Value, u.Upload), TokenExpired, "InvalidToken")
		if read.Load() != 0 {
			t.Errorf("%d bytes of the file were read", read.Load())
		}
		if _, closed, released := u.counts(); closed != 1 || released != 0 {
			t.Errorf("closed %d, released %d times", closed, released)
		}
	})
	t.Run("413 in the middle", func(t *testing.T) {
		over := make(chan struct{})
		client := serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.CopyN(io.Discard, r.Body, 100_000)
			text := `{"error":{"code":"TooLarge","message":"at most 1 MB"}}`
			w.Header().Set("Content-Length", fmt.Sprint(len(text)))
			w.WriteHeader(413)
			fmt.Fprint(w, text)
			_ = http.NewResponseController(w).Flush()
			<-over // a server of Go's resets the connection half a second later
		})
		defer close(over)
		wantError(t, client.Push(background(), aContract(), "token", newUpload(pattern(expectAbove)).Upload), Refused, "413", "TooLarge", "at most 1 MB")
	})
	t.Run("2xx before the end is no success", func(t *testing.T) {
		for _, size := range []int{LastChunk, LastChunk + 1, expectAbove, 3 << 20} {
			client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Connection", "close")
				answerJSON(w, 200, struct{}{})
			})
			u := newUpload(pattern(size))
			u.Open = func() (io.ReadCloser, error) { return &slowSource{closed: make(chan struct{})}, nil }
			e := wantError(t, client.Push(background(), aContract(), "token", u.Upload), Passing, "before the whole file")
			if _, _, released := u.counts(); released != 0 || e.Doubt || e.Status != 200 {
				t.Errorf("%d bytes: released %d times, %+v", size, released, e)
			}
		}
	})
}

type countingSource struct {
	io.ReadCloser
	n *atomic.Int64
}

func (s countingSource) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.n.Add(int64(n))
	return n, err
}

// slowSource gives nothing until it is closed.
type slowSource struct {
	once   sync.Once
	closed chan struct{}
}

func (s *slowSource) Read([]byte) (int, error) {
	<-s.closed
	return 0, fs.ErrClosed
}

func (s *slowSource) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func TestExpectationFailed(t *testing.T) {
	for name, after := range map[string]bool{"before the body": false, "after it": true} {
		t.Run(name, func(t *testing.T) { testExpectationFailed(t, after) })
	}
}

func testExpectationFailed(t *testing.T, afterBody bool) {
	var seen []string
	client := patient(serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Expect")+"|"+r.Header.Get("Authorization"))
		if r.Header.Get("Expect") != "" {
			if afterBody {
				_, _ = io.Copy(io.Discard, r.Body)
			}
			w.WriteHeader(http.StatusExpectationFailed)
			return
		}
		newSink().ServeHTTP(w, r)
	}))
	u := newUpload(pattern(3 << 20))
	if err := client.Push(background(), aContract(), "token", u.Upload); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 2 || !strings.HasPrefix(seen[0], "100-continue|") || !strings.HasPrefix(seen[1], "|") || seen[0][13:] == seen[1][1:] {
		t.Errorf("requests: %d, expectation or signature wrong", len(seen))
	}
	if opened, closed, released := u.counts(); opened != 2 || closed != 2 || released != 1 {
		t.Errorf("opened %d, closed %d, released %d times", opened, closed, released)
	}
}

// What the wire looks like: one Content-Length, no idempotency header, nothing chunked.
func TestPushHeaders(t *testing.T) {
	for _, size := range []int{0, 10, 3 << 20} {
		var got *http.Request
		client := serve(t, func(w http.ResponseWriter, r *http.Request) {
			got = r.Clone(background())
			newSink().ServeHTTP(w, r)
		})
		if err := client.Push(background(), aContract(), "token", newUpload(pattern(size)).Upload); err != nil {
			t.Fatal(err)
		}
		if got.ContentLength != int64(size) || len(got.TransferEncoding) != 0 || got.ProtoMajor != 1 || got.URL.Path != "/v1.7/permission-access/import" {
			t.Errorf("%d bytes: length %d, encoding %v, %s, %s", size, got.ContentLength, got.TransferEncoding, got.Proto, got.URL.Path)
		}
		for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key", "Cookie", "Accept-Encoding"} {
			if got.Header.Get(name) != "" {
				t.Errorf("%d bytes: header %s is sent", size, name)
			}
		}
		if got.Header.Get("Content-Type") != "application/octet-stream" || got.Header.Get("User-Agent") != "digime-sync" {
			t.Errorf("%d bytes: %v", size, got.Header)
		}
		if expects := got.Header.Get("Expect") != ""; expects != (size > expectAbove) {
			t.Errorf("%d bytes: expects %v", size, expects)
		}
	}
}

func TestEveryAttemptIsSignedAnew(t *testing.T) {
	r := newRig(t)
	r.sandbox.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoLose, Count: 20})
	u := newUpload([]byte("x"))
	for range 20 {
		wantError(t, r.Push(background(), r.contract, r.token.Access.Value, u.Upload), Passing)
	}
	nonces := map[string]bool{}
	for _, d := range r.sandbox.Deliveries() {
		nonces[d.Nonce] = true
	}
	if len(nonces) != 20 {
		t.Errorf("%d nonces for 20 attempts", len(nonces))
	}
}
