package sandbox

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// testKey is the contracts' key of all tests: making one takes a noticeable part of a second.
var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, _, err := GenerateKey()
	if err != nil {
		panic(err)
	}
	return key
})

// rig is a sandbox behind a real listener, with a write contract and one user.
type rig struct {
	*Server
	t     *testing.T
	http  *httptest.Server
	user  string
	token sdkToken
}

type sdkToken struct {
	AccessToken  tokenPart `json:"accessToken"`
	RefreshToken tokenPart `json:"refreshToken"`
	User         struct {
		ID string `json:"id"`
	} `json:"user"`
	ConsentID string `json:"consentid"`
}

type tokenPart struct {
	Value  string `json:"value"`
	Expiry int64  `json:"expiry"`
}

const callback = "http://localhost:8421/callback"

func newRig(t *testing.T, opt Options) *rig {
	t.Helper()
	r := newEmptyRig(t, opt)
	r.token = parseToken(t, r.NewUser("write-1", time.Hour, 24*time.Hour))
	r.user = r.token.User.ID
	return r
}

// newEmptyRig is a rig without the user.
func newEmptyRig(t *testing.T, opt Options) *rig {
	t.Helper()
	s, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	s.AddContract(KindWrite, "write-1", &testKey().PublicKey, callback)
	s.AddContract(KindRead, "read-1", &testKey().PublicKey, callback)
	s.AddContract(KindPostbox, "post-1", &testKey().PublicKey, callback)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Cleanup(s.Close)
	return &rig{Server: s, t: t, http: server}
}

func parseToken(t *testing.T, data []byte) sdkToken {
	t.Helper()
	var out sdkToken
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// logOf is a log that waits, at each line with this message, until somebody takes it from the channel.
func logOf(message string) (*slog.Logger, <-chan struct{}) {
	seen := make(chan struct{})
	return slog.New(logWatch{slog.DiscardHandler, message, seen}), seen
}

type logWatch struct {
	slog.Handler
	message string
	seen    chan<- struct{}
}

func (l logWatch) Enabled(context.Context, slog.Level) bool { return true }

func (l logWatch) WithAttrs([]slog.Attr) slog.Handler { return l }

func (l logWatch) Handle(_ context.Context, r slog.Record) error {
	if r.Message == l.message {
		l.seen <- struct{}{}
	}
	return nil
}

// request is one to be sent, with the parts a test may want to spoil.
type request struct {
	method, url string
	header      http.Header
	body        io.Reader
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// failure is the answer's error, in the API's shape.
func (a answer) failure(t *testing.T) (code, message string) {
	t.Helper()
	var e struct {
		Error struct{ Code, Message, Reference string }
	}
	if err := json.Unmarshal(a.body, &e); err != nil || e.Error.Reference == "" {
		t.Fatalf("not an error of the API: %d %q", a.status, a.body)
	}
	if got := a.header.Get("X-Error-Code"); got != e.Error.Code {
		t.Errorf("X-Error-Code is %q, the body says %q", got, e.Error.Code)
	}
	return e.Error.Code, e.Error.Message
}

func (r *rig) send(q request) (answer, error) {
	req, err := http.NewRequest(q.method, q.url, q.body)
	if err != nil {
		r.t.Fatal(err)
	}
	maps.Copy(req.Header, q.header)
	res, err := r.http.Client().Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, body}, err
}

func (r *rig) must(q request) answer {
	r.t.Helper()
	a, err := r.send(q)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

// claims are those every request has, and these.
func (r *rig) claims(contract string, more ...string) map[string]any {
	out := map[string]any{
		"client_id": r.ApplicationID + "_" + contract,
		"nonce":     randomID() + "abcdef",
		"timestamp": time.Now().UnixMilli(),
	}
	for i := 0; i < len(more); i += 2 {
		out[more[i]] = more[i+1]
	}
	return out
}

var plainHeader = map[string]string{"alg": "PS512", "typ": "JWT"}

func sign(t *testing.T, claims any) string {
	t.Helper()
	token, err := signJWT(testKey(), plainHeader, claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

const goodDescriptor = `{"mimeType":"application/pdf","accounts":[{"accountId":"P-1001"}],"reference":["Blood test"],"tags":["lab"]}`

func (r *rig) pushClaims() map[string]any {
	return r.claims("write-1", "access_token", r.token.AccessToken.Value)
}

// push is a faultless push of content, to be spoilt.
func (r *rig) push(content string) request {
	return request{
		method: "POST",
		url:    r.BaseURL(r.http.URL) + "permission-access/import",
		header: http.Header{
			"Authorization":  {"Bearer " + sign(r.t, r.pushClaims())},
			"Content-Type":   {"application/octet-stream"},
			"Filedescriptor": {sign(r.t, map[string]any{"metadata": json.RawMessage(goodDescriptor)})},
		},
		body: strings.NewReader(content),
	}
}

func (r *rig) tokenRequest(claims map[string]any) request {
	return request{
		method: "POST",
		url:    r.BaseURL(r.http.URL) + "oauth/token",
		header: http.Header{"Authorization": {"Bearer " + sign(r.t, claims)}, "Content-Type": {"application/json"}},
		body:   bytes.NewReader(nil),
	}
}

func (r *rig) refreshRequest(refreshToken string) request {
	return r.tokenRequest(r.claims("write-1", "grant_type", "refresh_token", "refresh_token", refreshToken))
}
