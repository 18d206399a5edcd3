package sandbox

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// clockWindow is how far a request's timestamp may be from the sandbox's clock. The real window is not published.
const clockWindow = 5 * time.Minute

var (
	nonceForm     = regexp.MustCompile(`^[A-Za-z0-9]{32}$`)
	timestampForm = regexp.MustCompile(`^[0-9]{1,15}$`)
)

// claimRule lists the claims of one kind of request: all required ones, and no others than required and optional.
// client_id, nonce and timestamp are in every request and not listed. grant, if any, is the grant_type by which this
// rule is chosen among several.
type claimRule struct {
	grant              string
	required, optional []string
}

var accessRule = claimRule{required: []string{"access_token"}}

// bearer verifies the request's Authorization against rule and fills in contract and claims. The nonce of a
// well-formed request counts as used whatever becomes of that request afterwards.
func (s *Server) bearer(c *call, rules ...claimRule) error {
	header := c.r.Header.Values("Authorization")
	if len(header) != 1 || !strings.HasPrefix(header[0], "Bearer ") {
		return invalid("one Authorization header of the form 'Bearer <JWT>' is required")
	}
	t, err := parseJWT(strings.TrimPrefix(header[0], "Bearer "))
	if err != nil {
		return invalid("bearer: " + err.Error())
	}
	client := stringOf(t.claims["client_id"])
	s.mu.Lock()
	defer s.mu.Unlock()
	c.contract = s.client(client)
	if c.contract == nil || t.verify(c.contract.key) != nil {
		// digi.me's documented words; a wrong key is answered alike, so that nobody learns which contracts exist.
		return refuse(http.StatusUnauthorized, "InvalidClient", "The client_id ("+client+") is invalid")
	}
	if c.claims, err = checkClaims(t.claims, rules); err != nil {
		return err
	}
	return s.fresh(c.claims)
}

// client finds the contract of "<applicationId>_<contractId>". The caller holds s.mu.
func (s *Server) client(id string) *contract {
	contractID, ok := strings.CutPrefix(id, s.ApplicationID+"_")
	if !ok {
		return nil
	}
	return s.contracts[contractID]
}

// checkClaims wants exactly the claims of one of the rules, each a non-empty string but the timestamp, an integer.
func checkClaims(claims object, rules []claimRule) (map[string]string, error) {
	out := make(map[string]string, len(claims))
	for name, raw := range claims {
		out[name] = stringOf(raw)
		if name == "timestamp" {
			out[name] = string(raw)
		}
	}
	for _, rule := range rules {
		if rule.grant != out["grant_type"] {
			continue
		}
		if wrong := rule.mismatch(out); wrong != "" {
			return nil, invalid(wrong)
		}
		return out, nil
	}
	return nil, invalid("grant_type " + strconv.Quote(out["grant_type"]) + " does not belong to this request")
}

// mismatch says what is wrong with the claims, "" when nothing is.
func (r claimRule) mismatch(claims map[string]string) string {
	required := append([]string{"client_id", "nonce", "timestamp"}, r.required...)
	for _, name := range required {
		if claims[name] == "" {
			return "claim " + name + " is missing or not a non-empty string"
		}
	}
	for name, value := range claims {
		if slices.Contains(required, name) {
			continue
		}
		if !slices.Contains(r.optional, name) {
			return "claim " + name + " does not belong to this request"
		}
		if value == "" {
			return "claim " + name + " is not a non-empty string"
		}
	}
	return ""
}

// fresh checks nonce and timestamp and uses the nonce up. The caller holds s.mu.
func (s *Server) fresh(claims map[string]string) error {
	nonce := claims["nonce"]
	if !nonceForm.MatchString(nonce) {
		return notFresh("The nonce must be 32 alphanumeric characters")
	}
	if s.nonces[nonce] {
		return notFresh("The nonce was already used")
	}
	s.nonces[nonce] = true
	if !timestampForm.MatchString(claims["timestamp"]) {
		return notFresh("The timestamp must be an integer number of milliseconds")
	}
	ms, err := strconv.ParseInt(claims["timestamp"], 10, 64)
	if err != nil {
		return notFresh("The timestamp must be an integer number of milliseconds")
	}
	if off := s.now().Sub(time.UnixMilli(ms)); off.Abs() > clockWindow {
		return notFresh("The timestamp is too far from the server's time")
	}
	return nil
}

func notFresh(message string) error {
	return refuse(http.StatusNotAcceptable, "InvalidRequest", message)
}

// invalid is the refusal of a request that no SDK would send.
func invalid(message string) error {
	return refuse(http.StatusNotAcceptable, "ValidationErrors", message)
}

// signedDescriptor verifies the FileDescriptor header: a JWT whose only claim is metadata, the file descriptor. It has
// neither nonce nor time, so the same one may come again.
func signedDescriptor(c *call) (json.RawMessage, error) {
	header := c.r.Header.Values("FileDescriptor")
	if len(header) != 1 {
		return nil, invalid("one FileDescriptor header is required")
	}
	t, err := parseJWT(header[0])
	if err != nil {
		return nil, invalid("FileDescriptor: " + err.Error())
	}
	if err := t.verify(c.contract.key); err != nil {
		return nil, invalid("FileDescriptor: " + err.Error())
	}
	if len(t.claims) != 1 || t.claims["metadata"] == nil {
		return nil, invalid("FileDescriptor: its only claim must be metadata")
	}
	return t.claims["metadata"], checkDescriptor(t.claims["metadata"])
}
