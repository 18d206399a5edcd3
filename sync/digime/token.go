package digime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// TokenPart is one of the two tokens of a pair.
type TokenPart struct {
	Value  string
	Expiry int64 // Unix seconds
}

// Token is a user access token: it opens one person's library for one contract.
type Token struct {
	Access, Refresh TokenPart
	UserID          string // the service's name for the person, "" if not given
	ConsentID       string // "" if not given
	Postbox         *Postbox
	Unverified      *Unverified // what came in place of this token, nil as a rule
}

// Unverified is an answer that is kept with the token it was asked for with, until
// it can be verified and takes that one's place. A token that holds nothing else is
// a first consent.
type Unverified struct {
	Answer    Answer    `json:"answer"`
	Came      time.Time `json:"came"`
	Exchanged bool      `json:"exchanged,omitempty"` // it came for a code that a person brought, not for a refresh token
	// Refuted is since when the service's key set comes, and does not verify it;
	// zero while it could not be had.
	Refuted time.Time `json:"refuted,omitzero"`
	GivenUp bool      `json:"given_up,omitempty"` // that has lasted too long: the old token may be tried
}

// Postbox is what the callback of a legacy write contract says beside the code:
// where the person's files go. It is kept with the token, nil where there is none.
type Postbox struct {
	ID        string `json:"id"`
	PublicKey string `json:"publicKey"` // PEM
}

// String never shows the value.
func (p TokenPart) String() string {
	return "[token until " + time.Unix(p.Expiry, 0).UTC().Format(time.RFC3339) + "]"
}

// String shows nothing of it: its ID stands for the person.
func (b *Postbox) String() string { return "[postbox]" }

// String shows nothing of it.
func (u *Unverified) String() string { return hiddenAnswer }

// GoString never shows the value.
func (p TokenPart) GoString() string { return p.String() }

// LogValue never shows the value.
func (p TokenPart) LogValue() slog.Value { return slog.StringValue(p.String()) }

// LogValue shows when the pair ends and nothing else.
func (t Token) LogValue() slog.Value {
	return slog.GroupValue(slog.Any("access", t.Access), slog.Any("refresh", t.Refresh))
}

// tokenForm is the form in which the SDKs hand a token to integrators.
type tokenForm struct {
	Access    *partForm `json:"accessToken,omitempty"`
	Refresh   *partForm `json:"refreshToken,omitempty"`
	User      *userForm `json:"user,omitempty"`
	ConsentID string    `json:"consentid,omitempty"`
	Postbox   *Postbox  `json:"postbox,omitempty"` // ours: the SDKs keep it apart

	Unverified *Unverified `json:"unverified,omitempty"` // ours
}

type partForm struct {
	Value  string `json:"value"`
	Expiry int64  `json:"expiry"`
}

type userForm struct {
	ID string `json:"id"`
}

// MarshalJSON writes the SDKs' form. A token that lacks something is an error:
// it must never be stored in the place of a good one.
func (t Token) MarshalJSON() ([]byte, error) {
	if faults := t.faults(); len(faults) > 0 && !t.awaited() {
		return nil, &TokenError{Faults: faults}
	}
	form := tokenForm{ConsentID: t.ConsentID, Postbox: t.Postbox, Unverified: t.Unverified}
	if !t.awaited() {
		form.Access, form.Refresh = (*partForm)(&t.Access), (*partForm)(&t.Refresh)
	}
	if t.UserID != "" {
		form.User = &userForm{ID: t.UserID}
	}
	return json.Marshal(form)
}

// awaited says whether there is nothing of the token yet but an answer that
// waits to be verified.
func (t Token) awaited() bool {
	return t.Unverified != nil && t.Access == (TokenPart{}) && t.Refresh == (TokenPart{})
}

// UnmarshalJSON reads the SDKs' form, as ParseToken does.
func (t *Token) UnmarshalJSON(data []byte) error {
	parsed, err := ParseToken(data)
	if err != nil {
		return err
	}
	*t = parsed
	return nil
}

// TokenError lists all that is wrong with a token's JSON, in plain words.
type TokenError struct{ Faults []string }

// Error joins the faults; none quotes a value.
func (e *TokenError) Error() string { return "token: " + strings.Join(e.Faults, "; ") }

// maxTokenFile bounds what is looked at, in bytes.
const maxTokenFile = 1 << 20

