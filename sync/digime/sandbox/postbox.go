package sandbox

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
)

// The legacy postbox, as digime-js-sdk 5.0 (src/write.ts) pushes to it.

var postboxRule = claimRule{required: []string{"access_token", "iv", "metadata", "redirect_uri", "symmetrical_key"}}

// Postbox is a user's postbox and the PEM (PKCS#1) of the public key to encrypt to, as a callback hands them out.
// Errors: no such user.
func (s *Server) Postbox(userID string) (id, publicKey string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.existing(userID)
	if err != nil {
		return "", "", err
	}
	return u.postbox, publicPEM(&s.keys.postbox.PublicKey), nil
}

// servePostbox answers permission-access/postbox/{postbox}. An expired access token is no error here: the answer is
// "pending", and nothing is taken.
func (s *Server) servePostbox(c *call) (reply, error) {
	t, live, err := s.postboxToken(c)
	if err != nil {
		return reply{}, err
	}
	status := func(word string) reply {
		return jsonReply(http.StatusOK, map[string]any{"status": word, "expires": t.expiry.Unix()})
	}
	if !live {
		return status("pending"), nil
	}
	key, iv, err := s.postboxKey(c.claims)
	if err != nil {
		return reply{}, err
	}
	descriptor, err := postboxDescriptor(c.claims["metadata"], key, iv)
	if err != nil {
		return reply{}, err
	}
	parts, err := c.r.MultipartReader()
	if err != nil {
		return reply{}, wrongType(c.r.Header.Get("Content-Type"), "multipart/form-data")
	}
	part, err := parts.NextPart()
	if err != nil || part.FormName() != "file" || part.FileName() == "" {
		return reply{}, invalid("body: it must be one part called file, with a file name")
	}
	content := newCBCReader(&lastPart{part: part, parts: parts, body: c.r.Body}, key, iv)
	d := Delivery{User: t.grant.user.id, Kind: DeliveryPostbox, Descriptor: descriptor}
	if err := s.receive(c, content, d); err != nil {
		return reply{}, err
	}
	return status("delivered"), nil
}

// postboxToken finds the access token for the postbox (a copy) and whether it is still good.
func (s *Server) postboxToken(c *call) (t token, live bool, err error) {
	if c.contract.kind != KindPostbox {
		return token{}, false, insufficientScope()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.access[c.claims["access_token"]]
	if known == nil || known.revoked || known.grant.contract != c.contract.id {
		return token{}, false, refuse(http.StatusUnauthorized, "InvalidToken", "The token (access_token) is invalid")
	}
	if err := c.contract.allows(c.claims["redirect_uri"]); err != nil {
		return token{}, false, err
	}
	if known.grant.user.postbox != c.r.PathValue("postbox") {
		return token{}, false, refuse(http.StatusNotFound, "NotFound", "The user has no such postbox")
	}
	if live = s.now().Before(known.expiry); live {
		known.use()
	}
	return *known, live, nil
}

// postboxKey takes the key and IV of the content out of the claims.
func (s *Server) postboxKey(claims map[string]string) (key [32]byte, iv [16]byte, err error) {
	rawIV, err := hex.DecodeString(claims["iv"])
	if err != nil || len(rawIV) != len(iv) {
		return key, iv, invalid("claim iv must be 16 bytes in hex")
	}
	sealed, err := base64.StdEncoding.Strict().DecodeString(claims["symmetrical_key"])
	if err != nil {
		return key, iv, invalid("claim symmetrical_key must be standard base64 with padding")
	}
	rawKey, err := rsa.DecryptOAEP(sha1.New(), rand.Reader, s.signing().postbox, sealed, nil)
	if err != nil || len(rawKey) != len(key) {
		return key, iv, invalid("claim symmetrical_key must be 32 bytes encrypted with RSA-OAEP-SHA-1 to the postbox's key")
	}
	return [32]byte(rawKey), [16]byte(rawIV), nil
}

func postboxDescriptor(claim string, key [32]byte, iv [16]byte) (json.RawMessage, error) {
	sealed, err := base64.StdEncoding.Strict().DecodeString(claim)
	if err != nil {
		return nil, invalid("claim metadata must be standard base64 with padding")
	}
	plain, err := io.ReadAll(newCBCReader(bytes.NewReader(sealed), key, iv))
	if err != nil {
		return nil, invalid("claim metadata: " + err.Error())
	}
	return plain, checkDescriptor(plain)
}

// lastPart reads a part and ends only when nothing follows it and the whole body was read.
type lastPart struct {
	part  *multipart.Part
	parts *multipart.Reader
	body  io.Reader
}

func (p *lastPart) Read(data []byte) (int, error) {
	n, err := p.part.Read(data)
	if err != io.EOF {
		return n, err
	}
	if _, err := p.parts.NextPart(); err == nil {
		return n, invalid("body: it must be one part called file")
	} else if err != io.EOF {
		return n, err
	}
	if _, err := io.Copy(io.Discard, p.body); err != nil {
		return n, err
	}
	return n, io.EOF
}
