package digime

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/golang-jwt/jwt/v5"
)

// PostboxAddress is where a push of the legacy kind goes.
type PostboxAddress struct {
	ID  string
	Key *rsa.PublicKey // what is pushed is encrypted to it; see ParsePublicKey
}

// String shows nothing of it: its ID stands for the person.
func (b PostboxAddress) String() string { return "[postbox]" }

// Address reads the postbox's key, to push to it. Errors are ParsePublicKey's.
func (b *Postbox) Address() (PostboxAddress, error) {
	key, err := ParsePublicKey([]byte(b.PublicKey))
	return PostboxAddress{ID: b.ID, Key: key}, err
}

// inPath says whether a text can stand between two slashes of a URL, once it
// is escaped. Dots alone cannot be escaped: %2e%2e, too, is a step up.
func inPath(text string) bool { return text != "" && text != "." && text != ".." }

// fault says what keeps the postbox from being pushed to, or is "".
func (b PostboxAddress) fault(k Contract) string {
	switch {
	case b.Key == nil:
		return "the postbox has no public key"
	case !inPath(b.ID):
		return "the postbox has no ID that can be used"
	case k.RedirectURI == "":
		return "the contract has no redirect URI: a postbox needs it"
	}
	return publicKeyFault(b.Key)
}

// PushPostbox sends a file to a postbox, as contracts of 2021 do, in one
// attempt: encrypted on the way, under a key of its own, so that only the
// postbox's owner can read it. name is the file's name, without folders; it
// travels in the clear. The contract's redirect URI is sent along.
//
// Errors are as of Push. The service answers pending when the access token has
// expired, and has not taken the file then: that is Class TokenExpired with
// Status 200. An answer that came whole but does not say delivered is no
// doubt: the service has not taken the file on its own word, it is Passing.
func (c *Client) PushPostbox(ctx context.Context, k Contract, access string, to PostboxAddress, name string, u Upload) error {
	if missing := u.Descriptor.missing(); missing != "" {
		return &Error{Op: opPush, Class: Refused, what: "the descriptor has no " + missing}
	}
	if fault := to.fault(k); fault != "" {
		return &Error{Op: opPush, Class: Configuration, what: fault}
	}
	return c.push(ctx, &pushing{
		contract: k, access: access, upload: u,
		pack: func() (parcel, error) { return c.postboxParcel(k, to, name, u.Descriptor) },
		read: func(a *answer, letGo bool, e *Error) error { return postboxStatus(a, letGo, e, access) },
	})
}

// postboxParcel encrypts under a fresh key: no two attempts have one in common.
func (c *Client) postboxParcel(k Contract, to PostboxAddress, name string, d Descriptor) (parcel, error) {
	var key [32]byte
	var iv [aes.BlockSize]byte
	rand.Read(key[:]) // never fails: see crypto/rand
	rand.Read(iv[:])
	sealed, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, to.Key, key[:], nil)
	if err != nil {
		return parcel{}, fmt.Errorf("encrypt to the postbox's key: %w", err)
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return parcel{}, fmt.Errorf("encrypt: %w", err)
	}
	metadata, err := json.Marshal(d)
	if err != nil {
		return parcel{}, fmt.Errorf("encode the descriptor: %w", err)
	}
	// One key and IV for both is what the service expects.
	metadata = pad(metadata)
	cipher.NewCBCEncrypter(block, iv[:]).CryptBlocks(metadata, metadata)
	form, contentType, err := postboxForm(name)
	if err != nil {
		return parcel{}, err
	}
	form.seal = cipher.NewCBCEncrypter(block, iv[:])
	return parcel{
		where:    c.legacy.JoinPath("permission-access/postbox", url.PathEscape(to.ID)),
		header:   http.Header{"Content-Type": {contentType}},
		envelope: form,
		claims: jwt.MapClaims{
			"iv":              hex.EncodeToString(iv[:]),
			"metadata":        base64.StdEncoding.EncodeToString(metadata),
			"symmetrical_key": base64.StdEncoding.EncodeToString(sealed),
			"redirect_uri":    k.RedirectURI,
		},
	}, nil
}

// postboxForm is the multipart form around a file, its boundary as long for
// every push.
func postboxForm(name string) (form *envelope, contentType string, err error) {
	var text bytes.Buffer
	w := multipart.NewWriter(&text)
	if _, err = w.CreateFormFile("file", formName(name)); err != nil {
		return nil, "", errors.New("make the form")
	}
	before := bytes.Clone(text.Bytes())
	if err = w.Close(); err != nil {
		return nil, "", errors.New("make the form")
	}
	return &envelope{before: before, after: text.Bytes()[len(before):]}, w.FormDataContentType(), nil
}

// formName is a file's name as a line of a form can hold it.
func formName(name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(name, "\uFFFD"))
	if name == "" {
		return "file" // a part without a name is no file
	}
	return name
}

// StatusPending is the Code of an Error where a postbox has answered so.
const StatusPending = "pending"

// postboxStatus reads what became of the file: {"status":"delivered"|"pending"}.
func postboxStatus(a *answer, letGo bool, e *Error, access string) error {
	var said struct {
		Status string `json:"status"`
	}
	_ = json.Unmarshal(a.body, &said) // what is not JSON has no status
	switch {
	case said.Status == "delivered":
		return nil
	case said.Status == StatusPending:
		e.Class, e.Code = TokenExpired, StatusPending
		e.what = "the postbox has not taken the file, it calls it pending: as a rule the access token has expired"
		return e
	case a.err != nil && !errors.Is(a.err, errEndless):
		// Broken off before it said what it had to say: as good as none.
		e.Class, e.Host, e.Err, e.Doubt = Passing, true, a.err, letGo
		e.what = "the answer broke off: " + networkWords(a.err)
		return e
	}
	e.Class, e.what = Passing, "digi.me's answer does not say that the file was delivered"
	if said.Status != "" {
		e.what += ", but: " + clean(said.Status, access)
	}
	return e
}
