package sandbox

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

const (
	goodAgent = `{"agent":{"sdk":{"name":"nodejs","version":"16.1.5","meta":{"node":"v20"}}},"actions":{"pull":{}}}`
	verifier  = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"
)

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// json is a POST of a JSON body to a path of the API.
func (r *rig) json(path, body string, claims map[string]any) request {
	return request{
		method: "POST",
		url:    r.BaseURL(r.http.URL) + path,
		header: http.Header{"Authorization": {"Bearer " + sign(r.t, claims)}, "Content-Type": {"application/json"}},
		body:   strings.NewReader(body),
	}
}

func (r *rig) authorizeClaims(contract string, more ...string) map[string]any {
	return r.claims(contract, append([]string{
		"code_challenge", challenge(verifier), "code_challenge_method", "S256", "redirect_uri", callback,
		"response_mode", "query", "response_type", "code", "state", "my state&more",
	}, more...)...)
}

func (r *rig) referenceClaims(contract, access string) map[string]any {
	return r.claims(contract, "access_token", access,
		"code_challenge", challenge(verifier), "code_challenge_method", "S256", "redirect_uri", callback, "state", "s")
}

// link is the address of the page for a code from the answer.
func (r *rig) link(a answer, page, claim string) string {
	r.t.Helper()
	code := stringOf(readAnswerToken(r.t, a).jwt.claims[claim])
	if code == "" {
		r.t.Fatalf("no %s in %s", claim, a.body)
	}
	return r.OnboardURL(r.http.URL) + page + "?code=" + code + "&sourceType=pull&lng=nl"
}

func (r *rig) authorizeLink(contract string, more ...string) string {
	r.t.Helper()
	return r.link(r.must(r.json("oauth/authorize", goodAgent, r.authorizeClaims(contract, more...))), "authorize", "preauthorization_code")
}

func (r *rig) exchange(contract, code, verifier string) request {
	return r.tokenRequest(r.claims(contract, "grant_type", "authorization_code", "code", code, "code_verifier", verifier))
}

// decide answers for the person and returns the callback's query.
func (r *rig) decide(link string, share bool, user string) url.Values {
	r.t.Helper()
	to, err := r.Decide(link, share, user)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.callbackQuery(to)
}

func (r *rig) callbackQuery(to string) url.Values {
	r.t.Helper()
	u, err := url.Parse(to)
	if err != nil || !strings.HasPrefix(to, callback+"?") {
		r.t.Fatalf("callback to %q: %v", to, err)
	}
	return u.Query()
}

// TestConsentInTheBrowser goes the whole way with the pages, then pushes with what came of it.
func TestConsentInTheBrowser(t *testing.T) {
	r := newRig(t, Options{})
	r.http.Client().CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	link := r.authorizeLink("write-1")
	page := r.must(request{method: "GET", url: link})
	for _, want := range []string{"This is a sandbox, not digi.me", "write-1", "Share", "Decline", "<option>" + r.user + "</option>"} {
		if !strings.Contains(string(page.body), want) {
			t.Errorf("the page does not say %q:\n%s", want, page.body)
		}
	}
	form := request{method: "POST", url: link, header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}
	form.body = strings.NewReader("decision=share&library=" + r.user)
	shared := r.must(form)
	query := r.callbackQuery(shared.header.Get("Location"))
	if shared.status != http.StatusSeeOther || query.Get("success") != "true" || query.Get("state") != "my state&more" || query.Get("accountReference") == "" {
		t.Errorf("callback %d %v", shared.status, query)
	}
	token := readAnswerToken(t, r.must(r.exchange("write-1", query.Get("code"), verifier)))
	if got := stringOf(token.jwt.claims["sub"]); got != r.user {
		t.Errorf("consent of %q, want %q", got, r.user)
	}
	r.token.AccessToken.Value, _, _ = token.pair(t)
	if a := r.must(r.push("x")); a.status != http.StatusOK {
		t.Errorf("push: %d %s", a.status, a.body)
	}
	form.body = strings.NewReader("decision=share")
	if again := r.must(form); again.status != http.StatusGone || !strings.Contains(string(again.body), "not valid any more") {
		t.Errorf("the link again: %d %s", again.status, again.body)
	}
}

