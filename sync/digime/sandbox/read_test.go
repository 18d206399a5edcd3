package sandbox

import (
	"bytes"
	"compress/gzip"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// reading is a read session over the rig's user.
type reading struct {
	*rig
	token   sdkToken
	session string
}

func newReading(r *rig) *reading {
	r.t.Helper()
	data, err := r.NewToken(r.user, "read-1", time.Hour, time.Hour)
	if err != nil {
		r.t.Fatal(err)
	}
	out := &reading{rig: r, token: parseToken(r.t, data)}
	a := r.must(r.json("permission-access/trigger", `{"agent":{"sdk":{"name":"x","version":"1"}},"scope":{}}`, out.claims()))
	var body struct {
		Session struct {
			Key    string
			Expiry int64
		}
	}
	if err := json.Unmarshal(a.body, &body); err != nil || body.Session.Key == "" || body.Session.Expiry < time.Now().UnixMilli() {
		r.t.Fatalf("trigger: %d %s", a.status, a.body)
	}
	out.session = body.Session.Key
	return out
}

func (r *reading) claims() map[string]any {
	return r.rig.claims("read-1", "access_token", r.token.AccessToken.Value)
}

func (r *reading) get(path string) request {
	return request{
		method: "GET",
		url:    r.BaseURL(r.http.URL) + "permission-access/" + path,
		header: http.Header{"Authorization": {"Bearer " + sign(r.t, r.claims())}, "Accept": {"application/octet-stream"}},
	}
}

type fileList struct {
	Status   struct{ State string }
	FileList []struct {
		Name        string
		UpdatedDate int64
	}
}

func (r *reading) list() fileList {
	r.t.Helper()
	a := r.must(r.get("query/" + r.session))
	var out fileList
	if err := json.Unmarshal(a.body, &out); err != nil || a.status != http.StatusOK {
		r.t.Fatalf("list: %d %s", a.status, a.body)
	}
	return out
}

// open decrypts a file as the SDKs do, in one piece.
func open(t *testing.T, a answer) (content, metadata string) {
	t.Helper()
	header, err := base64.RawURLEncoding.DecodeString(a.header.Get("X-Metadata"))
	if err != nil || len(a.body) < 288 || len(a.body)%16 != 0 {
		t.Fatalf("metadata %q %v, %d bytes", header, err, len(a.body))
	}
	var meta struct {
		Metadata    json.RawMessage
		Compression string
	}
	if err := json.Unmarshal(header, &meta); err != nil {
		t.Fatal(err)
	}
	key, err := rsa.DecryptOAEP(sha1.New(), nil, testKey(), a.body[:256], nil)
	if err != nil {
		t.Fatal(err)
	}
	_, decrypt := newCBC([32]byte(key), [16]byte(a.body[256:272]))
	plain := bytes.Clone(a.body[272:])
	decrypt.CryptBlocks(plain, plain)
	plain = plain[:len(plain)-int(plain[len(plain)-1])]
	if meta.Compression == compressionGzip {
		packed, err := gzip.NewReader(bytes.NewReader(plain))
		if err != nil {
			t.Fatal(err)
		}
		if plain, err = io.ReadAll(packed); err != nil {
			t.Fatal(err)
		}
	}
	return string(plain), string(meta.Metadata)
}

func TestReadBack(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		r := newRig(t, Options{Dir: dir})
		contents := []string{"", "short", strings.Repeat("0123456789", 40_000), "exactly 16 bytes"}
		for i, content := range contents {
			q := r.push(content)
			if i%2 == 1 {
				text := `{"mimeType":"text/plain","accounts":[{"accountId":"P-1"}],"objectTypes":[{"name":"n","references":["Q"]}]}`
				q.header.Set("FileDescriptor", sign(t, map[string]any{"metadata": json.RawMessage(text)}))
			}
			if a := r.must(q); a.status != http.StatusOK {
				t.Fatalf("push: %d %s", a.status, a.body)
			}
		}
		reading := newReading(r)
		for _, want := range []struct {
			state string
			files int
		}{{"pending", 0}, {"running", 2}, {"completed", 4}, {"completed", 4}} {
			if got := reading.list(); got.Status.State != want.state || len(got.FileList) != want.files {
				t.Errorf("list: %+v, want %+v", got, want)
			}
		}
		for i, file := range reading.list().FileList {
			a := r.must(reading.get("query/" + reading.session + "/" + file.Name))
			if a.status != http.StatusOK || a.header.Get("Last-Modified") == "" || file.UpdatedDate == 0 {
				t.Fatalf("file: %d %s %v", a.status, a.body, a.header)
			}
			content, metadata := open(t, a)
			if content != contents[i] {
				t.Errorf("file %d: %d bytes, want %d", i, len(content), len(contents[i]))
			}
			want := `"mimetype":"application/pdf","reference":["Blood test"],"tags":["lab"]}`
			if i%2 == 1 {
				want = `"mimetype":"text/plain","objecttypes":[{"name":"n","references":["Q"]}]}`
			}
			if !strings.HasPrefix(metadata, `{"accounts":[{"accountid":"P-1`) || !strings.HasSuffix(metadata, want) {
				t.Errorf("metadata %s, want …%s", metadata, want)
			}
		}
	}
}

