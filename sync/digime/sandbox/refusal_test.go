package sandbox

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// signAs signs with whatever header, key and salt length, as a faulty client might.
func signAs(t *testing.T, key *rsa.PrivateKey, header, claims string, salt int) string {
	t.Helper()
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	sum := sha512.Sum512([]byte(signed))
	sig, err := rsa.SignPSS(rand.Reader, key, crypto.SHA512, sum[:], &rsa.PSSOptions{SaltLength: salt, Hash: crypto.SHA512})
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

const goodHeader = `{"alg":"PS512","typ":"JWT"}`

// wantRefusal sends a request which must be refused as told, and nothing recorded.
func (r *rig) wantRefusal(q request, status int, code, message string) {
	r.t.Helper()
	before := len(r.Deliveries())
	a := r.must(q)
	gotCode, gotMessage := a.failure(r.t)
	if a.status != status || gotCode != code || !strings.Contains(gotMessage, message) {
		r.t.Errorf("got %d %s %q, want %d %s %q", a.status, gotCode, gotMessage, status, code, message)
	}
	if n := len(r.Deliveries()); n != before {
		r.t.Errorf("%d deliveries recorded by a refused request", n-before)
	}
}

func TestBearerRefusals(t *testing.T) {
	r := newRig(t, Options{})
	other, _, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(claims map[string]any)) string {
		claims := r.pushClaims()
		change(claims)
		return "Bearer " + sign(t, claims)
	}
	set := func(name string, value any) string {
		return with(func(c map[string]any) { c[name] = value })
	}
	good := func() string { return marshal(t, r.pushClaims()) }
	spent := r.pushClaims()
	if a := r.must(r.pushAs("Bearer " + sign(t, spent))); a.status != http.StatusOK {
		t.Fatalf("push: %d %s", a.status, a.body)
	}
	for _, c := range []struct {
		name, bearer string
		status       int
		code         string
		message      string
	}{
		{"no bearer", "", 406, "ValidationErrors", "Authorization"},
		{"basic", "Basic YTpi", 406, "ValidationErrors", "Authorization"},
		{"no JWT", "Bearer abc", 406, "ValidationErrors", "3 parts"},
		{"padded", "Bearer " + base64.URLEncoding.EncodeToString([]byte(goodHeader+" ")) + ".e30.AA", 406, "ValidationErrors", "header"},
		{"algorithm none", "Bearer " + signAs(t, testKey(), `{"alg":"none","typ":"JWT"}`, good(), 64), 406, "ValidationErrors", "header must be exactly"},
		{"algorithm RS512", "Bearer " + signAs(t, testKey(), `{"alg":"RS512","typ":"JWT"}`, good(), 64), 406, "ValidationErrors", "header must be exactly"},
		{"kid in header", "Bearer " + signAs(t, testKey(), `{"alg":"PS512","typ":"JWT","kid":"a"}`, good(), 64), 406, "ValidationErrors", "header must be exactly"},
		{"no typ", "Bearer " + signAs(t, testKey(), `{"alg":"PS512"}`, good(), 64), 406, "ValidationErrors", "header must be exactly"},
		{"algorithm twice", "Bearer " + signAs(t, testKey(), `{"alg":"PS512","alg":"PS512","typ":"JWT"}`, good(), 64), 406, "ValidationErrors", "twice"},
		{"trailing", "Bearer " + signAs(t, testKey(), goodHeader, good()+"{}", 64), 406, "ValidationErrors", "follows"},
		{"claims no object", "Bearer " + signAs(t, testKey(), goodHeader, `[]`, 64), 406, "ValidationErrors", "not a JSON object"},
		{"longest salt", "Bearer " + signAs(t, testKey(), goodHeader, good(), rsa.PSSSaltLengthAuto), 401, "InvalidClient", "client_id"},
		{"salt of 32", "Bearer " + signAs(t, testKey(), goodHeader, good(), 32), 401, "InvalidClient", "client_id"},
		{"other key", "Bearer " + signAs(t, other, goodHeader, good(), 64), 401, "InvalidClient", "client_id"},
		{"unknown contract", set("client_id", r.ApplicationID+"_nobody"), 401, "InvalidClient", "sandbox-app_nobody"},
		{"other application", set("client_id", "other_write-1"), 401, "InvalidClient", "other_write-1"},
		{"read contract", set("client_id", r.ApplicationID+"_read-1"), 403, "InsufficientScope", "privileges"},
		{"iat", set("iat", time.Now().Unix()), 406, "ValidationErrors", "iat"},
		{"foreign claim", set("redirect_uri", "x"), 406, "ValidationErrors", "redirect_uri"},
		{"no access token", with(func(c map[string]any) { delete(c, "access_token") }), 406, "ValidationErrors", "access_token"},
		{"no timestamp", with(func(c map[string]any) { delete(c, "timestamp") }), 406, "ValidationErrors", "timestamp"},
		{"nonce no string", set("nonce", 12), 406, "ValidationErrors", "nonce"},
		{"short nonce", set("nonce", "abc"), 406, "InvalidRequest", "32 alphanumeric"},
		{"nonce with sign", set("nonce", strings.Repeat("a", 31)+"-"), 406, "InvalidRequest", "32 alphanumeric"},
		{"nonce again", set("nonce", spent["nonce"]), 406, "InvalidRequest", "already used"},
		{"timestamp in seconds", set("timestamp", time.Now().Unix()), 406, "InvalidRequest", "too far"},
		{"timestamp text", set("timestamp", "1700000000000"), 406, "InvalidRequest", "integer"},
		{"timestamp broken", set("timestamp", 1.5), 406, "InvalidRequest", "integer"},
		{"clock behind", set("timestamp", time.Now().Add(-6*time.Minute).UnixMilli()), 406, "InvalidRequest", "too far"},
		{"clock ahead", set("timestamp", time.Now().Add(6*time.Minute).UnixMilli()), 406, "InvalidRequest", "too far"},
		{"unknown access token", set("access_token", "at-nobody"), 401, "InvalidToken", "The token (access_token) is invalid"},
		{"refresh token as access token", set("access_token", r.token.RefreshToken.Value), 401, "InvalidToken", "is invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inner := *r
			inner.t = t
			inner.wantRefusal(inner.pushAs(c.bearer), c.status, c.code, c.message)
		})
	}
}

