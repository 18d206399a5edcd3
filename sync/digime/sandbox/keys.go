package sandbox

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/http"
	"sync"
)

// minKeyBits is the smallest contract key digi.me issues; a smaller one cannot even sign PS512 safely.
const minKeyBits = 2048

// GenerateKey makes an RSA-2048 contract key. The PEM is PKCS#1, as the SDKs want it.
func GenerateKey() (key *rsa.PrivateKey, privatePEM []byte, err error) {
	key, err = rsa.GenerateKey(rand.Reader, minKeyBits)
	if err != nil {
		return nil, nil, err
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	return key, pem.EncodeToMemory(block), nil
}

// signingKeys are those of the service: the one it signs with, one that a faulty answer is signed with, and the one
// whose public half legacy callbacks hand out for encrypting to postboxes.
type signingKeys struct {
	kid              string
	service, foreign *rsa.PrivateKey
	postbox          *rsa.PrivateKey
}

// publishedKey is what the key set shows.
type publishedKey struct {
	kid string
	key *rsa.PublicKey
}

// processKeys makes the service's keys once for all sandboxes of a process: they carry no secret worth the second
// that making them anew for every test would take.
var processKeys = sync.OnceValues(func() (*signingKeys, error) {
	var made [3]*rsa.PrivateKey
	for i := range made {
		key, _, err := GenerateKey()
		if err != nil {
			return nil, err
		}
		made[i] = key
	}
	return &signingKeys{kid: kidOf(made[0]), service: made[0], foreign: made[1], postbox: made[2]}, nil
})

// kidOf names a key.
func kidOf(key *rsa.PrivateKey) string {
	sum := sha256.Sum256(key.N.Bytes())
	return hex.EncodeToString(sum[:8])
}

// RotateKey has the service sign with a new key from now on, under a new name or the one before. The key set shows
// it, in place of the one before, once show is called: a service whose key set is behind is what clients must stand.
// Errors: no randomness.
func (s *Server) RotateKey(sameKid bool) (show func(), err error) {
	key, _, err := GenerateKey()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := *s.keys // which others of the process share
	if keys.service = key; !sameKid {
		keys.kid = kidOf(key)
	}
	s.keys = &keys
	shown := publishedKey{keys.kid, &key.PublicKey}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.shown = shown
	}, nil
}

// signing returns the keys in use.
func (s *Server) signing() *signingKeys {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys
}

// publicPEM is a public key in PKCS#1, the form in which the service publishes keys.
func publicPEM(key *rsa.PublicKey) string {
	block := &pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(key)}
	return string(pem.EncodeToMemory(block))
}

type jwk struct {
	Kid string `json:"kid"`
	Kty string `json:"kty"`
	N   string `json:"n"`
	E   string `json:"e"`
	PEM string `json:"pem"`
}

// serveKeySet answers jwks/oauth: the key with which the service signs, as far as the set has heard of it.
func (s *Server) serveKeySet(*call) (reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return jsonReply(http.StatusOK, keySet(s.shown.kid, s.shown.key)), nil
}

func keySet(kid string, pub *rsa.PublicKey) map[string][]jwk {
	return map[string][]jwk{"keys": {{
		Kid: kid,
		Kty: "RSA",
		N:   base64.RawURLEncoding.EncodeToString(pub.N.Bytes()),
		E:   base64.RawURLEncoding.EncodeToString(big.NewInt(int64(pub.E)).Bytes()),
		PEM: publicPEM(pub),
	}}}
}
