package sandbox

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Lifetimes of tokens nobody chose a lifetime for. Those of the real service are not published.
const (
	defaultAccess  = time.Hour
	defaultRefresh = 30 * 24 * time.Hour
)

// Rotation says what becomes of a refresh token that was already used. The real service rotates; what it does about
// an old token is not published, and services differ.
type Rotation string

// The rotations a sandbox knows.
const (
	// RotationForgiving repeats a refresh with the old token as long as the new pair was never used, since then its
	// answer may have been lost; the new pair is then replaced. Afterwards the old token is refused.
	RotationForgiving Rotation = "forgiving"
	// RotationStrict refuses an old refresh token always.
	RotationStrict Rotation = "strict"
	// RotationRevoking refuses it and, taking it for stolen, revokes the tokens that followed it (RFC 9700 section 4.14.2).
	RotationRevoking Rotation = "revoking"
)

// user is one person with a library.
type user struct {
	id      string
	account account
	postbox string // the ID of his postbox
}

// grant is one user's consent for one contract. Its pair of tokens changes with every refresh. Guarded by Server.mu.
type grant struct {
	user            *user
	contract        string
	consent         string
	access, refresh time.Duration
	pair            pair
	parent          string // the refresh token that was given for the current pair, "" for the first
	used            bool   // something of the current pair was used
}

type pair struct{ access, refresh *token }

// token is one access or refresh token. Guarded by Server.mu.
type token struct {
	value   string
	grant   *grant
	expiry  time.Time
	revoked bool
}

// MarshalJSON is the form in which the SDKs keep one token: its expiry in Unix seconds.
func (t *token) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Value  string `json:"value"`
		Expiry int64  `json:"expiry"`
	}{t.value, t.expiry.Unix()})
}

// randomID is 26 random characters, as good as unique.
func randomID() string { return rand.Text() }

// NewUser makes a user with a library of his own who has consented to the contract, and returns his tokens in the
// SDKs' JSON form; its user.id names him elsewhere in this package. The tokens live as long as given, zero or less
// being expired already, and so do those of later refreshes (those of expired ones an hour and 30 days).
func (s *Server) NewUser(contractID string, access, refresh time.Duration) (tokenJSON []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newGrant(s.newUser(), contractID, access, refresh).tokenJSON()
}

// NewToken is NewUser for a user there is: a further consent, for this contract or another. Errors: no such user.
func (s *Server) NewToken(userID, contractID string, access, refresh time.Duration) (tokenJSON []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.existing(userID)
	if err != nil {
		return nil, err
	}
	return s.newGrant(u, contractID, access, refresh).tokenJSON(), nil
}

// newUser makes a user. The caller holds s.mu.
func (s *Server) newUser() *user {
	s.serial++
	u := &user{id: fmt.Sprintf("user-%d", s.serial), account: newAccount(s.serial, s.now()), postbox: randomID()}
	s.users[u.id] = u
	return u
}

// newGrant gives the user a first pair of tokens for the contract. The caller holds s.mu.
func (s *Server) newGrant(u *user, contractID string, access, refresh time.Duration) *grant {
	g := &grant{user: u, contract: contractID, consent: randomID(), access: access, refresh: refresh}
	s.grants = append(s.grants, g)
	s.renew(g, "")
	if g.access <= 0 {
		g.access = defaultAccess
	}
	if g.refresh <= 0 {
		g.refresh = defaultRefresh
	}
	return g
}

// renew gives the grant a new pair, in exchange for the refresh token parent. The caller holds s.mu.
func (s *Server) renew(g *grant, parent string) {
	now := s.now()
	g.pair = pair{
		access:  &token{value: "at-" + randomID(), grant: g, expiry: now.Add(g.access)},
		refresh: &token{value: "rt-" + randomID(), grant: g, expiry: now.Add(g.refresh)},
	}
	g.parent, g.used = parent, false
	s.access[g.pair.access.value] = g.pair.access
	s.refresh[g.pair.refresh.value] = g.pair.refresh
}

func (g *grant) tokenJSON() []byte {
	out, err := json.Marshal(map[string]any{
		"accessToken": g.pair.access, "refreshToken": g.pair.refresh,
		"user": map[string]string{"id": g.user.id}, "consentid": g.consent,
	})
	if err != nil {
		panic(err) // strings and numbers marshal
	}
	return out
}

// ExpireAccess lets all access tokens of the user expire at once; refreshing brings new ones.
func (s *Server) ExpireAccess(userID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.access {
		if t.grant.user.id == userID {
			t.expiry = s.now().Add(-time.Second)
		}
	}
}

// KillRefresh ends the user's consents: no refresh token of his is accepted any more, he has to authorize again. His
// access tokens live on until they expire.
func (s *Server) KillRefresh(userID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.refresh {
		if t.grant.user.id == userID {
			t.revoked = true
		}
	}
}

// userOf is the user whom a request is about, whether or not his token is still good. The caller holds s.mu.
func (s *Server) userOf(claims map[string]string) string {
	if given := s.codes[claims["code"]]; given != nil {
		return given.user.id
	}
	for _, t := range []*token{s.access[claims["access_token"]], s.refresh[claims["refresh_token"]]} {
		if t != nil {
			return t.grant.user.id
		}
	}
	return ""
}

// authorized finds who an access token stands for. An access token lives until it expires, also after a refresh: the
// SDKs allow either. Errors: 401 InvalidToken.
func (s *Server) authorized(c *call) (*grant, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.valid(s.access, c.claims["access_token"], "access_token", c.contract.id)
	if err != nil {
		return nil, err
	}
	t.use()
	return t.grant, nil
}

// use notes that the client holds the pair this access token belongs to. The caller holds s.mu.
func (t *token) use() {
	if t == t.grant.pair.access {
		t.grant.used = true
	}
}

// valid finds a token that is known, the contract's, neither revoked nor expired. The caller holds s.mu.
func (s *Server) valid(tokens map[string]*token, value, kind, contractID string) (*token, error) {
	t := tokens[value]
	if t == nil || t.revoked || t.grant.contract != contractID {
		return nil, refuse(http.StatusUnauthorized, "InvalidToken", "The token ("+kind+") is invalid")
	}
	if !s.now().Before(t.expiry) {
		return nil, refuse(http.StatusUnauthorized, "InvalidToken", "The token ("+kind+") is expired")
	}
	return t, nil
}
