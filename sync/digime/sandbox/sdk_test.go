package sandbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// exchange is one recorded request and its answer, tokens decoded.
type exchange struct {
	Method     string
	Path       string
	Headers    map[string]string
	Bearer     *recordedJWT
	Descriptor *recordedJWT
	Body       string
	BodySHA256 string `json:"body_sha256"`
	Answer     recordedAnswer
}

type recordedJWT struct {
	Header map[string]any `json:"header"`
	Claims map[string]any `json:"claims"`
}

type recordedAnswer struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    any               `json:"body"`
	Token   any               `json:"token"` // body.token decoded
}

// replay sends recorded requests again. What the recorded server made up (tokens, codes, sessions, names) is replaced
// by what this one makes up, found by laying each answer beside the recorded one.
type replay struct {
	*rig
	live map[string]string // by the recorded value
}

// TestRecordedSDK holds the sandbox to what digi.me's Node.js SDK was recorded to send: every request is accepted or
// refused as then, in the same shape.
func TestRecordedSDK(t *testing.T) {
	data, err := os.ReadFile("testdata/nodejs-16.1.5.json")
	if err != nil {
		t.Fatal(err)
	}
	var recording struct{ Exchanges []exchange }
	if err := json.Unmarshal(data, &recording); err != nil {
		t.Fatal(err)
	}
	r := newEmptyRig(t, Options{})
	p := &replay{rig: r, live: map[string]string{}}
	pushed := map[string]bool{}
	for i, e := range recording.Exchanges {
		if sum := sha256.Sum256([]byte(e.Body)); e.Body != "" && hex.EncodeToString(sum[:]) != e.BodySHA256 {
			t.Fatalf("exchange %d: the body is not what was recorded", i)
		}
		pushed[e.BodySHA256] = true
		a := r.must(p.request(e))
		if a.status != e.Answer.Status {
			t.Fatalf("exchange %d, %s %s: %d %s, recorded %d", i, e.Method, e.Path, a.status, a.body, e.Answer.Status)
		}
		p.compare(fmt.Sprintf("exchange %d, %s %s", i, e.Method, e.Path), e, a)
		if a.header.Get("X-Metadata") != "" {
			content, _ := open(t, a)
			if sum := sha256.Sum256([]byte(content)); !pushed[hex.EncodeToString(sum[:])] {
				t.Errorf("exchange %d: read back %q, which was not pushed", i, content)
			}
		}
	}
	if got := len(r.Deliveries()); got != 5 {
		t.Errorf("%d deliveries, the SDK made 5", got)
	}
}

func (p *replay) request(e exchange) request {
	p.t.Helper()
	q := request{method: e.Method, url: p.http.URL + p.translate(e.Path), header: http.Header{}}
	q.body = strings.NewReader(p.translate(e.Body))
	for name, value := range e.Headers {
		if name == "transfer-encoding" {
			q.body = io.MultiReader(q.body) // of unknown length: chunked
			continue
		}
		q.header.Set(name, p.translate(value))
	}
	if e.Bearer != nil {
		q.header.Set("Authorization", "Bearer "+p.sign(*e.Bearer))
	}
	if e.Descriptor != nil {
		q.header.Set("FileDescriptor", p.sign(*e.Descriptor))
	}
	return q
}

// sign signs recorded claims anew, as a fresh request when they have a nonce.
func (p *replay) sign(recorded recordedJWT) string {
	p.t.Helper()
	var claims map[string]any
	if err := json.Unmarshal([]byte(p.translate(marshal(p.t, recorded.Claims))), &claims); err != nil {
		p.t.Fatal(err)
	}
	if old, ok := claims["nonce"].(string); ok {
		claims["nonce"], claims["timestamp"] = randomID()+"abcdef", time.Now().UnixMilli()
		p.live[old] = stringOf([]byte(marshal(p.t, claims["nonce"])))
	}
	token, err := signJWT(testKey(), recorded.Header, claims)
	if err != nil {
		p.t.Fatal(err)
	}
	return token
}

func (p *replay) translate(text string) string {
	for recorded, live := range p.live {
		text = strings.ReplaceAll(text, recorded, live)
	}
	return text
}