// pushAs is a push with this Authorization header, none when empty.
func (r *rig) pushAs(authorization string) request {
	q := r.push("content")
	q.header.Set("Authorization", authorization)
	if authorization == "" {
		q.header.Del("Authorization")
	}
	return q
}

func TestDescriptorRefusals(t *testing.T) {
	r := newRig(t, Options{})
	accounts := `"accounts":[{"accountId":"P-1"}]`
	for _, c := range []struct{ descriptor, message string }{
		{`{}`, "metadata.accounts must be given; metadata.mimeType must be given"},
		{`null`, "not a JSON object"},
		{`{` + accounts + `}`, "metadata.mimeType must be given"},
		{`{"mimeType":"",` + accounts + `}`, "metadata.mimeType must be a non-empty string"},
		{`{"mimeType":null,` + accounts + `}`, "metadata.mimeType must be a non-empty string"},
		{`{"mimeType":"a/b"}`, "metadata.accounts must be given"},
		{`{"mimeType":"a/b","accounts":[]}`, "metadata.accounts must be a non-empty array"},
		{`{"mimeType":"a/b","accounts":{"accountId":"P-1"}}`, "metadata.accounts must be"},
		{`{"mimeType":"a/b","accounts":["P-1"]}`, "metadata.accounts must be"},
		{`{"mimeType":"a/b","accounts":[{"accountId":1}]}`, "metadata.accounts must be"},
		{`{"mimeType":"a/b","accounts":[{"accountId":"P-1"},{"accountId":""}]}`, "metadata.accounts must be"},
		{`{"mimeType":"a/b","accounts":[{"accountId":"P-1","name":"x"}]}`, "metadata.accounts must be"},
		{`{"mimeType":"a/b",` + accounts + `,"reference":"x"}`, "metadata.reference must be an array of strings"},
		{`{"mimeType":"a/b",` + accounts + `,"tags":[1]}`, "metadata.tags must be an array of strings"},
		{`{"mimeType":"a/b",` + accounts + `,"tags":[null]}`, "metadata.tags must be an array of strings"},
		{`{"mimeType":"a/b",` + accounts + `,"tags":null}`, "metadata.tags must be an array of strings"},
		{`{"mimeType":"a/b",` + accounts + `,"serviceGroups":[1.5]}`, "metadata.serviceGroups must be an array of integers"},
		{`{"mimeType":"a/b",` + accounts + `,"appId":7}`, "metadata.appId must be a non-empty string"},
		{`{"mimeType":"a/b",` + accounts + `,"objectTypes":[{}]}`, "metadata.objectTypes must be"},
		{`{"mimeType":"a/b",` + accounts + `,"objectTypes":[{"name":"x","references":[1]}]}`, "metadata.objectTypes must be"},
		{`{"mimeType":"a/b",` + accounts + `,"objectTypes":[{"name":"x","kind":"y"}]}`, "metadata.objectTypes must be"},
		{`{"mimeType":"a/b",` + accounts + `,"fileName":"x.pdf"}`, "metadata.fileName is not a field"},
		{`{"mimetype":"a/b",` + accounts + `}`, "metadata.mimetype is not a field"},
		{`{"mimeType":"a/b","mimeType":"c/d",` + accounts + `}`, "given twice"},
	} {
		q := r.push("content")
		q.header.Set("FileDescriptor", signAs(t, testKey(), goodHeader, `{"metadata":`+c.descriptor+`}`, 64))
		t.Log(c.descriptor)
		r.wantRefusal(q, 406, "ValidationErrors", c.message)
	}
}

