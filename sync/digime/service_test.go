package digime

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// service is an API whose token answers can be made up in every part.
type service struct {
	*Client
	t       *testing.T
	root    string
	key     *rsa.PrivateKey
	mu      sync.Mutex
	header  map[string]any
	claims  map[string]any
	token   string       // in place of one made of header and claims
	keys    []any        // of the key set
	fetched int          // how often the key set was
	keysDo  http.Handler // in place of the key set, if not nil
	tokenDo http.Handler // in place of the token answer, if not nil
}

// serviceKey is made once.
var serviceKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{t: t, key: serviceKey()}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1.7/oauth/token", s.answerToken)
	mux.HandleFunc("GET /v1.7/jwks/oauth", s.answerKeys)
	mux.HandleFunc("GET /v1.7/jwks/other", s.answerKeys)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.root = server.URL
	s.Client = newClient(t, Options{BaseURL: server.URL + "/v1.7", ApplicationID: "app"})
	s.header = map[string]any{"alg": "PS512", "typ": "JWT", "kid": "k1", "jku": server.URL + "/v1.7/jwks/oauth"}
	s.claims = goodClaims()
	s.keys = []any{pemKey("k1", &s.key.PublicKey)}
	return s
}

func goodClaims() map[string]any {
	return map[string]any{
		"access_token":  map[string]any{"value": "new-access", "expires_on": 1800000000},
		"refresh_token": map[string]any{"value": "new-refresh", "expires_on": 1900000000},
		"sub":           "user-1", "consentid": "consent-1", "identifier": map[string]any{"id": "scoped-1"}, "token_type": "Bearer",
	}
}

func pemKey(kid string, key *rsa.PublicKey) map[string]any {
	block := &pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(key)}
	return map[string]any{"kid": kid, "kty": "RSA", "pem": string(pem.EncodeToMemory(block))}
}

func (s *service) answerToken(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tokenDo != nil {
		s.tokenDo.ServeHTTP(w, r)
		return
	}
	token := s.token
	if token == "" {
		token = forge(s.key, s.header, s.claims)
	}
	answerJSON(w, 200, map[string]any{"token": token})
}

func (s *service) answerKeys(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetched++
	if s.keysDo != nil {
		s.keysDo.ServeHTTP(w, r)
		return
	}
	answerJSON(w, 200, map[string]any{"keys": s.keys})
}

// forge signs with nothing but crypto/rsa.
func forge(key *rsa.PrivateKey, header, claims map[string]any) string {
	part := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	text := part(header) + "." + part(claims)
	sum := sha512.Sum512([]byte(text))
	signature, err := rsa.SignPSS(rand.Reader, key, crypto.SHA512, sum[:], &rsa.PSSOptions{SaltLength: 64})
	if err != nil {
		panic(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}
