package digime

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"maps"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
	"github.com/golang-jwt/jwt/v5"
)

func TestRefresh(t *testing.T) {
	r := newRig(t)
	old := r.token
	fresh, err := r.Refresh(background(), r.contract, old, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if fresh.Access.Value == old.Access.Value || fresh.Refresh.Value == old.Refresh.Value || fresh.UserID != old.UserID || fresh.ConsentID != old.ConsentID {
		t.Errorf("the token is not fresh, or another's: %v after %v", fresh, old)
	}
	if err := r.Push(background(), r.contract, fresh.Access.Value, newUpload([]byte("x")).Upload); err != nil {
		t.Error(err)
	}
}

// The three fates of a refresh: carried out, refused, and carried out with the
// answer lost, when the old token still works once more.
func TestRefreshFates(t *testing.T) {
	r := newRig(t)
	r.sandbox.Fail(sandbox.Fault{Kind: sandbox.ReqRefresh, Do: sandbox.DoRefuse, Status: 503, RetryAfter: "3"})
	_, err := r.Refresh(background(), r.contract, r.token, nil, nil)
	if e := wantError(t, err, Passing, "refresh token: ", "503"); e.Lost || e.RetryAfter != 3*time.Second {
		t.Errorf("refused: %+v", e)
	}

	r.sandbox.Fail(sandbox.Fault{Kind: sandbox.ReqRefresh, Do: sandbox.DoLose})
	_, err = r.Refresh(background(), r.contract, r.token, nil, nil)
	if e := wantError(t, err, Passing, "lost"); !e.Lost || e.Doubt {
		t.Errorf("answer lost: %+v", e)
	}
	fresh, err := r.Refresh(background(), r.contract, r.token, nil, nil)
	if err != nil || fresh.UserID != r.token.UserID {
		t.Errorf("again with the old token: %v, %v", fresh, err)
	}

	r.sandbox.KillRefresh(r.token.UserID)
	_, err = r.Refresh(background(), r.contract, fresh, nil, nil)
	wantError(t, err, ConsentGone, "401 InvalidToken", "authorize again")
}

func TestForgedAnswersOfTheSandbox(t *testing.T) {
	for do, words := range map[string]string{
		sandbox.DoForeignKey: "signature fits no key",
		sandbox.DoForeignJKU: "not the API's",
		sandbox.DoUnknownKid: "not in digi.me's key set",
	} {
		r := newRig(t)
		r.sandbox.Fail(sandbox.Fault{Kind: sandbox.ReqRefresh, Do: do})
		_, err := r.Refresh(background(), r.contract, r.token, nil, nil)
		wantError(t, err, BadAnswer, words)
	}
}

func oldToken() Token {
	return Token{Access: TokenPart{"old-access", 1700000000}, Refresh: TokenPart{"old-refresh", 1700000000}, UserID: "user-1", ConsentID: "consent-0"}
}

func TestClaims(t *testing.T) {
	for name, c := range map[string]struct {
		change func(map[string]any)
		want   Token
		words  string // of the error
	}{
		"all":                {func(map[string]any) {}, Token{TokenPart{"new-access", 1800000000}, TokenPart{"new-refresh", 1900000000}, "user-1", "consent-1", nil, nil}, ""},
		"no person":          {func(c map[string]any) { delete(c, "sub"); delete(c, "identifier"); delete(c, "consentid") }, Token{TokenPart{"new-access", 1800000000}, TokenPart{"new-refresh", 1900000000}, "user-1", "consent-0", nil, nil}, ""},
		"by its scoped name": {func(c map[string]any) { c["sub"] = "x"; c["identifier"] = map[string]any{"id": "user-1"} }, Token{TokenPart{"new-access", 1800000000}, TokenPart{"new-refresh", 1900000000}, "user-1", "consent-1", nil, nil}, ""},
		"milliseconds": {func(c map[string]any) {
			c["access_token"] = map[string]any{"value": "new-access", "expires_on": 1800000000123}
		}, Token{TokenPart{"new-access", 1800000000}, TokenPart{"new-refresh", 1900000000}, "user-1", "consent-1", nil, nil}, ""},
		"long over by this clock": {func(c map[string]any) { c["exp"] = 1; c["nbf"] = 9999999999 }, Token{TokenPart{"new-access", 1800000000}, TokenPart{"new-refresh", 1900000000}, "user-1", "consent-1", nil, nil}, ""},

		"another user":           {func(c map[string]any) { c["sub"] = "user-2" }, Token{}, "another user"},
		"another scoped name":    {func(c map[string]any) { delete(c, "sub") }, Token{}, "another user"},
		"no access token":        {func(c map[string]any) { delete(c, "access_token") }, Token{}, "no access token"},
		"empty refresh token":    {func(c map[string]any) { c["refresh_token"] = map[string]any{"value": "", "expires_on": 1900000000} }, Token{}, "no refresh token"},
		"no expiry":              {func(c map[string]any) { c["access_token"] = map[string]any{"value": "v"} }, Token{}, "when the access token ends"},
		"expiry of 1970":         {func(c map[string]any) { c["access_token"] = map[string]any{"value": "v", "expires_on": 3600} }, Token{}, "when the access token ends"},
		"expiry in no century":   {func(c map[string]any) { c["access_token"] = map[string]any{"value": "v", "expires_on": 1e30} }, Token{}, "when the access token ends"},
		"negative expiry":        {func(c map[string]any) { c["access_token"] = map[string]any{"value": "v", "expires_on": -1800000000} }, Token{}, "when the access token ends"},
		"a number for the token": {func(c map[string]any) { c["access_token"] = map[string]any{"value": 5, "expires_on": 1} }, Token{}, "not a signed token"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t)
			c.change(s.claims)
			got, err := s.Refresh(background(), aContract(), oldToken(), nil, nil)
			if c.words == "" {
				if err != nil || got != c.want {
					t.Errorf("got %#v, %v", got, err)
				}
				return
			}
			wantError(t, err, BadAnswer, c.words)
		})
	}
	t.Run("a new user", func(t *testing.T) {
		s := newService(t)
		old := oldToken()
		old.UserID = ""
		if got, err := s.Refresh(background(), aContract(), old, nil, nil); err != nil || got.UserID != "user-1" {
			t.Errorf("got %q, %v", got.UserID, err)
		}
	})
}

