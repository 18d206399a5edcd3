package digime

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

// offline is a client that knows one key and has no network.
func offline(t testing.TB) *Client {
	c := newClient(t, Options{ApplicationID: "app"})
	c.transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("offline") }
	c.transport.Proxy = nil
	c.keys.keys = map[string]*rsa.PublicKey{"k1": &serviceKey().PublicKey}
	c.keys.at = time.Now().Add(24 * time.Hour)
	c.keys.forced = c.keys.at // no fetching
	return c
}

func forgeRaw(key *rsa.PrivateKey, header, claims string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	sum := sha512.Sum512([]byte(text))
	signature, err := rsa.SignPSS(rand.Reader, key, crypto.SHA512, sum[:], &rsa.PSSOptions{SaltLength: 64})
	if err != nil {
		panic(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

const goodHeader = `{"alg":"PS512","typ":"JWT","kid":"k1","jku":"https://api.digi.me/v1.7/jwks/oauth"}`

// Nothing but a token signed with the key of the set is ever believed.
func FuzzVerify(f *testing.F) {
	good := forgeRaw(serviceKey(), goodHeader, `{"a":1}`)
	f.Add(good)
	f.Add(good + "A")
	f.Add(strings.Replace(good, ".", "..", 1))
	f.Add(forgeRaw(testKey(), goodHeader, `{"a":1}`))
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"k1"}`)) + ".e30.")
	c := offline(f)
	f.Fuzz(func(t *testing.T, text string) {
		var claims tokenClaims
		err := c.verify(background(), Answer(text), &claims)
		if err != nil {
			var bad *badAnswer
			var early *tooEarly
			if !errors.As(err, &bad) && !errors.As(err, &early) {
				t.Fatalf("%v is a %T", err, err)
			}
			return
		}
		parts := strings.Split(text, ".")
		sum := sha512.Sum512([]byte(parts[0] + "." + parts[1]))
		signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
		if err := rsa.VerifyPSS(&serviceKey().PublicKey, crypto.SHA512, sum[:], signature, nil); err != nil {
			t.Fatalf("believed: %v", err)
		}
	})
}

// Whatever a sound signature is over: no panic, and no token with a hole in it.
func FuzzSignedClaims(f *testing.F) {
	f.Add(goodHeader, `{"access_token":{"value":"a","expires_on":1800000000},"refresh_token":{"value":"r","expires_on":1900000000000},"sub":"user-1"}`)
	f.Add(`{"alg":"PS512","kid":"k1","jku":null}`, `{"access_token":null,"sub":7}`)
	f.Add(`{"alg":"PS512","kid":["k1"],"crit":1}`, `[]`)
	f.Add(`null`, `null`)
	c := offline(f)
	f.Fuzz(func(t *testing.T, header, claims string) {
		var answered tokenClaims
		if c.verify(background(), Answer(forgeRaw(serviceKey(), header, claims)), &answered) != nil {
			return
		}
		token, err := answered.token(oldToken())
		if err == nil && (len(token.faults()) > 0 || token.UserID != "user-1") {
			t.Fatalf("%#v", token)
		}
	})
}

func FuzzKeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kid":"k1","kty":"RSA","n":"AQAB","e":"AQAB"},{"kid":"k2","pem":"-----BEGIN"}]}`))
	f.Add([]byte(`{"keys":[{"kid":"k1","n":"` + base64.RawURLEncoding.EncodeToString(serviceKey().N.Bytes()) + `","e":"AQAB"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := parseKeySet(data)
		if (err == nil) != (len(keys) > 0) {
			t.Fatalf("%d keys, %v", len(keys), err)
		}
		for kid, key := range keys {
			if kid == "" || key.N.BitLen() < minKeyBits || key.E < 3 {
				t.Fatalf("%q: %v", kid, key)
			}
		}
	})
}
