package digime

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"
)

const (
	keysFresh  = 15 * time.Minute // how long a key set is used, as in the iOS SDK
	keysAgain  = 3 * time.Second  // between fetches for the sake of an answer that no known key fits
	maxKeys    = 100
	minKeyBits = 2048
	maxKeyBits = 8192
)

// keySet holds the keys the service signs its answers with.
type keySet struct {
	c    *Client
	turn chan struct{} // holds one value; who takes it may fetch, so that many callers fetch once

	mu     sync.Mutex // guards the rest
	url    string     // {base}jwks/oauth until a token names another below base
	keys   map[string]*rsa.PublicKey
	at     time.Time // of the last fetch that succeeded
	forced time.Time // of the last fetch for the sake of an answer
	failed error     // of that fetch
}

func newKeySet(c *Client) *keySet {
	s := &keySet{c: c, turn: make(chan struct{}, 1), url: c.base.JoinPath("jwks/oauth").String()}
	s.turn <- struct{}{}
	return s
}

// badAnswer is an answer that is not to be believed; the text says why and
// holds nothing of the answer that was not cleaned.
type badAnswer struct{ what string }

func (e *badAnswer) Error() string { return e.what }

func badf(format string, args ...any) error { return &badAnswer{fmt.Sprintf(format, args...)} }

// ready makes sure that a fresh key set is at hand.
func (s *keySet) ready(ctx context.Context) error {
	if s.fresh() {
		return nil
	}
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	if s.fresh() { // somebody else fetched it meanwhile
		return nil
	}
	return s.fetch(ctx)
}

func (s *keySet) fresh() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.freshLocked()
}

func (s *keySet) freshLocked() bool { return s.keys != nil && time.Since(s.at) < keysFresh }

func (s *keySet) take(ctx context.Context) error {
	select {
	case <-s.turn:
		return nil
	case <-ctx.Done():
		return networkError(opKeys, ended(ctx, nil))
	}
}

func (s *keySet) give() { s.turn <- struct{}{} }

// find returns the key kid of the set at jku, by what is known without asking
// anybody: nil if that does not hold it.
func (s *keySet) find(jku, kid string) *rsa.PublicKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	if jku != "" && s.url != jku || !s.freshLocked() {
		return nil
	}
	return s.keys[kid]
}

// renew fetches the set at jku anew for the sake of an answer that no known key
// fits: the service may have new keys, under new names or the old ones. Answers
// with made-up names and signatures make no storm of it: where that has just been
// done it is not done again, and its outcome stands.
func (s *keySet) renew(ctx context.Context, jku string) error {
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	s.mu.Lock()
	since, err, from := time.Since(s.forced), s.failed, s.url
	s.mu.Unlock()
	if since < keysAgain {
		return err
	}
	if jku != "" {
		from = jku
	}
	err = s.fetchFrom(ctx, from)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forced, s.failed = time.Now(), err
	return err
}

// ownJKU refuses key sets anywhere but below the configured base URL: whoever
// could name another could sign anything. (The SDKs follow any address.)
func (c *Client) ownJKU(jku string) error {
	u, err := url.Parse(jku)
	if err != nil {
		return badf("the address of its key set is not a URL")
	}
	if u.Scheme != c.base.Scheme || u.Opaque != "" || u.User != nil || u.Fragment != "" ||
		!strings.EqualFold(u.Hostname(), c.base.Hostname()) || port(u) != port(c.base) {
		return badf("its key set is at host %s, which is not the API's", clean(u.Host))
	}
	if !strings.HasPrefix(u.Path, c.base.Path) || u.RawPath != "" || path.Clean(u.Path) != u.Path {
		return badf("its key set is not below the API's base URL")
	}
	return nil
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "http":
		return "80"
	}
	return "443"
}

// fetch gets the set from where it is. Nothing changes when that fails.
func (s *keySet) fetch(ctx context.Context) error {
	s.mu.Lock()
	from := s.url
	s.mu.Unlock()
	return s.fetchFrom(ctx, from)
}

func (s *keySet) fetchFrom(ctx context.Context, from string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return &Error{Op: opKeys, Class: Configuration, what: "the address of the API cannot be used", Err: err}
	}
	a, _, err := s.c.call(ctx, opKeys, req, maxTokenBody)
	switch {
	case err != nil:
		return networkError(opKeys, ended(ctx, err))
	case !a.ok() || a.html():
		return s.c.refused(opKeys, a)
	case a.err != nil:
		return networkError(opKeys, a.err)
	}
	keys, err := parseKeySet(a.body)
	if err != nil {
		return &Error{Op: opKeys, Class: BadAnswer, Host: true, what: err.Error(), Err: err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.url, s.keys, s.at = from, keys, time.Now()
	return nil
}

// jwk is a key as the service publishes it; n and e may be absent.
type jwk struct {
	Kid string `json:"kid"`
	Kty string `json:"kty"`
	Pem string `json:"pem"`
	N   string `json:"n"`
	E   string `json:"e"`
}

// parseKeySet reads {"keys":[…]}. Keys that cannot be used are left out: the
// set may hold keys for other purposes.
func parseKeySet(data []byte) (map[string]*rsa.PublicKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil || set.Keys == nil {
		return nil, errors.New("what came is not a key set")
	}
	keys := make(map[string]*rsa.PublicKey)
	for _, raw := range set.Keys[:min(len(set.Keys), maxKeys)] {
		var k jwk
		if json.Unmarshal(raw, &k) != nil || k.Kid == "" || keys[k.Kid] != nil {
			continue
		}
		if key := k.public(); key != nil {
			keys[k.Kid] = key
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the key set holds no key that can be used")
	}
	return keys, nil
}

// public is the key itself: pem where there is one, since that is what the
// SDKs use, else n and e. nil if it cannot be used.
func (k jwk) public() *rsa.PublicKey {
	if k.Kty != "" && k.Kty != "RSA" {
		return nil
	}
	key := k.fromPEM()
	if k.Pem == "" {
		key = k.fromNumbers()
	}
	if key == nil || publicKeyFault(key) != "" {
		return nil
	}
	return key
}

func (k jwk) fromPEM() *rsa.PublicKey {
	block, _ := pem.Decode([]byte(k.Pem))
	if block == nil {
		return nil
	}
	if key, err := x509.ParsePKCS1PublicKey(block.Bytes); err == nil {
		return key
	}
	other, _ := x509.ParsePKIXPublicKey(block.Bytes)
	key, _ := other.(*rsa.PublicKey)
	return key
}

func (k jwk) fromNumbers() *rsa.PublicKey {
	n, errN := base64.RawURLEncoding.DecodeString(strings.TrimRight(k.N, "="))
	e, errE := base64.RawURLEncoding.DecodeString(strings.TrimRight(k.E, "="))
	if errN != nil || errE != nil || len(n) == 0 || len(n) > maxKeyBits/8+1 || len(e) == 0 || len(e) > 4 {
		return nil
	}
	exponent := new(big.Int).SetBytes(e)
	if exponent.BitLen() > 31 {
		return nil
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())}
}
