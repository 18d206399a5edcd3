package sandbox

import (
	"compress/gzip"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"time"
)

// sessionLife is how long a read session can be used. That of the real service is not published.
const sessionLife = 30 * time.Minute

// session is a reading of one user's library. Guarded by Server.mu.
type session struct {
	Key    string `json:"key"`
	Expiry int64  `json:"expiry"` // Unix milliseconds; the SDKs only pass it on

	contract *contract
	user     *user // nil until the person has consented
	polls    int   // how often the list was asked for
}

// newSession makes a session; u is nil while nobody has consented. The caller holds s.mu.
func (s *Server) newSession(c *contract, u *user) *session {
	one := &session{Key: randomID(), Expiry: s.now().Add(sessionLife).UnixMilli(), contract: c, user: u}
	s.sessions[one.Key] = one
	return one
}

// reader finds the user whose library a read contract may read.
func (s *Server) reader(c *call) (*grant, error) {
	if c.contract.kind != KindRead {
		return nil, insufficientScope()
	}
	return s.authorized(c)
}

// serveTrigger answers permission-access/trigger: a new session.
func (s *Server) serveTrigger(c *call) (reply, error) {
	g, err := s.reader(c)
	if err != nil {
		return reply{}, err
	}
	if err := readAgent(c.r, "limits", "scope", "sourceFetch", "sourceFetchFilter"); err != nil {
		return reply{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return jsonReply(http.StatusOK, map[string]any{"session": s.newSession(c.contract, g.user)}), nil
}

// openSession finds the session a request names. The caller holds s.mu.
func (s *Server) openSession(c *call, u *user) (*session, error) {
	one := s.sessions[c.r.PathValue("session")]
	if one == nil || one.contract.id != c.contract.id || one.user != u || s.now().UnixMilli() > one.Expiry {
		// The SDKs do not document what an unknown session is answered with.
		return nil, refuse(http.StatusNotFound, "InvalidSession", "The session is invalid")
	}
	return one, nil
}

// serveList answers permission-access/query/{session}. The first time a session is pending, the second time running
// with half of the files, then completed: a client that stops early misses some.
func (s *Server) serveList(c *call) (reply, error) {
	g, err := s.reader(c)
	if err != nil {
		return reply{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	one, err := s.openSession(c, g.user)
	if err != nil {
		return reply{}, err
	}
	type file struct {
		Name        string `json:"name"`
		UpdatedDate int64  `json:"updatedDate"`
	}
	files := []file{}
	for _, d := range s.readable(g.user.id) {
		files = append(files, file{d.Nonce, d.Time.UnixMilli()})
	}
	out := map[string]any{}
	switch one.polls {
	case 0:
		out["status"] = map[string]any{"state": "pending"}
	case 1:
		out["status"] = map[string]any{"state": "running"}
		out["fileList"] = files[:len(files)/2]
	default:
		out["status"] = map[string]any{"state": "completed"}
		out["fileList"] = files
	}
	one.polls++
	return jsonReply(http.StatusOK, out), nil
}

// readable are a user's deliveries that can be read back, those to providers cannot. The name of each is the nonce of
// the request that brought it. The caller holds s.mu.
func (s *Server) readable(userID string) []Delivery {
	var out []Delivery
	for _, d := range s.deliveries {
		if d.User == userID && d.Kind != DeliveryProvider {
			out = append(out, d)
		}
	}
	return out
}

// serveFile answers permission-access/query/{session}/{name}: the content, encrypted to the read contract, and its
// metadata in a header. HEAD is answered with the metadata alone.
func (s *Server) serveFile(c *call) (reply, error) {
	if got := c.r.Header.Get("Accept"); c.r.Method == http.MethodGet && got != "application/octet-stream" {
		return reply{}, invalid("the Accept header must be application/octet-stream")
	}
	g, err := s.reader(c)
	if err != nil {
		return reply{}, err
	}
	d, err := s.find(c, g.user)
	if err != nil {
		return reply{}, err
	}
	metadata, compression, err := d.metadata()
	if err != nil {
		return reply{}, err
	}
	header := http.Header{}
	header.Set("Content-Type", "application/octet-stream")
	header.Set("Last-Modified", d.Time.UTC().Format(http.TimeFormat))
	header.Set("X-Metadata", metadata)
	out := reply{status: http.StatusOK, header: header}
	if c.r.Method == http.MethodGet {
		out.stream = func(w io.Writer) error {
			return s.sendFile(w, c.contract.key, d.SHA256, compression == compressionGzip)
		}
	}
	return out, nil
}

func (s *Server) find(c *call, u *user) (Delivery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.openSession(c, u); err != nil {
		return Delivery{}, err
	}
	for _, d := range s.readable(u.id) {
		if d.Nonce != c.r.PathValue("name") {
			continue
		}
		if !s.bodies.has(d.SHA256) {
			return Delivery{}, refuse(http.StatusNotFound, "NotFound", "The sandbox has not kept this file: it was too large")
		}
		return d, nil
	}
	return Delivery{}, refuse(http.StatusNotFound, "NotFound", "There is no file "+c.r.PathValue("name"))
}

// Compressions a file may come back in; the real service also knows brotli.
const (
	compressionNone = "no-compression"
	compressionGzip = "gzip"
)

// metadata is the X-Metadata of a file, base64url without padding: its descriptor with all keys in lower case, as the
// service gives raw files back. Text is compressed, so that clients meet both.
func (d Delivery) metadata() (header, compression string, err error) {
	var descriptor map[string]any
	if err := json.Unmarshal(d.Descriptor, &descriptor); err != nil {
		return "", "", fmt.Errorf("descriptor: %w", err)
	}
	fields, _ := lowerKeys(descriptor).(map[string]any)
	fields["created"] = d.Time.UnixMilli()
	fields["contractid"] = d.ContractID
	compression = compressionNone
	mime, _ := fields["mimetype"].(string)
	if strings.HasPrefix(mime, "text/") || strings.HasSuffix(mime, "json") {
		compression = compressionGzip
	}
	out, err := json.Marshal(map[string]any{"metadata": fields, "compression": compression})
	return base64.RawURLEncoding.EncodeToString(out), compression, err
}

func lowerKeys(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, value := range v {
			out[strings.ToLower(key)] = lowerKeys(value)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, value := range v {
			out[i] = lowerKeys(value)
		}
		return out
	}
	return v
}

// sendFile writes a kept body: the AES key encrypted to the contract with RSA-OAEP-SHA-1, the IV, and the compressed
// content in AES-256-CBC.
func (s *Server) sendFile(w io.Writer, contract *rsa.PublicKey, sum string, compress bool) (err error) {
	body, err := s.Body(sum)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	var key [32]byte
	var iv [16]byte
	_, _ = rand.Read(key[:]) // never fails: crypto/rand
	_, _ = rand.Read(iv[:])
	sealed, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, contract, key[:], nil)
	if err != nil {
		return fmt.Errorf("encrypt the file's key: %w", err)
	}
	if _, err := w.Write(append(sealed, iv[:]...)); err != nil {
		return err
	}
	encrypted := newCBCWriter(w, key, iv)
	if !compress {
		_, err = io.Copy(encrypted, body)
		return errors.Join(err, encrypted.Close())
	}
	packed := gzip.NewWriter(encrypted)
	_, err = io.Copy(packed, body)
	return errors.Join(err, packed.Close(), encrypted.Close())
}

// has tells whether a body was kept.
func (b *bodies) has(sum string) bool {
	body, err := b.open(sum)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return err == nil && body.Close() == nil
}
