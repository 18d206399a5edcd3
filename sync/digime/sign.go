package digime

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const alphanumerics = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// alphanumeric returns n random characters. Bytes beyond the last whole
// multiple of the alphabet's size are thrown away: a remainder would favour
// its first letters.
func alphanumeric(n int) string {
	const fair = 256 - 256%len(alphanumerics)
	out := make([]byte, 0, n)
	buf := make([]byte, n+n/4)
	for len(out) < n {
		rand.Read(buf) // never fails: see crypto/rand
		for _, b := range buf {
			if int(b) < fair && len(out) < n {
				out = append(out, alphanumerics[int(b)%len(alphanumerics)])
			}
		}
	}
	return string(out)
}

// bearer signs the claims of one request, together with those that every
// request has: a nonce is never used twice, so it is called for every attempt.
func (c *Client) bearer(k Contract, claims jwt.MapClaims) (string, error) {
	claims["client_id"] = c.application + "_" + k.ID
	claims["nonce"] = alphanumeric(32)
	claims["timestamp"] = time.Now().UnixMilli()
	token, err := sign(k.Key, claims)
	return "Bearer " + token, err
}

// sign makes a JWT with the header {"alg":"PS512","typ":"JWT"}; golang-jwt
// takes a salt as long as the hash (64 bytes), as RFC 7518 section 3.5 wants it.
func sign(key *rsa.PrivateKey, claims jwt.MapClaims) (string, error) {
	if key == nil {
		return "", errors.New("the contract has no private key")
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodPS512, claims).SignedString(key)
	if err != nil {
		return "", fmt.Errorf("sign with the contract's key: %w", err)
	}
	return token, nil
}
