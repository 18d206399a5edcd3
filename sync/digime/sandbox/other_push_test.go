package sandbox

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"
)

func (r *rig) accountID() string { return r.users[r.user].account.ID }

func (r *rig) provider(version, body string) request {
	q := r.json("permission-access/import/h:accountId/fhir/"+version, body, r.pushClaims())
	q.header.Set("accountId", r.accountID())
	return q
}

func TestProviderPush(t *testing.T) {
	r := newRig(t, Options{})
	for _, version := range []string{"stu3", "3.0.2"} {
		if a := r.must(r.provider(version, `{"resourceType":"Bundle"}`)); a.status != http.StatusOK {
			t.Errorf("%s: %d %s", version, a.status, a.body)
		}
	}
	d := r.Deliveries()
	if len(d) != 2 || d[0].Kind != DeliveryProvider || d[0].AccountID != r.accountID() || d[0].Size != 25 || d[0].User != r.user {
		t.Errorf("recorded %+v", d)
	}
	reading := newReading(r)
	reading.list()
	reading.list()
	if got := reading.list(); len(got.FileList) != 0 {
		t.Errorf("what went to a provider is read back: %+v", got)
	}
}

func TestProviderRefusals(t *testing.T) {
	r := newRig(t, Options{})
	good := `{"resourceType":"Bundle"}`
	r.wantRefusal(r.provider("r4", good), 404, "NotFound", "r4")
	r.wantRefusal(r.provider("stu3", `[]`), 406, "ValidationErrors", "not a JSON object")
	r.wantRefusal(r.provider("stu3", ``), 406, "ValidationErrors", "not a JSON object")
	r.wantRefusal(r.provider("stu3", `{"a":`), 406, "ValidationErrors", "body")
	r.wantRefusal(r.provider("stu3", strings.Repeat(" ", maxFHIR+1)), 413, "PayloadTooLarge", "too large")
	q := r.provider("stu3", good)
	q.header.Set("accountId", "1_999")
	r.wantRefusal(q, 406, "ValidationErrors", "1_999")
	q = r.provider("stu3", good)
	q.header.Set("Content-Type", "application/fhir+json")
	r.wantRefusal(q, 415, "UnsupportedMediaType", "fhir")
	r.ExpireAccess(r.user)
	r.wantRefusal(r.provider("stu3", good), 401, "InvalidToken", "expired")
}

// parcel is a push to a postbox, with what a test may want to spoil.
type parcel struct {
	postbox, file string
	claims        map[string]any
	content       []byte // encrypted
	extra         bool   // a second part
	truncate      int    // bytes missing at the end of the body
}

func (r *rig) parcel(content string) *parcel {
	r.t.Helper()
	id, publicKey, err := r.Postbox(r.user)
	if err != nil {
		r.t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(publicKey))
	pub, err := x509.ParsePKCS1PublicKey(block.Bytes)
	if err != nil {
		r.t.Fatal(err)
	}
	data, err := r.NewToken(r.user, "post-1", time.Hour, time.Hour)
	if err != nil {
		r.t.Fatal(err)
	}
	key, iv := [32]byte{1, 2, 3}, [16]byte{4, 5, 6}
	sealed, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, pub, key[:], nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return &parcel{
		postbox: id, file: "file", content: encrypted(r.t, key, iv, content),
		claims: r.claims("post-1", "access_token", parseToken(r.t, data).AccessToken.Value, "iv", hex.EncodeToString(iv[:]),
			"metadata", base64.StdEncoding.EncodeToString(encrypted(r.t, key, iv, goodDescriptor)),
			"symmetrical_key", base64.StdEncoding.EncodeToString(sealed), "redirect_uri", callback),
	}
}