func TestDecline(t *testing.T) {
	r := newRig(t, Options{})
	query := r.decide(r.authorizeLink("write-1"), false, "")
	if len(query) != 2 || query.Get("success") != "false" || query.Get("errorCode") == "" {
		t.Errorf("callback %v", query)
	}
}

func TestDecideRefusals(t *testing.T) {
	r := newRig(t, Options{})
	link := r.authorizeLink("write-1")
	if _, err := r.Decide(link, true, "nobody"); err == nil {
		t.Error("a consent of nobody")
	}
	if _, err := r.Decide("http://x/?code=unknown", true, ""); err == nil {
		t.Error("a consent for an unknown link")
	}
	if _, err := r.Decide(link, true, ""); err != nil {
		t.Errorf("a mistaken choice used up the link: %v", err)
	}
	expired := r.authorizeLink("write-1")
	r.SetSkew(linkLife + time.Second)
	if _, err := r.Decide(expired, true, ""); err == nil {
		t.Error("a consent after the link expired")
	}
	page := r.must(request{method: "GET", url: strings.Replace(r.OnboardURL(r.http.URL), "saas/", "saas/user-reauth?code=x", 1)})
	if page.status != http.StatusGone {
		t.Errorf("page of an unknown link: %d", page.status)
	}
}

// TestLinkedConsent: with an access token the library is that user's, whatever is chosen at the page.
func TestLinkedConsent(t *testing.T) {
	r := newRig(t, Options{})
	link := r.authorizeLink("read-1", "access_token", r.token.AccessToken.Value)
	if page := string(r.must(request{method: "GET", url: link}).body); !strings.Contains(page, "that of <b>"+r.user) || strings.Contains(page, "<select") {
		t.Errorf("page: %s", page)
	}
	stranger := parseToken(t, r.NewUser("write-1", 0, 0)).User.ID
	query := r.decide(link, true, stranger)
	token := readAnswerToken(t, r.must(r.exchange("read-1", query.Get("code"), verifier)))
	if got := stringOf(token.jwt.claims["sub"]); got != r.user {
		t.Errorf("consent of %q, want %q", got, r.user)
	}
}

// TestReauthorize: an expired consent is renewed for the same user.
func TestReauthorize(t *testing.T) {
	r := newRig(t, Options{})
	r.ExpireAccess(r.user)
	r.KillRefresh(r.user)
	a := r.must(r.json("oauth/token/reference", goodAgent, r.referenceClaims("write-1", r.token.AccessToken.Value)))
	link := r.link(a, "user-reauth", "reference_code")
	wrong := r.must(request{method: "GET", url: strings.Replace(link, "user-reauth", "authorize", 1)})
	if wrong.status != http.StatusGone || !strings.Contains(string(wrong.body), "belongs to another page") {
		t.Errorf("the other page: %d %s", wrong.status, wrong.body)
	}
	query := r.decide(link, true, "")
	if query.Has("accountReference") || query.Get("state") != "s" {
		t.Errorf("callback %v", query)
	}
	token := readAnswerToken(t, r.must(r.exchange("write-1", query.Get("code"), verifier)))
	r.token.AccessToken.Value, _, _ = token.pair(t)
	if a := r.must(r.push("x")); a.status != http.StatusOK || r.Deliveries()[0].User != r.user {
		t.Errorf("push: %d %s", a.status, a.body)
	}
}

