package digime

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
)

// testKey is made once: making RSA keys is slow.
var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// lockedBuffer takes logs from many goroutines.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// rig is a client with the strict sandbox as its API, and one user's token.
type rig struct {
	*Client
	sandbox  *sandbox.Server
	contract Contract
	token    Token
	log      *lockedBuffer
}

func newRig(t testing.TB, change ...func(*Options)) *rig {
	t.Helper()
	box, err := sandbox.New(sandbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(box)
	t.Cleanup(server.Close)
	t.Cleanup(box.Close)
	r := &rig{sandbox: box, contract: Contract{ID: "writer", Key: testKey(), RedirectURI: "http://localhost:1/callback"}, log: new(lockedBuffer)}
	box.AddContract("write", r.contract.ID, &testKey().PublicKey, r.contract.RedirectURI)
	o := Options{
		BaseURL: box.BaseURL(server.URL), LegacyBaseURL: box.LegacyBaseURL(server.URL), OnboardURL: box.OnboardURL(server.URL), ApplicationID: box.ApplicationID,
		Log: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&o)
	}
	r.Client = newClient(t, o)
	r.token = r.newUser(t)
	return r
}

func (r *rig) newUser(t testing.TB) Token {
	t.Helper()
	token, err := ParseToken(r.sandbox.NewUser(r.contract.ID, time.Hour, 24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func newClient(t testing.TB, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.transport.CloseIdleConnections)
	return c
}

// serve is a client whose API is the handler: for what the sandbox cannot do.
func serve(t testing.TB, h http.HandlerFunc, change ...func(*Options)) *Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	o := Options{BaseURL: server.URL + "/v1.7/", LegacyBaseURL: server.URL + "/v1.6/", ApplicationID: "app"}
	for _, f := range change {
		f(&o)
	}
	return newClient(t, o)
}

func stall(d time.Duration) func(*Options) { return func(o *Options) { o.Stall = d } }

// unhurried attempts something with a short stall, and with longer and longer
// ones where that did not show what it should: on a machine that is busy with
// other things the test itself may come to a halt for as long as a stall lasts.
func unhurried(t *testing.T, stall time.Duration, attempt func(stall time.Duration) error) {
	t.Helper()
	var err error
	for ; stall < time.Minute; stall *= 5 {
		if err = attempt(stall); err == nil {
			return
		}
	}
	t.Error(err)
}

// patient has a client wait for leave to send a big body as long as it takes:
// what came of the refusal is what the test is about, not who was quicker.
func patient(c *Client) *Client {
	c.transport.ExpectContinueTimeout = time.Minute
	return c
}

var testContract = Contract{ID: "contract", Key: nil}

func aContract() Contract {
	k := testContract
	k.Key = testKey()
	return k
}

// upload is a file in memory, counting what happens to it.
type upload struct {
	Upload
	content  []byte // what Open gives; the hash is of what was given to newUpload
	released int
	opened   int
	closed   int
	mu       sync.Mutex
}

func newUpload(content []byte) *upload {
	u := &upload{content: content}
	u.Upload = Upload{
		Descriptor: Descriptor{MimeType: "application/pdf", Accounts: []Account{{AccountID: "P-1"}}},
		Size:       int64(len(content)), SHA256: sha256.Sum256(content),
	}
	u.Open = func() (io.ReadCloser, error) {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.opened++
		return &countedSource{Reader: bytes.NewReader(u.content), u: u}, nil
	}
	u.Release = func() error {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.released++
		return nil
	}
	return u
}

type countedSource struct {
	io.Reader
	u *upload
}

func (s *countedSource) Close() error {
	s.u.mu.Lock()
	defer s.u.mu.Unlock()
	s.u.closed++
	return nil
}

func (u *upload) counts() (opened, closed, released int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.opened, u.closed, u.released
}

func pattern(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i>>8 ^ i)
	}
	return data
}

// wantError checks the parts of an error that callers go by.
func wantError(t *testing.T, err error, class Class, words ...string) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v (%T), want a *Error of class %v", err, err, class)
	}
	if e.Class != class {
		t.Fatalf("class %v, want %v: %v", e.Class, class, err)
	}
	for _, w := range words {
		if !strings.Contains(e.Error(), w) {
			t.Errorf("%q does not say %q", e, w)
		}
	}
	return e
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func background() context.Context { return context.Background() }
