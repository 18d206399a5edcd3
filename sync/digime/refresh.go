package digime

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptrace"

	"github.com/golang-jwt/jwt/v5"
)

// Refresh trades a token for a fresh one, in one attempt. The service makes
// the old refresh token void thereby: the caller saves the new token before he
// uses it. A *Error with Lost set means that it may have happened without us
// learning the outcome: the old token should be tried once more at once.
// leaving, if not nil, is told when the request is about to leave: from then on
// the answer may be the only copy of a new token, and worth waiting for.
// keep is as in tokenCall: an answer that cannot be verified yet is not lost, and
// the old token must not be sent again for it. See Verify.
func (c *Client) Refresh(ctx context.Context, k Contract, old Token, leaving func(), keep func(Answer)) (Token, error) {
	if old.Refresh.Value == "" {
		return Token{}, &Error{Op: opRefresh, Class: ConsentGone, what: "there is no refresh token: the person must authorize again"}
	}
	return c.newToken(ctx, tokenCall{
		op: opRefresh, where: "oauth/token", contract: k,
		claims:  jwt.MapClaims{"grant_type": "refresh_token", "refresh_token": old.Refresh.Value},
		secrets: []string{old.Refresh.Value, old.Access.Value},
		leaving: leaving, keep: keep,
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
	// keep is given an answer that none of the known keys fits, before new ones are
	// asked for, to be written down: it may be the only copy of a new token. nil:
	// the call waits for a key set that cannot be had, as long as it may take.
	keep func(Answer)
}

// orOwnEnd prefers the plain error of the caller's context where that ended.
func orOwnEnd(caller context.Context, err error) error {
	if caller.Err() != nil {
		return caller.Err()
	}
	return err
}

// unbelieved makes an error of an answer to op that came but is not to be
// believed, or cannot be verified yet.
func unbelieved(op string, err error) error {
	var early *tooEarly
	if !errors.As(err, &early) {
		return &Error{Op: op, Class: BadAnswer, what: "the answer cannot be believed: " + err.Error(), Err: err}
	}
	e := &Error{Op: op, Class: BadAnswer, Answer: early.answer, Err: err, what: "the answer cannot be verified yet: " + err.Error()}
	var keys *Error
	if errors.As(early.why, &keys) {
		e.Class, e.Host, e.RetryAfter = keys.Class, keys.Host, keys.RetryAfter
	}
	return e
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
	case a.status < 200: // nobody has asked for 101, and less is no status
		return &Error{Op: t.op, Class: Passing, Status: a.status, Host: true, Lost: true, what: "what came is not the end of an answer"}
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
	if err := c.verifyAnswer(ctx, t, Answer(answered.Token), claims); err != nil {
		return unbelieved(t.op, err)
	}
	return nil
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
