package sandbox

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// answerToken is a token signed by the service, taken apart.
type answerToken struct {
	header map[string]string
	jwt    jwt
}

func readAnswerToken(t *testing.T, a answer) answerToken {
	t.Helper()
	var body struct{ Token string }
	if err := json.Unmarshal(a.body, &body); err != nil || a.status != http.StatusOK {
		t.Fatalf("no token: %d %s", a.status, a.body)
	}
	parts := strings.Split(body.Token, ".")
	var out answerToken
	decodePart(t, parts[0], &out.header)
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	out.jwt = jwt{signed: parts[0] + "." + parts[1], signature: signature}
	decodePart(t, parts[1], &out.jwt.claims)
	return out
}

func decodePart(t *testing.T, part string, v any) {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// pair is the pair of tokens in the claims.
func (a answerToken) pair(t *testing.T) (access, refresh string, accessExpiry int64) {
	t.Helper()
	var out [2]struct {
		Value     string
		ExpiresOn int64 `json:"expires_on"`
	}
	for i, name := range []string{"access_token", "refresh_token"} {
		if err := json.Unmarshal(a.jwt.claims[name], &out[i]); err != nil || out[i].ExpiresOn == 0 {
			t.Fatalf("%s: %s %v", name, a.jwt.claims[name], err)
		}
	}
	return out[0].Value, out[1].Value, out[0].ExpiresOn
}

// keys fetches a key set and takes each key from its pem.
func (r *rig) keys(url string) map[string]*rsa.PublicKey {
	r.t.Helper()
	a := r.must(request{method: "GET", url: url})
	var set struct{ Keys []jwk }
	if err := json.Unmarshal(a.body, &set); err != nil || a.status != http.StatusOK {
		r.t.Fatalf("key set: %d %s", a.status, a.body)
	}
	out := map[string]*rsa.PublicKey{}
	for _, k := range set.Keys {
		block, rest := pem.Decode([]byte(k.PEM))
		if block == nil || block.Type != "RSA PUBLIC KEY" || len(rest) > 0 {
			r.t.Fatalf("pem is not PKCS#1: %q", k.PEM)
		}
		key, err := x509.ParsePKCS1PublicKey(block.Bytes)
		if err != nil {
			r.t.Fatal(err)
		}
		n, err := base64.RawURLEncoding.DecodeString(k.N)
		if err != nil || key.N.Cmp(new(big.Int).SetBytes(n)) != 0 || k.E != "AQAB" || k.Kty != "RSA" {
			r.t.Errorf("kty, n and e do not say what pem says: %+v", k)
		}
		out[k.Kid] = key
	}
	return out
}

func TestRefresh(t *testing.T) {
	r := newRig(t, Options{})
	token := readAnswerToken(t, r.must(r.refreshRequest(r.token.RefreshToken.Value)))
	if token.header["alg"] != "PS512" || token.header["jku"] != r.http.URL+"/v1.7/jwks/oauth" {
		t.Errorf("header %v", token.header)
	}
	if err := token.jwt.verify(r.keys(token.header["jku"])[token.header["kid"]]); err != nil {
		t.Errorf("the answer does not verify: %v", err)
	}
	access, refresh, expiry := token.pair(t)
	if access == r.token.AccessToken.Value || refresh == r.token.RefreshToken.Value {
		t.Error("the tokens did not change")
	}
	if in := time.Until(time.Unix(expiry, 0)); in < 59*time.Minute || in > time.Hour {
		t.Errorf("the access token lives %v, want what the first one had: an hour", in)
	}
	if got := stringOf(token.jwt.claims["sub"]); got != r.user {
		t.Errorf("sub is %q, want %q", got, r.user)
	}
	r.token.AccessToken.Value = access
	if a := r.must(r.push("x")); a.status != http.StatusOK {
		t.Errorf("push with the new token: %d %s", a.status, a.body)
	}
	r.wantRefusal(r.refreshRequest(r.token.RefreshToken.Value), 401, "InvalidToken", "The token (refresh_token) is invalid")
}

func TestTokenRefusals(t *testing.T) {
	r := newRig(t, Options{})
	r.AddContract(KindWrite, "write-2", &testKey().PublicKey)
	dead := parseToken(t, r.NewUser("write-1", -time.Second, 0))
	claims := func(contract string, more ...string) map[string]any { return r.claims(contract, more...) }
	for _, c := range []struct {
		name    string
		claims  map[string]any
		status  int
		code    string
		message string
	}{
		{"expired", claims("write-1", "grant_type", "refresh_token", "refresh_token", dead.RefreshToken.Value), 401, "InvalidToken", "(refresh_token) is expired"},
		{"access token", claims("write-1", "grant_type", "refresh_token", "refresh_token", r.token.AccessToken.Value), 401, "InvalidToken", "is invalid"},
		{"of another contract", claims("write-2", "grant_type", "refresh_token", "refresh_token", r.token.RefreshToken.Value), 401, "InvalidToken", "is invalid"},
		{"wrong grant type", claims("write-1", "grant_type", "password", "refresh_token", r.token.RefreshToken.Value), 406, "ValidationErrors", "grant_type"},
		{"with access token", claims("write-1", "grant_type", "refresh_token", "refresh_token", "x", "access_token", "y"), 406, "ValidationErrors", "does not belong"},
		{"nothing", claims("write-1"), 406, "ValidationErrors", "grant_type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inner := *r
			inner.t = t
			inner.wantRefusal(inner.tokenRequest(c.claims), c.status, c.code, c.message)
		})
	}
	r.token = dead
	r.wantRefusal(r.push("x"), 401, "InvalidToken", "The token (access_token) is expired")
}

