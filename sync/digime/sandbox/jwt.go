package sandbox

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// pss is the one signature scheme of the API: PS512 with a salt as long as the hash (RFC 7518 section 3.5). Verifying
// with the length spelled out refuses every other salt, which most libraries let pass.
var pss = &rsa.PSSOptions{SaltLength: sha512.Size, Hash: crypto.SHA512}

var errSignature = errors.New("the signature does not verify with the contract's key as PS512 with a salt of 64 bytes")

// object is a JSON object whose members are not decoded yet.
type object map[string]json.RawMessage

// jwt is a token taken apart, not yet verified.
type jwt struct {
	claims    object
	signed    string // what the signature covers
	signature []byte
}

// parseJWT takes a token apart. Its header must be exactly {"alg":"PS512","typ":"JWT"}: what the SDKs send, no kid.
func parseJWT(text string) (jwt, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return jwt{}, fmt.Errorf("a JWT has 3 parts, this has %d", len(parts))
	}
	header, err := parsePart(parts[0])
	if err != nil {
		return jwt{}, fmt.Errorf("header: %w", err)
	}
	if len(header) != 2 || stringOf(header["alg"]) != "PS512" || stringOf(header["typ"]) != "JWT" {
		return jwt{}, errors.New(`the header must be exactly {"alg":"PS512","typ":"JWT"}`)
	}
	claims, err := parsePart(parts[1])
	if err != nil {
		return jwt{}, fmt.Errorf("claims: %w", err)
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil {
		return jwt{}, fmt.Errorf("signature: %w", err)
	}
	return jwt{claims: claims, signed: parts[0] + "." + parts[1], signature: signature}, nil
}

func parsePart(part string) (object, error) {
	data, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return nil, err
	}
	return parseObject(data)
}

// parseObject reads one JSON object and nothing after it. A name given twice is refused: readers disagree about
// which of the two counts.
func parseObject(data []byte) (object, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	out := object{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key, ok := name.(string)
		if !ok {
			return nil, errors.New("not a JSON object")
		}
		if _, twice := out[key]; twice {
			return nil, fmt.Errorf("%q is given twice", key)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
		out[key] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON object")
	}
	return out, nil
}

// stringOf is a member's string value, or "" when it is absent or not a string.
func stringOf(raw json.RawMessage) string {
	var s *string
	if json.Unmarshal(raw, &s) != nil || s == nil {
		return ""
	}
	return *s
}

func (t jwt) verify(key *rsa.PublicKey) error {
	sum := sha512.Sum512([]byte(t.signed))
	if rsa.VerifyPSS(key, crypto.SHA512, sum[:], t.signature, pss) != nil {
		return errSignature
	}
	return nil
}

// signJWT makes a token as the service does: header with kid and jku, signed PS512.
func signJWT(key *rsa.PrivateKey, header, claims any) (string, error) {
	h, err := json.Marshal(header)
	if err != nil {
		return "", err
	}
	c, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(c)
	sum := sha512.Sum512([]byte(signed))
	signature, err := rsa.SignPSS(rand.Reader, key, crypto.SHA512, sum[:], pss)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