func TestAuthorizeRefusals(t *testing.T) {
	r := newRig(t, Options{})
	set := func(name, value string) map[string]any { return r.authorizeClaims("write-1", name, value) }
	expired := parseToken(t, r.NewUser("write-1", -time.Second, time.Hour)).AccessToken.Value
	for _, c := range []struct {
		name, path, body string
		claims           map[string]any
		status           int
		code, message    string
	}{
		{"redirect", "oauth/authorize", goodAgent, set("redirect_uri", "http://evil/"), 400, "InvalidRedirectUri", "The redirect_uri (http://evil/) is invalid"},
		{"redirect with a port", "oauth/authorize", goodAgent, set("redirect_uri", "http://localhost:8422/callback"), 400, "InvalidRedirectUri", ""},
		{"plain challenge", "oauth/authorize", goodAgent, set("code_challenge_method", "plain"), 406, "ValidationErrors", "S256"},
		{"padded challenge", "oauth/authorize", goodAgent, set("code_challenge", challenge(verifier)+"="), 406, "ValidationErrors", "code_challenge"},
		{"response mode", "oauth/authorize", goodAgent, set("response_mode", "fragment"), 406, "ValidationErrors", "query"},
		{"response type", "oauth/authorize", goodAgent, set("response_type", "token"), 406, "ValidationErrors", "code"},
		{"empty state", "oauth/authorize", goodAgent, set("state", ""), 406, "ValidationErrors", "state"},
		{"unknown token", "oauth/authorize", goodAgent, set("access_token", "x"), 401, "InvalidToken", "(access_token)"},
		{"expired token", "oauth/authorize", goodAgent, set("access_token", expired), 401, "InvalidToken", "(access_token)"},
		{"no body", "oauth/authorize", "", set("state", "s"), 406, "ValidationErrors", "body"},
		{"no agent", "oauth/authorize", "{}", set("state", "s"), 406, "ValidationErrors", "agent.sdk"},
		{"agent without version", "oauth/authorize", `{"agent":{"sdk":{"name":"x"}}}`, set("state", "s"), 406, "ValidationErrors", "agent.sdk"},
		{"further member", "oauth/authorize", `{"agent":{"sdk":{"name":"x","version":"1"}},"more":1}`, set("state", "s"), 406, "ValidationErrors", "more"},
		{"reference, unknown token", "oauth/token/reference", goodAgent, r.referenceClaims("write-1", "x"), 401, "InvalidToken", "(access_token)"},
		{"reference, claims of authorize", "oauth/token/reference", goodAgent, set("access_token", expired), 406, "ValidationErrors", "response_"},
		{"reference, no body", "oauth/token/reference", "[]", r.referenceClaims("write-1", expired), 406, "ValidationErrors", "body"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inner := *r
			inner.t = t
			inner.wantRefusal(inner.json(c.path, c.body, c.claims), c.status, c.code, c.message)
		})
	}
	q := r.json("oauth/authorize", goodAgent, set("state", "s"))
	q.header.Set("Content-Type", "text/plain")
	r.wantRefusal(q, 415, "UnsupportedMediaType", "text/plain")
}

func TestExchangeRefusals(t *testing.T) {
	r := newRig(t, Options{})
	code := func() string { return r.decide(r.authorizeLink("write-1"), true, "").Get("code") }
	r.AddContract(KindWrite, "write-2", &testKey().PublicKey, callback)
	good := code()
	r.wantRefusal(r.exchange("write-2", good, verifier), 401, "InvalidToken", "(authorization_code)")
	r.wantRefusal(r.exchange("write-1", good, "short"), 406, "ValidationErrors", "43 to 128")
	if a := r.must(r.exchange("write-1", good, verifier)); a.status != http.StatusOK {
		t.Fatalf("exchange: %d %s", a.status, a.body)
	}
	r.wantRefusal(r.exchange("write-1", good, verifier), 401, "InvalidToken", "(authorization_code)")
	wrong := code()
	r.wantRefusal(r.exchange("write-1", wrong, strings.Repeat("a", 43)), 406, "ValidationErrors", "code_challenge")
	r.wantRefusal(r.exchange("write-1", wrong, verifier), 401, "InvalidToken", "(authorization_code)")
	late := code()
	q := r.exchange("write-1", late, verifier)
	r.mu.Lock()
	r.codes[late].expiry = r.now().Add(-time.Second)
	r.mu.Unlock()
	r.wantRefusal(q, 401, "InvalidToken", "(authorization_code)")
}