func TestExpireAndKill(t *testing.T) {
	r := newRig(t, Options{})
	r.ExpireAccess(r.user)
	r.wantRefusal(r.push("x"), 401, "InvalidToken", "(access_token) is expired")
	access, refresh, _ := readAnswerToken(t, r.must(r.refreshRequest(r.token.RefreshToken.Value))).pair(t)
	r.token.AccessToken.Value = access
	if a := r.must(r.push("x")); a.status != http.StatusOK {
		t.Fatalf("push: %d %s", a.status, a.body)
	}
	r.KillRefresh(r.user)
	r.wantRefusal(r.refreshRequest(refresh), 401, "InvalidToken", "(refresh_token) is invalid")
	if a := r.must(r.push("y")); a.status != http.StatusOK {
		t.Errorf("a killed refresh token ended the access token: %d %s", a.status, a.body)
	}
}

// TestLostRefresh: what each rotation says to the old token once the answer with the new pair was lost.
func TestLostRefresh(t *testing.T) {
	for _, c := range []struct {
		rotation Rotation
		again    int // status of the repeated refresh
	}{
		{"", 200}, {RotationForgiving, 200}, {RotationStrict, 401}, {RotationRevoking, 401},
	} {
		t.Run(string(c.rotation), func(t *testing.T) {
			r := newRig(t, Options{Rotation: c.rotation})
			old := r.token.RefreshToken.Value
			r.Fail(Fault{Kind: ReqRefresh, Do: DoLose, Count: 2})
			if a, err := r.send(r.refreshRequest(old)); err == nil {
				t.Fatalf("the answer was not lost: %d", a.status)
			}
			if c.again == http.StatusOK { // lost twice is no worse than once
				if a, err := r.send(r.refreshRequest(old)); err == nil {
					t.Fatalf("the answer was not lost: %d", a.status)
				}
			}
			r.ClearFaults()
			if a := r.must(r.refreshRequest(old)); a.status != c.again {
				t.Errorf("the old token again: %d %s, want %d", a.status, a.body, c.again)
			}
		})
	}
}

// TestReuse: an old token is refused once the new pair was used; only RotationRevoking takes the new pair away too.
func TestReuse(t *testing.T) {
	for _, c := range []struct {
		rotation Rotation
		after    int // status of a push with the new access token after the reuse
	}{
		{RotationForgiving, 200}, {RotationStrict, 200}, {RotationRevoking, 401},
	} {
		t.Run(string(c.rotation), func(t *testing.T) {
			r := newRig(t, Options{Rotation: c.rotation})
			old := r.token.RefreshToken.Value
			r.token.AccessToken.Value, _, _ = readAnswerToken(t, r.must(r.refreshRequest(old))).pair(t)
			if a := r.must(r.push("x")); a.status != http.StatusOK {
				t.Fatalf("push: %d %s", a.status, a.body)
			}
			r.wantRefusal(r.refreshRequest(old), 401, "InvalidToken", "is invalid")
			if a := r.must(r.push("y")); a.status != c.after {
				t.Errorf("push after the reuse: %d %s, want %d", a.status, a.body, c.after)
			}
		})
	}
}

