package digime

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptrace"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Refresh trades a token for a fresh one, in one attempt. The service makes
// the old refresh token void thereby: the caller saves the new token before he
// uses it. A *Error with Lost set means that it may have happened without us
// learning the outcome: the old token should be tried once more at once.
// leaving, if not nil, is told when the request is about to leave: from then on
// the answer may be the only copy of a new token, and worth waiting for.
func (c *Client) Refresh(ctx context.Context, k Contract, old Token, leaving func()) (Token, error) {
	if old.Refresh.Value == "" {
		return Token{}, &Error{Op: opRefresh, Class: ConsentGone, what: "there is no refresh token: the person must authorize again"}
	}
	return c.newToken(ctx, tokenCall{
		op: opRefresh, where: "oauth/token", contract: k,
		claims:  jwt.MapClaims{"grant_type": "refresh_token", "refresh_token": old.Refresh.Value},
		secrets: []string{old.Refresh.Value, old.Access.Value},
		leaving: leaving,
	}, old)
}

// newToken makes a call that is answered with a token, which replaces old if
// that is one.
func (c *Client) newToken(ctx context.Context, call tokenCall, old Token) (Token, error) {
	var answered tokenClaims
	if err := c.tokenCall(ctx, call, &answered); err != nil {
		return Token{}, err
	}
	fresh, err := answered.token(old)
	if err != nil {
		return Token{}, unbelieved(call.op, err)
	}
	return fresh, nil
}

// tokenCall is a request to one of the oauth addresses.
type tokenCall struct {
	op, where string // the step, and the address below the base URL
	contract  Contract
	claims    jwt.MapClaims
	body      []byte   // JSON, nil for none
	secrets   []string // what the answer must not be quoted with
	leaving   func()   // told when the request has a connection to leave by; may be nil
}

// orOwnEnd prefers the plain error of the caller's context where that ended.
func orOwnEnd(caller context.Context, err error) error {
	if caller.Err() != nil {
		return caller.Err()
	}
	return err
}

// unbelieved makes an error of an answer to op that came but could not be
// verified. When that is for want of the key set, the answer is as good as lost.
func unbelieved(op string, err error) error {
	var keys *Error
	if errors.As(err, &keys) {
		return &Error{Op: op, Class: keys.Class, Host: keys.Host, Lost: true, Err: keys,
			what: "the answer cannot be verified at the moment: " + keys.Error()}
	}
	return &Error{Op: op, Class: BadAnswer, what: "the answer cannot be believed: " + err.Error(), Err: err}
}

// tokenCall makes one of those calls and fills claims from the answer's token,
// once that is verified. The key set is fetched first, so that it can be.
func (c *Client) tokenCall(caller context.Context, t tokenCall, claims jwt.Claims) error {
	ctx, cancel := context.WithTimeoutCause(caller, callTimeout, errTooLong)
	defer cancel()
	if err := c.keys.ready(ctx); err != nil {
		return orOwnEnd(caller, err)
	}
	req, err := c.signed(ctx, http.MethodPost, c.base.JoinPath(t.where), t.contract, t.claims, t.body)
	if err != nil {
		return &Error{Op: t.op, Class: Configuration, what: err.Error(), Err: err}
	}
	traced := ctx
	if t.leaving != nil {
		traced = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { t.leaving() }})
	}
	a, sent, err := c.call(traced, t.op, req, maxTokenBody)
	switch {
	case err != nil:
		return unanswered(caller, ctx, t.op, sent, err)
	case !a.ok() || a.html():
		return c.refused(t.op, a, t.secrets...)
	case a.err != nil:
		return &Error{Op: t.op, Class: Passing, Host: true, Lost: true, Err: a.err}
	}
	var answered struct {
		Token string `json:"token"`
	}
	if json.Unmarshal(a.body, &answered) != nil || answered.Token == "" {
		return unbelieved(t.op, badf("it holds no token"))
	}
	if err := c.verify(ctx, answered.Token, claims); err != nil {
		return unbelieved(t.op, err)
	}
	return nil
}

