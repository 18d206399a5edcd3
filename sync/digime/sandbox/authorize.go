package sandbox

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"
)

var (
	authorizeRule = claimRule{
		required: []string{"code_challenge", "code_challenge_method", "redirect_uri", "response_mode", "response_type", "state"},
		optional: []string{"access_token"},
	}
	referenceRule = claimRule{
		required: []string{"access_token", "code_challenge", "code_challenge_method", "redirect_uri"},
		optional: []string{"state"},
	}
	challengeForm = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)          // base64url of a SHA-256, no padding
	verifierForm  = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)    // RFC 7636 section 4.1
	fixedClaims   = map[string]string{"code_challenge_method": "S256", // what a claim must be when it is there
		"response_mode": "query", "response_type": "code"}
)

// linkLife is how long a person has to open the page and decide, and codeLife how long the code from the callback can
// be exchanged. Those of the real service are not published.
const (
	linkLife = 15 * time.Minute
	codeLife = 10 * time.Minute
)

// consent is a request for consent which waits for the person's decision.
type consent struct {
	page                       string // pageAuthorize or pageReauth
	contract                   *contract
	user                       *user // nil: the person says at the page
	redirect, state, challenge string
	session                    *session
	expiry                     time.Time
}

// code is an authorization code which waits to be exchanged.
type code struct {
	user      *user
	contract  *contract
	challenge string
	expiry    time.Time
}