func encrypted(t *testing.T, key [32]byte, iv [16]byte, content string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := newCBCWriter(&out, key, iv)
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (r *rig) post(p *parcel) request {
	r.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	names := []string{p.file}
	if p.extra {
		names = append(names, "more")
	}
	for _, name := range names {
		part, err := form.CreateFormFile(name, "report.pdf")
		if err == nil {
			_, err = part.Write(p.content)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
	if err := form.Close(); err != nil {
		r.t.Fatal(err)
	}
	return request{
		method: "POST",
		url:    r.LegacyBaseURL(r.http.URL) + "permission-access/postbox/" + p.postbox,
		header: http.Header{"Authorization": {"Bearer " + sign(r.t, p.claims)}, "Content-Type": {form.FormDataContentType()}},
		body:   bytes.NewReader(body.Bytes()[:body.Len()-p.truncate]),
	}
}

func TestPostbox(t *testing.T) {
	r := newRig(t, Options{})
	contents := []string{"", "exactly 16 bytes", "hello", strings.Repeat("x", 32<<10), strings.Repeat("0123456789", 100_000)}
	for i, content := range contents {
		a := r.must(r.post(r.parcel(content)))
		if a.status != http.StatusOK || !strings.Contains(string(a.body), `"status":"delivered"`) || !strings.Contains(string(a.body), `"expires":`) {
			t.Fatalf("%d %s", a.status, a.body)
		}
		sum := sha256.Sum256([]byte(content))
		d := r.Deliveries()[i]
		if d.Kind != DeliveryPostbox || d.Size != int64(len(content)) || d.SHA256 != hex.EncodeToString(sum[:]) || string(d.Descriptor) != goodDescriptor {
			t.Errorf("recorded %+v", d)
		}
	}
}

// TestPostboxPending: an expired token is answered with pending, and nothing is taken.
func TestPostboxPending(t *testing.T) {
	r := newRig(t, Options{})
	p := r.parcel("hello")
	r.ExpireAccess(r.user)
	if a := r.must(r.post(p)); a.status != http.StatusOK || !strings.Contains(string(a.body), `"status":"pending"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if got := r.Deliveries(); len(got) != 0 {
		t.Errorf("recorded %+v", got)
	}
}

func TestPostboxRefusals(t *testing.T) {
	r := newRig(t, Options{})
	for _, c := range []struct {
		name    string
		spoil   func(p *parcel)
		status  int
		code    string
		message string
	}{
		{"contract", func(p *parcel) { p.claims["client_id"] = "sandbox-app_write-1" }, 403, "InsufficientScope", ""},
		{"token", func(p *parcel) { p.claims["access_token"] = "x" }, 401, "InvalidToken", "(access_token) is invalid"},
		{"redirect", func(p *parcel) { p.claims["redirect_uri"] = "http://evil/" }, 400, "InvalidRedirectUri", "evil"},
		{"no redirect", func(p *parcel) { delete(p.claims, "redirect_uri") }, 406, "ValidationErrors", "redirect_uri"},
		{"postbox", func(p *parcel) { p.postbox = "other" }, 404, "NotFound", "postbox"},
		{"iv", func(p *parcel) { p.claims["iv"] = "abcd" }, 406, "ValidationErrors", "iv"},
		{"key encoding", func(p *parcel) { p.claims["symmetrical_key"] = "_-" }, 406, "ValidationErrors", "base64"},
		{"key", func(p *parcel) { p.claims["symmetrical_key"] = "AAAA" }, 406, "ValidationErrors", "RSA-OAEP-SHA-1"},
		{"metadata encoding", func(p *parcel) { p.claims["metadata"] = "_-" }, 406, "ValidationErrors", "base64"},
		{"metadata in clear", func(p *parcel) { p.claims["metadata"] = base64.StdEncoding.EncodeToString([]byte(goodDescriptor)) }, 406, "ValidationErrors", "AES-256-CBC"},
		{"metadata empty", func(p *parcel) {
			p.claims["metadata"] = base64.StdEncoding.EncodeToString(encrypted(t, [32]byte{1, 2, 3}, [16]byte{4, 5, 6}, "{}"))
		}, 406, "ValidationErrors", "mimeType must be given"},
		{"part's name", func(p *parcel) { p.file = "data" }, 406, "ValidationErrors", "one part called file"},
		{"two parts", func(p *parcel) { p.extra = true }, 406, "ValidationErrors", "one part called file"},
		{"content in clear", func(p *parcel) { p.content = []byte("exactly 16 bytes") }, 406, "ValidationErrors", "AES-256-CBC"},
		{"content of odd length", func(p *parcel) { p.content = p.content[:15] }, 406, "ValidationErrors", "AES-256-CBC"},
		{"no content", func(p *parcel) { p.content = nil }, 406, "ValidationErrors", "AES-256-CBC"},
		{"no closing boundary", func(p *parcel) { p.truncate = 8 }, 400, "IncompleteBody", "EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inner := *r
			inner.t = t
			p := inner.parcel("hello")
			c.spoil(p)
			inner.wantRefusal(inner.post(p), c.status, c.code, c.message)
		})
	}
	q := r.post(r.parcel("hello"))
	q.header.Set("Content-Type", "application/octet-stream")
	r.wantRefusal(q, 415, "UnsupportedMediaType", "multipart")
}

// TestPostboxBrokenEnd: a body that breaks off behind its last boundary did not arrive whole either.
func TestPostboxBrokenEnd(t *testing.T) {
	log, refused := logOf("refused")
	r := newEmptyRig(t, Options{Log: log})
	r.user = parseToken(t, r.NewUser("post-1", time.Hour, time.Hour)).User.ID
	q := r.post(r.parcel("hello"))
	q.body = io.MultiReader(q.body, bytes.NewReader(make([]byte, 100_000)), brokenReader{})
	if a, err := r.send(q); err == nil {
		t.Errorf("a broken body was answered with %d", a.status)
	}
	<-refused
	if got := r.Deliveries(); len(got) != 0 {
		t.Errorf("recorded %+v", got)
	}
}

// TestBrokenCipherText: an input that breaks off does not pass for a short one, though its last block unpads.
func TestBrokenCipherText(t *testing.T) {
	key, iv := [32]byte{1}, [16]byte{2}
	whole := encrypted(t, key, iv, strings.Repeat("\x01", 64))
	r := newCBCReader(io.MultiReader(bytes.NewReader(whole[:48]), brokenReader{}), key, iv)
	if got, err := io.ReadAll(r); err != io.ErrUnexpectedEOF {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}