// TestRepeatedRefreshReplacesThePair: the pair whose answer was lost is worth nothing, should it turn up after all.
func TestRepeatedRefreshReplacesThePair(t *testing.T) {
	r := newRig(t, Options{})
	old := r.token.RefreshToken.Value
	lostAccess, lost, _ := readAnswerToken(t, r.must(r.refreshRequest(old))).pair(t)
	_, kept, _ := readAnswerToken(t, r.must(r.refreshRequest(old))).pair(t)
	r.wantRefusal(r.refreshRequest(lost), 401, "InvalidToken", "is invalid")
	r.token.AccessToken.Value = lostAccess
	r.wantRefusal(r.push("x"), 401, "InvalidToken", "is invalid")
	if a := r.must(r.refreshRequest(kept)); a.status != http.StatusOK {
		t.Errorf("the kept token: %d %s", a.status, a.body)
	}
}

// TestConcurrentRefresh: with strict rotation exactly one of many refreshes with the same token wins.
func TestConcurrentRefresh(t *testing.T) {
	r := newRig(t, Options{Rotation: RotationStrict})
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 12 {
		q := r.refreshRequest(r.token.RefreshToken.Value)
		wg.Go(func() {
			a, err := r.send(q)
			mu.Lock()
			defer mu.Unlock()
			if err == nil && a.status == http.StatusOK {
				won++
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d refreshes won, want 1", won)
	}
}

func TestForgedAnswers(t *testing.T) {
	r := newRig(t, Options{})
	elsewhere := httptest.NewServer(r.Server) // another origin, with the forger's key set
	t.Cleanup(elsewhere.Close)
	own := r.keys(r.http.URL + "/v1.7/jwks/oauth")
	refresh := func(f Fault) answerToken {
		r.Fail(f)
		return readAnswerToken(t, r.must(r.refreshRequest(parseToken(t, r.NewUser("write-1", time.Hour, time.Hour)).RefreshToken.Value)))
	}

	token := refresh(Fault{Do: DoForeignKey})
	if token.jwt.verify(own[token.header["kid"]]) == nil {
		t.Error("foreign-key: the answer verifies")
	}
	token = refresh(Fault{Do: DoUnknownKid})
	if own[token.header["kid"]] != nil {
		t.Error("unknown-kid: the kid is in the key set")
	}
	token = refresh(Fault{Do: DoForeignJKU, JKU: elsewhere.URL + foreignKeysPath})
	if token.header["jku"] != elsewhere.URL+foreignKeysPath || own[token.header["kid"]] != nil {
		t.Errorf("foreign-jku: header %v", token.header)
	}
	if err := token.jwt.verify(r.keys(token.header["jku"])[token.header["kid"]]); err != nil {
		t.Errorf("foreign-jku: the forged answer must be sound in itself: %v", err)
	}
	if token = refresh(Fault{Do: DoForeignJKU}); token.header["jku"] != "https://keys.invalid/jwks/oauth" {
		t.Errorf("foreign-jku without an address: header %v", token.header)
	}
}

func TestNewToken(t *testing.T) {
	r := newRig(t, Options{})
	data, err := r.NewToken(r.user, "read-1", 90*time.Minute, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	token := parseToken(t, data)
	if in := time.Until(time.Unix(token.AccessToken.Expiry, 0)); token.User.ID != r.user || token.ConsentID == "" || in > 90*time.Minute || in < 80*time.Minute {
		t.Errorf("token %+v lives %v", token, in)
	}
	if _, err := r.NewToken("nobody", "read-1", 0, 0); err == nil {
		t.Error("a token for nobody")
	}
}