// compare wants the answer in the shape of the recorded one, and learns what this server made up.
func (p *replay) compare(where string, e exchange, a answer) {
	p.t.Helper()
	for _, name := range []string{"Content-Type", "X-Error-Code"} {
		if got, want := a.header.Get(name), e.Answer.Headers[strings.ToLower(name)]; got != want {
			p.t.Errorf("%s: %s is %q, recorded %q", where, name, got, want)
		}
	}
	if a.header.Get("Content-Type") != "application/json" {
		return
	}
	var body any
	if err := json.Unmarshal(a.body, &body); err != nil {
		p.t.Fatal(err)
	}
	if e.Answer.Token != nil {
		object, _ := body.(map[string]any)
		delete(object, "token")
		token := readAnswerToken(p.t, a)
		p.learn(where+" token", e.Answer.Token, decoded(p.t, map[string]any{"header": token.header, "claims": token.jwt.claims}))
	}
	p.learn(where, e.Answer.Body, body)
}

// decoded is v as encoding/json would read it.
func decoded(t *testing.T, v any) (out any) {
	t.Helper()
	if err := json.Unmarshal([]byte(marshal(t, v)), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func (p *replay) learn(where string, recorded, live any) {
	p.t.Helper()
	if fmt.Sprintf("%T", recorded) != fmt.Sprintf("%T", live) {
		p.t.Errorf("%s: %v, recorded %v", where, live, recorded)
		return
	}
	switch recorded := recorded.(type) {
	case map[string]any:
		live, _ := live.(map[string]any)
		for _, name := range slices.Concat(names(recorded), names(live)) {
			p.learn(where+"."+name, recorded[name], live[name])
		}
	case []any:
		live, _ := live.([]any)
		if len(recorded) != len(live) {
			p.t.Errorf("%s: %d elements, recorded %d", where, len(live), len(recorded))
			return
		}
		for i := range recorded {
			p.learn(fmt.Sprintf("%s[%d]", where, i), recorded[i], live[i])
		}
	case string:
		live, _ := live.(string)
		p.learnText(where, recorded, live)
	}
}

func names(object map[string]any) (out []string) {
	for name := range object {
		out = append(out, name)
	}
	return out
}

// learnText notes the live value of a recorded one; of addresses, those of the query.
func (p *replay) learnText(where, recorded, live string) {
	p.t.Helper()
	if recorded == live {
		return
	}
	if strings.HasSuffix(where, ".code") || strings.HasSuffix(where, ".message") {
		p.t.Errorf("%s: %q, recorded %q", where, live, recorded)
	}
	old, err := url.Parse(recorded)
	if err != nil || old.Host == "" {
		p.live[recorded] = live
		return
	}
	now, err := url.Parse(live)
	if err != nil || old.Path != now.Path {
		p.t.Errorf("%s: %q, recorded %q", where, live, recorded)
		return
	}
	for name, values := range old.Query() {
		if got := now.Query().Get(name); got != values[0] {
			p.live[values[0]] = got
		}
	}
}

// TestNodeSDK runs the SDK itself, where it is at hand.
func TestNodeSDK(t *testing.T) {
	folder := os.Getenv("DIGIME_NODE_SDK")
	if folder == "" {
		t.Skip("set DIGIME_NODE_SDK to a folder with digi.me's Node.js SDK, built (dist/main), to run it against the sandbox")
	}
	r := newEmptyRig(t, Options{})
	key, privatePEM, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	r.AddContract(KindWrite, "write-1", &key.PublicKey, callback)
	r.AddContract(KindRead, "read-1", &key.PublicKey, callback)
	keyFile := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(keyFile, privatePEM, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "testdata/node-sdk.js", folder, r.http.URL, keyFile)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	want := `pushed
refreshed by push true
refreshed user-1
old token refused InvalidToken
authorized user-2 my state
pushed to a provider
reauthorized user-1
linked user-1
read completed after a refresh application/pdf P-1001; from a buffer application/pdf P-1001; from a stream application/pdf P-1001
redirect refused InvalidRedirectUri
contract refused InvalidToken
version refused SDKVersionInvalid
done
`
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s\n%s\nwant\n%s", err, out, errOut.String(), want)
	}
	if got := len(r.Deliveries()); got != 5 {
		t.Errorf("%d deliveries, want 5", got)
	}
}
