package digime

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Answer is a signed token as the service has sent it, not verified yet. It may
// be the only copy of a person's consent: whoever gets one keeps it, and has it
// verified later. Nothing in it is used before.
type Answer string

const hiddenAnswer = "[answer]"

// String never shows it.
func (Answer) String() string { return hiddenAnswer }

// GoString never shows it.
func (Answer) GoString() string { return hiddenAnswer }

// LogValue never shows it.
func (Answer) LogValue() slog.Value { return slog.StringValue(hiddenAnswer) }

// tooEarly is an answer that no key at hand fits. Its cause is what came of
// asking for the keys anew: nil where the set came, and did not help.
type tooEarly struct {
	answer Answer
	jku    string
	what   string
	why    error
}

func (e *tooEarly) Error() string {
	if e.why != nil {
		return e.why.Error()
	}
	return e.what
}

func (e *tooEarly) Unwrap() error { return e.why }

// Verify makes a token of an answer that was kept, with keys that are fetched
// anew where none that is known fits. What the answer leaves out is taken from
// old, the token that it was asked for with; another person's is an error. An
// *Error with Answer set says that it cannot be verified yet; with Host set, or of
// class Passing, since the key set could not be had.
func (c *Client) Verify(caller context.Context, answer Answer, old Token) (Token, error) {
	ctx, cancel := context.WithTimeoutCause(caller, callTimeout, errTooLong)
	defer cancel()
	var claims tokenClaims
	if err := c.verify(ctx, answer, &claims); err != nil {
		return Token{}, unbelieved(opVerify, err)
	}
	fresh, err := claims.token(old)
	if err != nil {
		return Token{}, unbelieved(opVerify, err)
	}
	return fresh, nil
}

// verifyPause is between attempts to get the key set while an answer waits.
const verifyPause = time.Second

// verifyAnswer reads the claims of an answer that has just come.
func (c *Client) verifyAnswer(ctx context.Context, t tokenCall, answer Answer, claims jwt.Claims) error {
	err := c.verifyKnown(answer, claims)
	var early *tooEarly
	if !errors.As(err, &early) {
		return err
	}
	if t.keep != nil {
		t.keep(answer)
		return c.verify(ctx, answer, claims)
	}
	for {
		err := c.verify(ctx, answer, claims)
		var keys *Error
		if err == nil || !errors.As(err, &keys) || keys.Class != Passing {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(max(verifyPause, min(keys.RetryAfter, 10*time.Second))):
		}
	}
}

// verify is verifyKnown, and asks for the keys anew where none fits.
func (c *Client) verify(ctx context.Context, answer Answer, claims jwt.Claims) error {
	err := c.verifyKnown(answer, claims)
	var early *tooEarly
	if !errors.As(err, &early) {
		return err
	}
	if err := c.keys.renew(ctx, early.jku); err != nil {
		early.why = err
		return early
	}
	return c.verifyKnown(answer, claims)
}

// verifyKnown reads the claims of a token that the service has signed, with the
// keys that are known. Nothing of it is believed before: not even which key set to
// ask, but for its being the configured API's own.
func (c *Client) verifyKnown(answer Answer, claims jwt.Claims) error {
	var refused error
	named := false // the header was fine, and names a known key
	early := &tooEarly{answer: answer, what: "its signature fits no key that digi.me shows"}
	// exp, nbf and iat are not looked at: the local clock is what is wrong as a
	// rule, and a token must not be lost for it. The answer is fresh by TLS.
	parser := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodPS512.Alg()}), jwt.WithoutClaimsValidation())
	_, err := parser.ParseWithClaims(string(answer), claims, func(t *jwt.Token) (any, error) {
		var kid string
		if kid, early.jku, refused = c.keyNamed(t.Header); refused != nil {
			return nil, refused
		}
		if key := c.keys.find(early.jku, kid); key != nil {
			named = true
			return key, nil
		}
		early.what = "it is signed with a key (" + clean(kid) + ") that is not in digi.me's key set"
		refused = early
		return nil, refused
	})
	switch {
	case err == nil:
		return nil
	case refused != nil:
		return refused
	case errors.Is(err, jwt.ErrTokenSignatureInvalid) && named:
		return early
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return badf("its signature is not of the kind PS512")
	case errors.Is(err, jwt.ErrTokenUnverifiable):
		return badf("it is not signed in a known way")
	}
	return badf("it is not a signed token")
}

// keyNamed returns which key a token's header says that it is signed with, and
// the address of its set, "" where it gives none.
func (c *Client) keyNamed(header map[string]any) (kid, jku string, err error) {
	if _, critical := header["crit"]; critical { // RFC 7515 section 4.1.11
		return "", "", badf("it asks for extensions that are not known")
	}
	kid, _ = header["kid"].(string)
	jku, isText := header["jku"].(string)
	if _, given := header["jku"]; given && !isText {
		return "", "", badf("the address of its key set is not a text")
	}
	if kid == "" {
		return "", "", badf("it does not name its key")
	}
	if jku == "" {
		return kid, "", nil
	}
	return kid, jku, c.ownJKU(jku)
}