func TestExchangeFault(t *testing.T) {
	r := newRig(t, Options{})
	query := r.decide(r.authorizeLink("write-1"), true, r.user)
	r.Fail(Fault{Kind: ReqExchange, User: r.user, Do: DoRefuse, Status: 500})
	if a := r.must(r.refreshRequest(r.token.RefreshToken.Value)); a.status != http.StatusOK {
		t.Errorf("refresh: %d", a.status)
	}
	if a := r.must(r.exchange("write-1", query.Get("code"), verifier)); a.status != 500 {
		t.Errorf("exchange: %d, want the fault", a.status)
	}
	if a := r.must(r.exchange("write-1", query.Get("code"), verifier)); a.status != http.StatusOK {
		t.Errorf("exchange after the fault: %d %s", a.status, a.body)
	}
}

func TestControlDecide(t *testing.T) {
	r := newRig(t, Options{})
	body, err := json.Marshal(map[string]any{"link": r.authorizeLink("write-1"), "share": true, "user": r.user})
	if err != nil {
		t.Fatal(err)
	}
	var out struct{ Callback string }
	if err := json.Unmarshal(r.control("POST", "decide", string(body)).body, &out); err != nil {
		t.Fatal(err)
	}
	if query := r.callbackQuery(out.Callback); query.Get("success") != "true" {
		t.Errorf("callback %v", query)
	}
	if a := r.control("POST", "decide", string(body)); a.status != http.StatusBadRequest {
		t.Errorf("decided twice: %d %s", a.status, a.body)
	}
}

// TestLegacyToken: contracts of the old kind get their tokens below /v1.6/ and may name their redirect URI.
func TestLegacyToken(t *testing.T) {
	r := newRig(t, Options{})
	code := r.decide(r.authorizeLink("post-1"), true, r.user).Get("code")
	exchange := func(redirect string) request {
		q := r.tokenRequest(r.claims("post-1", "grant_type", "authorization_code", "code", code, "code_verifier", verifier, "redirect_uri", redirect))
		q.url = r.LegacyBaseURL(r.http.URL) + "oauth/token"
		return q
	}
	r.wantRefusal(exchange("http://evil/"), 400, "InvalidRedirectUri", "evil")
	if a := r.must(exchange(callback)); a.status != http.StatusOK {
		t.Errorf("exchange: %d %s", a.status, a.body)
	}
	claims := r.claims("write-1", "grant_type", "refresh_token", "refresh_token", r.token.RefreshToken.Value, "redirect_uri", callback)
	r.wantRefusal(r.tokenRequest(claims), 406, "ValidationErrors", "redirect_uri does not belong")
}

// TestLegacyCallback: only contracts of the old kind are told about a postbox.
func TestLegacyCallback(t *testing.T) {
	r := newRig(t, Options{})
	legacy := r.decide(r.authorizeLink("post-1"), true, r.user)
	id, key, err := r.Postbox(r.user)
	if err != nil || legacy.Get("postboxId") != id || legacy.Get("publicKey") != key || id == "" {
		t.Errorf("legacy callback %v, postbox %q %v", legacy, id, err)
	}
	if query := r.decide(r.authorizeLink("write-1"), true, r.user); query.Has("postboxId") || query.Has("publicKey") {
		t.Errorf("callback %v", query)
	}
	if _, _, err := r.Postbox("nobody"); err == nil {
		t.Error("a postbox of nobody")
	}
}