func TestReadMetadataOnly(t *testing.T) {
	r := newRig(t, Options{})
	r.must(r.push("content"))
	reading := newReading(r)
	q := reading.get("query/" + reading.session + "/" + r.Deliveries()[0].Nonce)
	q.method = "HEAD"
	q.header.Set("Accept", "application/json")
	if a := r.must(q); a.status != http.StatusOK || a.header.Get("X-Metadata") == "" || len(a.body) != 0 {
		t.Errorf("HEAD: %d %v %q", a.status, a.header, a.body)
	}
}

func TestReadRefusals(t *testing.T) {
	r := newRig(t, Options{})
	r.must(r.push("content"))
	r.must(r.push(strings.Repeat("x", maxHeld+1)))
	name, tooLarge := r.Deliveries()[0].Nonce, r.Deliveries()[1].Nonce
	mine := newReading(r)
	stranger := *r
	stranger.user = parseToken(t, r.NewUser("write-1", time.Hour, time.Hour)).User.ID
	theirs := newReading(&stranger)

	r.wantRefusal(mine.get("query/unknown"), 404, "InvalidSession", "")
	r.wantRefusal(mine.get("query/"+theirs.session), 404, "InvalidSession", "")
	r.wantRefusal(theirs.get("query/"+theirs.session+"/"+name), 404, "NotFound", "no file")
	r.wantRefusal(theirs.get("query/"+mine.session+"/"+name), 404, "InvalidSession", "")
	r.wantRefusal(mine.get("query/"+mine.session+"/nothing"), 404, "NotFound", "no file")
	r.wantRefusal(mine.get("query/"+mine.session+"/"+tooLarge), 404, "NotFound", "too large")

	q := mine.get("query/" + mine.session + "/" + name)
	q.header.Set("Accept", "application/json")
	r.wantRefusal(q, 406, "ValidationErrors", "Accept")
	trigger := func(body string, claims map[string]any) request {
		return r.json("permission-access/trigger", body, claims)
	}
	r.wantRefusal(trigger(goodAgent, mine.claims()), 406, "ValidationErrors", "actions")
	agent := `{"agent":{"sdk":{"name":"x","version":"1"}}}`
	r.wantRefusal(trigger(agent, r.pushClaims()), 403, "InsufficientScope", "")
	q = mine.get("query/" + mine.session)
	q.header.Set("Authorization", "Bearer "+sign(t, r.pushClaims()))
	r.wantRefusal(q, 403, "InsufficientScope", "")

	r.mu.Lock()
	r.sessions[mine.session].Expiry = time.Now().Add(-time.Second).UnixMilli()
	r.mu.Unlock()
	r.wantRefusal(mine.get("query/"+mine.session), 404, "InvalidSession", "")
	r.ExpireAccess(r.user)
	r.wantRefusal(mine.get("query/"+mine.session), 401, "InvalidToken", "expired")
}

// TestSessionOfConsent: the session that comes with a link is good once the person has consented, not before.
func TestSessionOfConsent(t *testing.T) {
	r := newRig(t, Options{})
	reading := newReading(r)
	a := r.must(r.json("oauth/authorize", goodAgent, r.authorizeClaims("read-1")))
	var body struct{ Session session }
	if err := json.Unmarshal(a.body, &body); err != nil {
		t.Fatal(err)
	}
	r.wantRefusal(reading.get("query/"+body.Session.Key), 404, "InvalidSession", "")
	r.decide(r.link(a, "authorize", "preauthorization_code"), true, r.user)
	reading.session = body.Session.Key
	if got := reading.list().Status.State; got != "pending" {
		t.Errorf("list: %s", got)
	}
}

func TestAccounts(t *testing.T) {
	r := newRig(t, Options{})
	query := r.decide(r.authorizeLink("write-1"), true, r.user)
	for _, claims := range []map[string]any{r.pushClaims(), newReading(r).claims()} {
		q := request{method: "GET", url: r.BaseURL(r.http.URL) + "permission-access/accounts",
			header: http.Header{"Authorization": {"Bearer " + sign(t, claims)}}}
		var accounts []account
		if err := json.Unmarshal(r.must(q).body, &accounts); err != nil || len(accounts) != 1 || accounts[0].Reference != query.Get("accountReference") {
			t.Errorf("accounts %+v %v, want the one of %v", accounts, err, query)
		}
	}
}