// serveAuthorize answers oauth/authorize: a link on which a person consents, in a library of his choice or in that of
// the given access token.
func (s *Server) serveAuthorize(c *call) (reply, error) {
	if err := readAgent(c.r, "actions"); err != nil {
		return reply{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var linked *user
	if value := c.claims["access_token"]; value != "" {
		// Of whatever contract: linking a read contract to the library of a write contract is what this is for.
		t := s.access[value]
		if t == nil || t.revoked || !s.now().Before(t.expiry) {
			return reply{}, refuse(http.StatusUnauthorized, "InvalidToken", "The token (access_token) is invalid")
		}
		linked = t.grant.user
	}
	return s.ask(c, pageAuthorize, linked, "preauthorization_code")
}

// serveReference answers oauth/token/reference: a link on which a person whose consent ran out renews it. The access
// token may have expired, since that is when this is called.
func (s *Server) serveReference(c *call) (reply, error) {
	if err := readAgent(c.r, "actions"); err != nil {
		return reply{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.access[c.claims["access_token"]]
	if t == nil {
		return reply{}, refuse(http.StatusUnauthorized, "InvalidToken", "The token (access_token) is invalid")
	}
	return s.ask(c, pageReauth, t.grant.user, "reference_code")
}

// ask notes that a person is to be asked and answers with the code for the page. The caller holds s.mu.
func (s *Server) ask(c *call, page string, u *user, claim string) (reply, error) {
	for name, want := range fixedClaims {
		if got, given := c.claims[name]; given && got != want {
			return reply{}, invalid("claim " + name + " must be " + want)
		}
	}
	if !challengeForm.MatchString(c.claims["code_challenge"]) {
		return reply{}, invalid("claim code_challenge must be base64url of a SHA-256, without padding")
	}
	redirect := c.claims["redirect_uri"]
	if err := c.contract.allows(redirect); err != nil {
		return reply{}, err
	}
	asked := randomID()
	token, err := s.signedClaims(c, map[string]any{claim: asked})
	if err != nil {
		return reply{}, err
	}
	one := s.newSession(c.contract, u)
	s.consents[asked] = &consent{
		page: page, contract: c.contract, user: u, redirect: redirect, state: c.claims["state"],
		challenge: c.claims["code_challenge"], session: one, expiry: s.now().Add(linkLife),
	}
	return jsonReply(http.StatusOK, map[string]any{"token": token, "session": one}), nil
}

// Decide answers for a person who was sent to link, as if he had pressed Share or Decline there: it returns the address
// to which his browser would be sent back. user is the library he chooses: "" is a new one, or that of the access
// token when the link was made with one. Errors: the link is unknown, expired or decided; no such user.
func (s *Server) Decide(link string, share bool, user string) (callback string, err error) {
	u, err := url.Parse(link)
	if err != nil {
		return "", fmt.Errorf("decide: %w", err)
	}
	return s.decide(u.Query().Get("code"), share, user)
}

func (s *Server) decide(asked string, share bool, userID string) (callback string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, err := s.pending(asked)
	if err != nil {
		return "", err
	}
	who := one.user
	if share && who == nil {
		if who, err = s.chosen(userID); err != nil {
			return "", err
		}
	}
	delete(s.consents, asked)
	query := url.Values{"success": {"false"}, "errorCode": {"UserCancelled"}}
	if share {
		query = s.share(one, who)
	}
	return addQuery(one.redirect, query)
}

// pending finds a consent not decided yet. The caller holds s.mu.
func (s *Server) pending(asked string) (*consent, error) {
	one := s.consents[asked]
	if one == nil || s.now().After(one.expiry) {
		return nil, errors.New("the link is not valid any more: it was used, has expired, or was never given out")
	}
	return one, nil
}

func (s *Server) chosen(id string) (*user, error) {
	if id == "" {
		return s.newUser(), nil
	}
	return s.existing(id)
}

func (s *Server) existing(id string) (*user, error) {
	if s.users[id] == nil {
		return nil, fmt.Errorf("no user %q", id)
	}
	return s.users[id], nil
}

// allows wants a redirect URI that is registered, letter for letter.
func (c *contract) allows(redirect string) error {
	if slices.Contains(c.redirects, redirect) {
		return nil
	}
	return refuse(http.StatusBadRequest, "InvalidRedirectUri", "The redirect_uri ("+redirect+") is invalid")
}

// share gives the consent: it returns what the callback is told. The caller holds s.mu.
func (s *Server) share(one *consent, u *user) url.Values {
	given := randomID()
	s.codes[given] = &code{user: u, contract: one.contract, challenge: one.challenge, expiry: s.now().Add(codeLife)}
	one.session.user = u
	query := url.Values{"success": {"true"}, "code": {given}}
	if one.state != "" {
		query.Set("state", one.state)
	}
	if one.page == pageAuthorize {
		query.Set("accountReference", u.account.Reference)
	}
	if one.contract.kind == KindPostbox {
		query.Set("postboxId", u.postbox)
		query.Set("publicKey", publicPEM(&s.keys.postbox.PublicKey))
	}
	return query
}

func addQuery(address string, query url.Values) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", fmt.Errorf("callback: %w", err)
	}
	all := u.Query()
	for name, values := range query {
		all[name] = values
	}
	u.RawQuery = all.Encode()
	return u.String(), nil
}

// exchanged turns an authorization code into a consent's first tokens. A code serves once, also when its verifier is
// wrong. The caller holds s.mu.
func (s *Server) exchanged(c *call) (*grant, error) {
	verifier := c.claims["code_verifier"]
	if !verifierForm.MatchString(verifier) {
		return nil, invalid("claim code_verifier must be 43 to 128 unreserved characters")
	}
	given := s.codes[c.claims["code"]]
	if given == nil || given.contract.id != c.contract.id || s.now().After(given.expiry) {
		// The SDKs do not document this refusal: its words follow those for the other tokens.
		return nil, refuse(http.StatusUnauthorized, "InvalidToken", "The token (authorization_code) is invalid")
	}
	delete(s.codes, c.claims["code"])
	if sum := sha256.Sum256([]byte(verifier)); base64.RawURLEncoding.EncodeToString(sum[:]) != given.challenge {
		return nil, invalid("code_verifier does not belong to the code_challenge")
	}
	return s.newGrant(given.user, c.contract.id, defaultAccess, defaultRefresh), nil
}

// readAgent holds a request's body to {"agent":{"sdk":{"name","version","meta"}}} and the optional members.
func readAgent(r *http.Request, optional ...string) error {
	if got := r.Header.Get("Content-Type"); got != "application/json" {
		return wrongType(got, "application/json")
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return badBody(err)
	}
	body, err := parseObject(data)
	if err != nil {
		return invalid("body: " + err.Error())
	}
	for name := range body {
		if name != "agent" && !slices.Contains(optional, name) {
			return invalid("body: " + name + " does not belong to this request")
		}
	}
	var agent struct {
		SDK struct {
			Name, Version string
			Meta          map[string]any
		}
	}
	if err := json.Unmarshal(body["agent"], &agent); err != nil || agent.SDK.Name == "" || agent.SDK.Version == "" {
		return invalid("body: agent.sdk must have a name and a version")
	}
	return nil
}