// verifyPause is between attempts to get the key set while an answer waits.
const verifyPause = time.Second

// verify reads the claims of a token that the service has signed. Nothing of
// it is believed before: not even which key set to ask, but for its being the
// configured API's own.
//
// The answer at hand may be the only copy of a new token, so that a key set
// which cannot be had at the moment is asked for until ctx ends.
func (c *Client) verify(ctx context.Context, text string, claims jwt.Claims) error {
	for {
		err := c.verifyOnce(ctx, text, claims)
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

func (c *Client) verifyOnce(ctx context.Context, text string, claims jwt.Claims) error {
	var keyErr error
	// exp, nbf and iat are not looked at: the local clock is what is wrong as a
	// rule, and a token must not be lost for it. The answer is fresh by TLS.
	parser := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodPS512.Alg()}), jwt.WithoutClaimsValidation())
	_, err := parser.ParseWithClaims(text, claims, func(t *jwt.Token) (any, error) {
		if _, critical := t.Header["crit"]; critical { // RFC 7515 section 4.1.11
			keyErr = badf("it asks for extensions that are not known")
			return nil, keyErr
		}
		kid, _ := t.Header["kid"].(string)
		jku, isText := t.Header["jku"].(string)
		if _, given := t.Header["jku"]; given && !isText {
			keyErr = badf("the address of its key set is not a text")
			return nil, keyErr
		}
		if kid == "" {
			keyErr = badf("it does not name its key")
			return nil, keyErr
		}
		key, err := c.keys.find(ctx, jku, kid)
		keyErr = err
		return key, err
	})
	switch {
	case err == nil:
		return nil
	case keyErr != nil:
		return keyErr
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return badf("its signature is wrong or not of the kind PS512")
	case errors.Is(err, jwt.ErrTokenUnverifiable):
		return badf("it is not signed in a known way")
	}
	return badf("it is not a signed token")
}

// tokenClaims is what an answer of oauth/token says. The embedded claims are
// never filled: they only make it a jwt.Claims.
type tokenClaims struct {
	jwt.MapClaims `json:"-"`

	Access     claimedPart `json:"access_token"`
	Refresh    claimedPart `json:"refresh_token"`
	Sub        string      `json:"sub"`
	ConsentID  string      `json:"consentid"`
	Identifier struct {
		ID string `json:"id"`
	} `json:"identifier"`
}

type claimedPart struct {
	Value     string      `json:"value"`
	ExpiresOn json.Number `json:"expires_on"`
}

// token makes a token of verified claims. What the answer leaves out of the
// person, the consent and the postbox is kept from the old token; another person is an
// error: nothing goes to the wrong one.
func (t *tokenClaims) token(old Token) (Token, error) {
	fresh := Token{UserID: t.Sub, ConsentID: t.ConsentID, Postbox: old.Postbox}
	var err error
	if fresh.Access, err = t.Access.part("access token"); err != nil {
		return Token{}, err
	}
	if fresh.Refresh, err = t.Refresh.part("refresh token"); err != nil {
		return Token{}, err
	}
	if fresh.UserID == "" {
		fresh.UserID = t.Identifier.ID
	}
	if old.UserID != "" {
		// sub and identifier are names of two kinds for one person, and the SDKs
		// store sub; either may be what the old token was stored with.
		if fresh.UserID != "" && t.Sub != old.UserID && t.Identifier.ID != old.UserID {
			return Token{}, badf("it is about another user than the token it replaces")
		}
		fresh.UserID = old.UserID
	}
	if fresh.ConsentID == "" {
		fresh.ConsentID = old.ConsentID
	}
	return fresh, nil
}

func (p claimedPart) part(name string) (TokenPart, error) {
	if p.Value == "" {
		return TokenPart{}, badf("it holds no %s", name)
	}
	seconds, ok := unixSeconds(p.ExpiresOn)
	if !ok {
		return TokenPart{}, badf("it does not say when the %s ends", name)
	}
	return TokenPart{Value: p.Value, Expiry: seconds}, nil
}
