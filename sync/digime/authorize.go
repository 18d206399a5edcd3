package digime

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// Authorization is a consent a person is to be asked for. State comes back in
// the callback and must be the same; Verifier is for Exchange and a secret
// until then.
type Authorization struct {
	URL      string // for the person's browser
	State    string
	Verifier string
}

// What the onboarding page offers, by the kind of contract.
const (
	sourcePush = "push"
	sourcePull = "pull"
)

// Authorize prepares asking a person for consent to the contract. With the
// access token of another contract, it is the same library that this one is
// then linked to: that is how a read contract gets to what a write contract
// has pushed. Errors are *Error; TokenExpired is about linkAccess.
func (c *Client) Authorize(ctx context.Context, k Contract, linkAccess string) (Authorization, error) {
	a := newAuthorization()
	claims := jwt.MapClaims{
		"code_challenge": challenge(a.Verifier), "code_challenge_method": "S256", "redirect_uri": k.RedirectURI,
		"response_mode": "query", "response_type": "code", "state": a.State,
	}
	source := sourcePush
	if linkAccess != "" {
		claims["access_token"], source = linkAccess, sourcePull
	}
	var answered struct {
		jwt.MapClaims `json:"-"`

		Code string `json:"preauthorization_code"`
	}
	call := tokenCall{op: opAuthorize, where: "oauth/authorize", contract: k, claims: claims, body: c.agentBody(), secrets: []string{linkAccess}}
	if err := c.tokenCall(ctx, call, &answered); err != nil {
		return Authorization{}, err
	}
	if answered.Code == "" {
		return Authorization{}, unbelieved(opAuthorize, badf("it holds no preauthorization code"))
	}
	a.URL = c.onboarding("authorize", url.Values{"code": {answered.Code}, "sourceType": {source}})
	return a, nil
}

// Reauthorize prepares asking a person again for a consent that has ended or is
// about to; access may have expired. Exchange gives the new token.
func (c *Client) Reauthorize(ctx context.Context, k Contract, access string) (Authorization, error) {
	a := newAuthorization()
	claims := jwt.MapClaims{
		"access_token": access, "code_challenge": challenge(a.Verifier), "code_challenge_method": "S256",
		"redirect_uri": k.RedirectURI, "state": a.State,
	}
	var answered struct {
		jwt.MapClaims `json:"-"`

		Code string `json:"reference_code"`
	}
	call := tokenCall{op: opReauthorize, where: "oauth/token/reference", contract: k, claims: claims, body: c.agentBody(), secrets: []string{access}}
	if err := c.tokenCall(ctx, call, &answered); err != nil {
		return Authorization{}, err
	}
	if answered.Code == "" {
		return Authorization{}, unbelieved(opReauthorize, badf("it holds no reference code"))
	}
	a.URL = c.onboarding("user-reauth", url.Values{"code": {answered.Code}})
	return a, nil
}

// Exchange trades the code of a callback for the token. A code that is not
// taken any more is an *Error of class ConsentGone: ask again. The caller of a
// re-authorization compares the UserID with the old token's. keep is given an
// answer that cannot be verified yet, as by Refresh: the code is used up by it.
func (c *Client) Exchange(ctx context.Context, k Contract, code, verifier string, keep func(Answer)) (Token, error) {
	return c.newToken(ctx, tokenCall{
		op: opExchange, where: "oauth/token", contract: k,
		claims:  jwt.MapClaims{"grant_type": "authorization_code", "code": code, "code_verifier": verifier},
		secrets: []string{code, verifier}, keep: keep,
	}, Token{})
}

func newAuthorization() Authorization {
	return Authorization{State: alphanumeric(32), Verifier: base64.RawURLEncoding.EncodeToString([]byte(alphanumeric(32)))}
}

// challenge is that of PKCE, RFC 7636 section 4.2, method S256.
func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (c *Client) onboarding(page string, query url.Values) string {
	u := c.onboard.JoinPath(page)
	u.RawQuery = query.Encode()
	return u.String()
}

// agentBody names this client, as the SDKs name themselves.
func (c *Client) agentBody() []byte {
	name, version, ok := strings.Cut(c.agent, "/")
	if !ok {
		version = "0"
	}
	// Texts always marshal.
	body, _ := json.Marshal(map[string]any{"agent": map[string]any{"sdk": map[string]any{
		"name": name, "version": version, "meta": map[string]any{},
	}}})
	return body
}