// ParseToken reads a token in the SDKs' JSON form. A byte order mark and
// further fields are fine; all that is missing or wrong is reported at once, as
// a *TokenError.
func ParseToken(data []byte) (Token, error) {
	data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	var form map[string]json.RawMessage
	switch err := json.Unmarshal(data, &form); {
	case len(data) == 0:
		return Token{}, &TokenError{Faults: []string{"it is empty"}}
	case len(data) > maxTokenFile:
		return Token{}, &TokenError{Faults: []string{"it is far too big"}}
	case err != nil || form == nil:
		return Token{}, &TokenError{Faults: []string{notAnObject(err)}}
	}
	var r tokenReader
	t := Token{ConsentID: r.text(form, "", "consentid"), Unverified: keptAnswer(form)}
	if t.Unverified == nil || given(form, "accessToken") != nil || given(form, "refreshToken") != nil {
		t.Access, t.Refresh = r.part(form, "accessToken"), r.part(form, "refreshToken")
	}
	if user, ok := r.object(form, "user"); ok {
		t.UserID = r.text(user, "user.", "id")
	}
	if box, ok := r.object(form, "postbox"); ok {
		t.Postbox = &Postbox{ID: r.text(box, "postbox.", "id"), PublicKey: r.text(box, "postbox.", "publicKey")}
		if t.Postbox.ID == "" || t.Postbox.PublicKey == "" {
			r.fault("postbox has no id or no publicKey")
		}
	}
	if len(r.faults) > 0 {
		return Token{}, &TokenError{Faults: r.faults}
	}
	return t, nil
}

// keptAnswer reads the answer that is kept with a token, nil if none is.
func keptAnswer(form map[string]json.RawMessage) *Unverified {
	var u Unverified
	if raw := given(form, "unverified"); raw == nil || json.Unmarshal(raw, &u) != nil || u.Answer == "" {
		return nil
	}
	return &u
}

func notAnObject(err error) string {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Sprintf("it is not JSON (see byte %d)", syntax.Offset)
	}
	return `it is not a JSON object like {"accessToken":{"value":"…","expiry":1700000000},"refreshToken":{…}}`
}

// tokenReader collects faults.
type tokenReader struct{ faults []string }

func (r *tokenReader) fault(format string, args ...any) {
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

func (r *tokenReader) part(form map[string]json.RawMessage, name string) TokenPart {
	if given(form, name) == nil {
		r.fault("%s is missing", name)
		return TokenPart{}
	}
	fields, ok := r.object(form, name)
	if !ok {
		return TokenPart{}
	}
	part := TokenPart{Value: r.text(fields, name+".", "value")}
	if given(fields, "value") == nil {
		r.fault("%s.value is missing", name)
	} else if part.Value == "" {
		r.fault("%s.value is empty or no text", name)
	}
	var number json.Number
	switch raw := given(fields, "expiry"); {
	case raw == nil:
		r.fault("%s.expiry is missing", name)
	case raw[0] == '"' || json.Unmarshal(raw, &number) != nil:
		r.fault("%s.expiry is not a number", name)
	default:
		if part.Expiry, ok = unixSeconds(number); !ok {
			r.fault("%s.expiry is not a time in seconds since 1970", name)
		}
	}
	return part
}

// given returns a field, nil if it is missing or null.
func given(form map[string]json.RawMessage, name string) json.RawMessage {
	if raw := form[name]; len(raw) > 0 && string(raw) != "null" {
		return raw
	}
	return nil
}

func (r *tokenReader) object(form map[string]json.RawMessage, name string) (fields map[string]json.RawMessage, ok bool) {
	raw := given(form, name)
	if raw == nil {
		return nil, false
	}
	if json.Unmarshal(raw, &fields) != nil {
		r.fault("%s is not an object", name)
		return nil, false
	}
	return fields, true
}

func (r *tokenReader) text(form map[string]json.RawMessage, prefix, name string) (text string) {
	if raw := given(form, name); raw != nil && json.Unmarshal(raw, &text) != nil && name != "value" {
		r.fault("%s%s is not a text", prefix, name)
	}
	return text
}

// faults is for a token that was made here.
func (t Token) faults() (faults []string) {
	for _, p := range []struct {
		name string
		part TokenPart
	}{{"accessToken", t.Access}, {"refreshToken", t.Refresh}} {
		if p.part.Value == "" {
			faults = append(faults, p.name+".value is empty")
		}
		if !sane(p.part.Expiry) {
			faults = append(faults, p.name+".expiry is not a time in seconds since 1970")
		}
	}
	return faults
}

// sane bounds a time to the years 2001 to 2286: ten digits.
func sane(seconds int64) bool { return seconds >= 1e9 && seconds < 1e10 }

// unixSeconds reads a time. The SDKs document seconds, but a value above 1e11
// can only be milliseconds, and taken for seconds would never end.
func unixSeconds(n json.Number) (seconds int64, ok bool) {
	value, err := n.Float64()
	if err != nil || value < 0 || value > 1e15 {
		return 0, false
	}
	if value > 1e11 {
		value /= 1000
	}
	return int64(value), sane(int64(value))
}
