package sandbox

import (
	"crypto/rsa"
	"net/http"
)

// The legacy SDK (digime-js-sdk 5.0) also names its redirect URI here, the others do not.
var (
	refreshRule = claimRule{
		grant:    "refresh_token",
		required: []string{"grant_type", "refresh_token"},
		optional: []string{"redirect_uri"},
	}
	exchangeRule = claimRule{
		grant:    "authorization_code",
		required: []string{"grant_type", "code", "code_verifier"},
		optional: []string{"redirect_uri"},
	}
)

// serveToken answers oauth/token: a new pair for a refresh token or for an authorization code.
func (s *Server) serveToken(c *call) (reply, error) {
	if redirect, given := c.claims["redirect_uri"]; given {
		if c.contract.kind != KindPostbox {
			return reply{}, invalid("claim redirect_uri does not belong to this request")
		}
		if err := c.contract.allows(redirect); err != nil {
			return reply{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	exchange := s.refreshed
	if c.kind == ReqExchange {
		exchange = s.exchanged
	}
	g, err := exchange(c)
	if err != nil {
		return reply{}, err
	}
	token, err := s.signedClaims(c, g.claims())
	if err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, map[string]string{"token": token}), nil
}

// refreshed exchanges a refresh token for a new pair. The caller holds s.mu.
func (s *Server) refreshed(c *call) (*grant, error) {
	value := c.claims["refresh_token"]
	t, err := s.valid(s.refresh, value, "refresh_token", c.contract.id)
	if err != nil {
		return nil, err
	}
	g := t.grant
	switch {
	case t == g.pair.refresh:
	case s.rotation == RotationForgiving && value == g.parent && !g.used:
		g.pair.access.revoked, g.pair.refresh.revoked = true, true
	case s.rotation == RotationRevoking:
		g.pair.access.revoked, g.pair.refresh.revoked = true, true
		fallthrough
	default:
		return nil, refuse(http.StatusUnauthorized, "InvalidToken", "The token (refresh_token) is invalid")
	}
	s.renew(g, value)
	return g, nil
}

// claims are those of the answer to a refresh or an exchange (times in Unix seconds).
func (g *grant) claims() map[string]any {
	part := func(t *token) map[string]any {
		return map[string]any{"value": t.value, "expires_on": t.expiry.Unix()}
	}
	return map[string]any{
		"access_token": part(g.pair.access), "refresh_token": part(g.pair.refresh), "token_type": "Bearer",
		"sub": g.user.id, "consentid": g.consent, "identifier": map[string]string{"id": g.user.id},
	}
}

// signedClaims is a token of the service, as its oauth answers carry it.
func (s *Server) signedClaims(c *call, claims map[string]any) (string, error) {
	key, header := s.signer(c)
	return signJWT(key, header, claims)
}

// signer is the key to sign an answer with and the header that names it, unless a fault wants another. The caller
// holds s.mu.
func (s *Server) signer(c *call) (*rsa.PrivateKey, map[string]string) {
	keys := s.keys
	header := map[string]string{"alg": "PS512", "typ": "JWT", "kid": keys.kid, "jku": s.BaseURL(root(c.r)) + "jwks/oauth"}
	key := keys.service
	switch {
	case c.suffers(DoForeignKey):
		key = keys.foreign
	case c.suffers(DoUnknownKid):
		key, header["kid"] = keys.foreign, "unknown"
	case c.suffers(DoForeignJKU):
		key, header["kid"], header["jku"] = keys.foreign, foreignKid, c.fault.JKU
		if c.fault.JKU == "" {
			header["jku"] = "https://keys.invalid/jwks/oauth"
		}
	}
	return key, header
}

// root is the address under which the client reached the sandbox.
func root(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}