func TestForgedHeaders(t *testing.T) {
	hs := func(s *service) string { // the public key taken for a shared secret
		return forgeWith(s, "HS256")
	}
	for name, c := range map[string]struct {
		change func(*service)
		words  string
	}{
		"alg none":        {func(s *service) { s.header["alg"] = "none" }, "PS512"},
		"alg HS256":       {func(s *service) { s.token = hs(s) }, "PS512"},
		"alg RS512":       {func(s *service) { s.header["alg"] = "RS512" }, "PS512"},
		"alg PS256":       {func(s *service) { s.header["alg"] = "PS256" }, "PS512"},
		"truly RS512":     {func(s *service) { s.token = signWith(s, jwt.SigningMethodRS512) }, "PS512"},
		"truly PS256":     {func(s *service) { s.token = signWith(s, jwt.SigningMethodPS256) }, "PS512"},
		"alg unknown":     {func(s *service) { s.header["alg"] = "XX" }, "known way"},
		"alg missing":     {func(s *service) { delete(s.header, "alg") }, "known way"},
		"kid missing":     {func(s *service) { delete(s.header, "kid") }, "does not name its key"},
		"kid a number":    {func(s *service) { s.header["kid"] = 7 }, "does not name its key"},
		"kid unknown":     {func(s *service) { s.header["kid"] = "k2" }, "not in digi.me's key set"},
		"key of another":  {func(s *service) { s.key = testKey() }, "signature fits no key"},
		"crit":            {func(s *service) { s.header["crit"] = []string{"b64"} }, "extensions"},
		"jku a number":    {func(s *service) { s.header["jku"] = 7 }, "not a text"},
		"jku foreign":     {func(s *service) { s.header["jku"] = "https://evil.example/v1.7/jwks/oauth" }, "evil.example"},
		"jku other port":  {func(s *service) { s.header["jku"] = "http://127.0.0.1:1/v1.7/jwks/oauth" }, "not the API's"},
		"jku https":       {func(s *service) { s.header["jku"] = strings.Replace(s.root, "http:", "https:", 1) + "/v1.7/jwks/oauth" }, "not the API's"},
		"jku beside base": {func(s *service) { s.header["jku"] = s.root + "/v1.8/jwks/oauth" }, "below"},
		"jku climbs":      {func(s *service) { s.header["jku"] = s.root + "/v1.7/../evil" }, "below"},
		"jku climbs %2e":  {func(s *service) { s.header["jku"] = s.root + "/v1.7/%2e%2e/evil" }, "below"},
		"jku with user":   {func(s *service) { s.header["jku"] = strings.Replace(s.root, "//", "//evil@", 1) + "/v1.7/jwks/oauth" }, "not the API's"},
		"jku no URL":      {func(s *service) { s.header["jku"] = "://" }, "not a URL"},
		"not a token":     {func(s *service) { s.token = "abc" }, "not a signed token"},
		"three dots":      {func(s *service) { s.token = "a.b.c" }, "not a signed token"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t)
			c.change(s)
			_, err := s.Refresh(background(), aContract(), oldToken(), nil, nil)
			if e := wantError(t, err, BadAnswer, c.words); e.Lost {
				t.Error("an answer that came is called lost")
			}
			if strings.Contains(err.Error(), "new-access") || strings.Contains(err.Error(), "eyJ") {
				t.Errorf("%q shows the token", err)
			}
		})
	}
}