func TestDescriptorsAccepted(t *testing.T) {
	r := newRig(t, Options{})
	for _, descriptor := range []string{
		`{"mimeType":"a/b","accounts":[{"accountId":"P-1"}]}`,
		`{"mimeType":"a/b","accounts":[{"accountId":"P-1"},{"accountId":"P-2"}],"reference":[],"tags":[]}`,
		`{"mimeType":"a/b","accounts":[{"accountId":"P-1"}],"contractId":"c","appId":"a","providerName":"p",
		  "objectTypes":[{"name":"x"},{"name":"y","references":["z"]}],"serviceGroups":[1,2]}`,
	} {
		q := r.push("content")
		q.header.Set("FileDescriptor", sign(t, map[string]any{"metadata": json.RawMessage(descriptor)}))
		if a := r.must(q); a.status != http.StatusOK {
			t.Errorf("%s: %d %s", descriptor, a.status, a.body)
		}
	}
}

func TestPushHeadRefusals(t *testing.T) {
	r := newRig(t, Options{})
	claims := map[string]any{"metadata": json.RawMessage(goodDescriptor)}
	signed := sign(t, claims)
	claims["nonce"] = "x"
	for _, c := range []struct {
		name, header, value string
		status              int
		code, message       string
	}{
		{"content type", "Content-Type", "application/pdf", 415, "UnsupportedMediaType", "application/pdf"},
		{"content type with charset", "Content-Type", "application/octet-stream; charset=utf-8", 415, "UnsupportedMediaType", "octet-stream"},
		{"no content type", "Content-Type", "", 415, "UnsupportedMediaType", "octet-stream"},
		{"no descriptor", "FileDescriptor", "", 406, "ValidationErrors", "FileDescriptor"},
		{"descriptor in clear", "FileDescriptor", goodDescriptor, 406, "ValidationErrors", "FileDescriptor"},
		{"further claim", "FileDescriptor", sign(t, claims), 406, "ValidationErrors", "only claim"},
		{"short salt", "FileDescriptor", signAs(t, testKey(), goodHeader, `{"metadata":`+goodDescriptor+`}`, 20), 406, "ValidationErrors", "salt of 64"},
		{"spoilt signature", "FileDescriptor", signed[:len(signed)-8] + "AAAAAAAA", 406, "ValidationErrors", "does not verify"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inner := *r
			inner.t = t
			q := inner.push("content")
			q.header.Set(c.header, c.value)
			inner.wantRefusal(q, c.status, c.code, c.message)
		})
	}
}

// TestDescriptorMayBeReused: it has no nonce, so the SDKs may send the same one with many files.
func TestDescriptorMayBeReused(t *testing.T) {
	r := newRig(t, Options{})
	first, second := r.push("one"), r.push("two")
	second.header.Set("FileDescriptor", first.header.Get("FileDescriptor"))
	if a, b := r.must(first), r.must(second); a.status != 200 || b.status != 200 {
		t.Errorf("got %d and %d", a.status, b.status)
	}
}

func TestUnknownPath(t *testing.T) {
	r := newRig(t, Options{})
	r.wantRefusal(request{method: "GET", url: r.http.URL + "/v1.7/nowhere", body: nil}, 404, "NotFound", "/v1.7/nowhere")
	r.wantRefusal(request{method: "GET", url: r.http.URL + "/v1.7/permission-access/import"}, 404, "NotFound", "GET")
}

// TestBrokenBodyIsNotRecorded: a body that ends before its length was reached is no delivery.
func TestBrokenBodyIsNotRecorded(t *testing.T) {
	log, refused := logOf("refused")
	r := newRig(t, Options{Dir: t.TempDir(), Log: log})
	q := r.push("")
	q.body = io.MultiReader(bytes.NewReader(make([]byte, 100_000)), brokenReader{})
	if a, err := r.send(q); err == nil {
		t.Errorf("a broken body was answered with %d", a.status)
	}
	<-refused
	if got := r.Deliveries(); len(got) != 0 {
		t.Errorf("recorded %+v", got)
	}
	r.wantEmptyDir()
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
