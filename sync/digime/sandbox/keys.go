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

// signingKeys are those of the service: the published one, one that a faulty answer is signed with, and the one whose
// public half legacy callbacks hand out for encrypting to postboxes.
type signingKeys struct {
	kid              string
	service, foreign *rsa.PrivateKey
	postbox          *rsa.PrivateKey
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
	sum := sha256.Sum256(made[0].N.Bytes())
	return &signingKeys{kid: hex.EncodeToString(sum[:8]), service: made[0], foreign: made[1], postbox: made[2]}, nil
})

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

// serveKeySet answers jwks/oauth: the keys with which the service signs.
func (s *Server) serveKeySet(*call) (reply, error) {
	return jsonReply(http.StatusOK, keySet(s.keys.kid, &s.keys.service.PublicKey)), nil
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