// signWith signs with the service's key, but in another way.
func signWith(s *service, method jwt.SigningMethod) string {
	token := jwt.NewWithClaims(method, jwt.MapClaims(s.claims))
	token.Header["kid"], token.Header["jku"] = s.header["kid"], s.header["jku"]
	text, err := token.SignedString(s.key)
	if err != nil {
		panic(err)
	}
	return text
}

// forgeWith makes a token whose HMAC key is the service's public key.
func forgeWith(s *service, alg string) string {
	header := maps.Clone(s.header)
	header["alg"] = alg
	return hmacToken([]byte(s.keys[0].(map[string]any)["pem"].(string)), header, s.claims)
}

func TestHeadersThatAreFine(t *testing.T) {
	for name, change := range map[string]func(*service){
		"no jku":      func(s *service) { delete(s.header, "jku") },
		"another set": func(s *service) { s.header["jku"] = s.root + "/v1.7/jwks/other" },
		"n and e":     func(s *service) { s.keys = []any{numbersKey("k1", &s.key.PublicKey)} },
		"PKIX":        func(s *service) { s.keys = []any{pkixKey("k1", &s.key.PublicKey)} },
		"other kinds": func(s *service) {
			s.keys = []any{7, map[string]any{"kid": "k1", "kty": "EC"}, pemKey("k1", &s.key.PublicKey)}
		},
		"typ left out":  func(s *service) { delete(s.header, "typ") },
		"several keys":  func(s *service) { s.keys = []any{pemKey("k0", &testKey().PublicKey), pemKey("k1", &s.key.PublicKey)} },
		"twice the kid": func(s *service) { s.keys = append(s.keys, pemKey("k1", &testKey().PublicKey)) },
	} {
		s := newService(t)
		change(s)
		for range 3 {
			if _, err := s.Refresh(background(), aContract(), oldToken(), nil, nil); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if s.fetched > 2 {
			t.Errorf("%s: the key set was fetched %d times", name, s.fetched)
		}
	}
}

func numbersKey(kid string, key *rsa.PublicKey) map[string]any {
	enc := base64.RawURLEncoding.EncodeToString
	return map[string]any{"kid": kid, "kty": "RSA", "n": enc(key.N.Bytes()), "e": enc(big.NewInt(int64(key.E)).Bytes())}
}

func pkixKey(kid string, key *rsa.PublicKey) map[string]any {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic(err)
	}
	return map[string]any{"kid": kid, "pem": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}
}

func TestTokenAnswers(t *testing.T) {
	body := func(status int, kind, text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		})
	}
	cut := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"token":"`)
	})
	for name, c := range map[string]struct {
		do    http.Handler
		class Class
		lost  bool
		words string
	}{
		"a page":         {body(200, "text/html; charset=utf-8", "<html>log in"), Passing, false, "web page"},
		"no JSON":        {body(200, "application/json", "hello"), BadAnswer, false, "no token"},
		"no token":       {body(200, "application/json", `{"session":{}}`), BadAnswer, false, "no token"},
		"cut short":      {cut, Passing, true, "lost"},
		"too long":       {body(200, "application/json", strings.Repeat(" ", maxTokenBody+1)), Passing, true, "does not end"},
		"wrong client":   {body(401, "application/json", `{"error":{"code":"InvalidClient","message":"no"}}`), Configuration, false, "InvalidClient"},
		"401 no reason":  {body(401, "text/plain", ""), Passing, false, "does not say why"},
		"wrong base URL": {body(404, "application/json", `{"error":{"code":"NotFound"}}`), Configuration, false, "address of the API"},
		"a gateway":      {body(502, "text/html", "<html>"), Passing, false, "502"},
		"malformed":      {body(406, "application/json", `{"error":{"code":"InvalidRequest","message":"nonce"}}`), Malformed, false, "nonce"},
	} {
		s := newService(t)
		s.tokenDo = c.do
		_, err := s.Refresh(background(), aContract(), oldToken(), nil, nil)
		if e := wantError(t, err, c.class, c.words); e.Lost != c.lost {
			t.Errorf("%s: lost %v, want %v", name, e.Lost, c.lost)
		}
	}
}

func TestRefreshIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Options{BaseURL: "http://localhost/", ApplicationID: "app"})
		if err != nil {
			t.Fatal(err)
		}
		c.transport.DialContext = hangingDial
		began := time.Now()
		_, err = c.Refresh(background(), aContract(), oldToken(), nil, nil)
		if e := wantError(t, err, Passing, "no answer in time"); e.Lost || time.Since(began) != callTimeout {
			t.Errorf("after %v: %+v", time.Since(began), e)
		}
		ctx, cancel := context.WithTimeout(background(), time.Second)
		defer cancel()
		if _, err := c.Refresh(ctx, aContract(), oldToken(), nil, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the caller's own end: %v", err)
		}
		time.Sleep(3 * callTimeout) // for the transport to give up its dials
	})
}
