package digime

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// hangingDial does not get through for longer than any call lasts.
func hangingDial(context.Context, string, string) (net.Conn, error) {
	time.Sleep(2 * callTimeout) // within a bubble
	return nil, os.ErrDeadlineExceeded
}

func hmacToken(key []byte, header, claims map[string]any) string {
	head, _ := json.Marshal(header)
	body, _ := json.Marshal(claims)
	text := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// The signature is checked with crypto/rsa alone, for a salt of 64 bytes and no other.
func TestSignature(t *testing.T) {
	c := newClient(t, Options{ApplicationID: "app"})
	before := time.Now().UnixMilli()
	bearer, err := c.bearer(aContract(), jwt.MapClaims{"access_token": "secret"})
	if err != nil {
		t.Fatal(err)
	}
	token, ok := strings.CutPrefix(bearer, "Bearer ")
	parts := strings.Split(token, ".")
	if !ok || len(parts) != 3 {
		t.Fatalf("no bearer token: %q", bearer)
	}
	sum := sha512.Sum512([]byte(parts[0] + "." + parts[1]))
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	if err := rsa.VerifyPSS(&testKey().PublicKey, crypto.SHA512, sum[:], signature, &rsa.PSSOptions{SaltLength: 64}); err != nil {
		t.Error(err)
	}
	header, _ := base64.RawURLEncoding.DecodeString(parts[0])
	if string(header) != `{"alg":"PS512","typ":"JWT"}` {
		t.Errorf("header %s", header)
	}
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	stamp, _ := claims["timestamp"].(float64)
	if len(claims) != 4 || claims["client_id"] != "app_contract" || claims["access_token"] != "secret" || int64(stamp) < before {
		t.Errorf("claims %s", payload)
	}
	if strings.Contains(string(payload), "e+") { // 1.7e+12 is no integer to everybody
		t.Errorf("timestamp in %s", payload)
	}
}

func TestNonce(t *testing.T) {
	seen := map[string]bool{}
	var counts [256]int
	const rounds = 20000
	for range rounds {
		nonce := alphanumeric(32)
		if len(nonce) != 32 || seen[nonce] {
			t.Fatalf("nonce %q", nonce)
		}
		seen[nonce] = true
		for _, c := range []byte(nonce) {
			counts[c]++
		}
	}
	// Each character is expected 10,323 times, with a deviation of 101; a modulo
	// of a byte would make eight of them 25 % more frequent.
	for c, n := range counts {
		allowed := strings.IndexByte(alphanumerics, byte(c)) >= 0
		if allowed && (n < 9700 || n > 10950) || !allowed && n > 0 {
			t.Errorf("%q came %d times", rune(c), n)
		}
	}
}
