package sandbox

import "time"

// sessionLife is how long a read session can be used. That of the real service is not published.
const sessionLife = 30 * time.Minute

// session is a reading of one user's library. Guarded by Server.mu.
type session struct {
	Key    string `json:"key"`
	Expiry int64  `json:"expiry"` // Unix milliseconds

	contract *contract
	user     *user // nil until the person has consented
}

// newSession makes a session; u is nil while nobody has consented. The caller holds s.mu.
func (s *Server) newSession(c *contract, u *user) *session {
	one := &session{Key: randomID(), Expiry: s.now().Add(sessionLife).UnixMilli(), contract: c, user: u}
	s.sessions[one.Key] = one
	return one
}
