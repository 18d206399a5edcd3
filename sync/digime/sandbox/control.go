package sandbox

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// controlPath is where the sandbox is steered over HTTP, for command lines and scripts:
//
//	GET    /sandbox/state                          contracts, users, faults, clock
//	GET    /sandbox/deliveries                     all deliveries
//	POST   /sandbox/fail                           a Fault
//	DELETE /sandbox/fail                           ClearFaults
//	POST   /sandbox/skew                           {"skew":"5m"}
//	POST   /sandbox/rotate-key                     {"lag":"4s","same_kid":false}: see RotateKey; the set shows it after lag
//	POST   /sandbox/users                          {"contract","access":"1h","refresh":"720h","user"?}: a token
//	POST   /sandbox/users/{user}/expire-access
//	POST   /sandbox/users/{user}/kill-refresh
//	POST   /sandbox/decide                         {"link","share":true,"user"?}: {"callback"}, see Decide
//	GET    /sandbox/foreign-keys                   the key set of DoForeignJKU
const controlPath = "/sandbox/"

func (s *Server) controls(mux *http.ServeMux) {
	handle := func(method, path string, serve func(*http.Request) (any, error)) {
		mux.HandleFunc(method+" "+controlPath+path, func(w http.ResponseWriter, r *http.Request) {
			v, err := serve(r)
			p := jsonReply(http.StatusOK, v)
			if err != nil {
				p = s.errorReply(err)
			}
			if err := p.write(w); err != nil {
				s.log.Info("the client did not take the answer", "path", r.URL.Path, "err", err)
			}
		})
	}
	handle("GET", "state", func(*http.Request) (any, error) { return s.state(), nil })
	handle("GET", "deliveries", func(*http.Request) (any, error) { return append([]Delivery{}, s.Deliveries()...), nil })
	handle("GET", "foreign-keys", func(*http.Request) (any, error) { return keySet(foreignKid, &s.signing().foreign.PublicKey), nil })
	handle("POST", "fail", s.controlFail)
	handle("DELETE", "fail", func(*http.Request) (any, error) { s.ClearFaults(); return done, nil })
	handle("POST", "skew", s.controlSkew)
	handle("POST", "rotate-key", s.controlRotate)
	handle("POST", "decide", s.controlDecide)
	handle("POST", "users", s.controlUser)
	handle("POST", "users/{user}/expire-access", s.controlExisting(s.ExpireAccess))
	handle("POST", "users/{user}/kill-refresh", s.controlExisting(s.KillRefresh))
}

var done = map[string]bool{"done": true}

// readControl reads a small JSON body strictly.
func readControl(r *http.Request, v any) error {
	dec := json.NewDecoder(io.LimitReader(r.Body, 1<<20))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return badControl(err)
	}
	return nil
}

func badControl(err error) error { return refuse(http.StatusBadRequest, "SandboxControl", err.Error()) }

func (s *Server) controlFail(r *http.Request) (any, error) {
	var f Fault
	if err := readControl(r, &f); err != nil {
		return nil, err
	}
	if err := f.check(); err != nil {
		return nil, badControl(err)
	}
	s.Fail(f)
	return done, nil
}

func (s *Server) controlSkew(r *http.Request) (any, error) {
	var in struct {
		Skew string `json:"skew"`
	}
	if err := readControl(r, &in); err != nil {
		return nil, err
	}
	d, err := time.ParseDuration(in.Skew)
	if err != nil {
		return nil, badControl(err)
	}
	s.SetSkew(d)
	return done, nil
}

func (s *Server) controlRotate(r *http.Request) (any, error) {
	in := struct {
		Lag     string `json:"lag"`
		SameKid bool   `json:"same_kid"`
	}{Lag: "0s"}
	if err := readControl(r, &in); err != nil {
		return nil, err
	}
	lag, err := time.ParseDuration(in.Lag)
	if err != nil {
		return nil, badControl(err)
	}
	show, err := s.RotateKey(in.SameKid)
	if err != nil {
		return nil, err
	}
	if lag <= 0 {
		show()
		return done, nil
	}
	time.AfterFunc(lag, show)
	return done, nil
}

func (s *Server) controlDecide(r *http.Request) (any, error) {
	var in struct {
		Link, User string
		Share      bool
	}
	if err := readControl(r, &in); err != nil {
		return nil, err
	}
	callback, err := s.Decide(in.Link, in.Share, in.User)
	if err != nil {
		return nil, badControl(err)
	}
	return map[string]string{"callback": callback}, nil
}

// controlUser makes a user, or a further token for one, with lifetimes as Go durations.
func (s *Server) controlUser(r *http.Request) (any, error) {
	in := struct{ Contract, User, Access, Refresh string }{Access: defaultAccess.String(), Refresh: defaultRefresh.String()}
	if err := readControl(r, &in); err != nil {
		return nil, err
	}
	access, err := time.ParseDuration(in.Access)
	if err != nil {
		return nil, badControl(err)
	}
	refresh, err := time.ParseDuration(in.Refresh)
	if err != nil {
		return nil, badControl(err)
	}
	if s.contractKind(in.Contract) == "" {
		return nil, refuse(http.StatusNotFound, "SandboxControl", "no contract "+in.Contract)
	}
	if in.User == "" {
		return json.RawMessage(s.NewUser(in.Contract, access, refresh)), nil
	}
	token, err := s.NewToken(in.User, in.Contract, access, refresh)
	if err != nil {
		return nil, refuse(http.StatusNotFound, "SandboxControl", err.Error())
	}
	return json.RawMessage(token), nil
}

func (s *Server) contractKind(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.contracts[id]; c != nil {
		return c.kind
	}
	return ""
}

func (s *Server) controlExisting(do func(user string)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		id := r.PathValue("user")
		s.mu.Lock()
		known := s.users[id] != nil
		s.mu.Unlock()
		if !known {
			return nil, refuse(http.StatusNotFound, "SandboxControl", "no user "+id)
		}
		do(id)
		return done, nil
	}
}

type contractState struct {
	ID        string   `json:"id"`
	Kind      string   `json:"kind"`
	Redirects []string `json:"redirect_uris"`
}

type grantState struct {
	User     string    `json:"user"`
	Contract string    `json:"contract"`
	Access   time.Time `json:"access_expires"`
	Refresh  time.Time `json:"refresh_expires"`
	Revoked  bool      `json:"revoked"` // the refresh token is not accepted any more
}

type sandboxState struct {
	ApplicationID string          `json:"application_id"`
	Time          time.Time       `json:"time"` // the sandbox's clock
	Skew          string          `json:"skew"`
	Contracts     []contractState `json:"contracts"`
	Grants        []grantState    `json:"grants"` // what each user has consented to
	Faults        []Fault         `json:"faults"` // those still to strike
	Deliveries    int             `json:"deliveries"`
}

// state is what GET /sandbox/state shows: no token and no key.
func (s *Server) state() sandboxState {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := sandboxState{
		ApplicationID: s.ApplicationID, Time: s.now(), Skew: s.skew.String(),
		Contracts: []contractState{}, Grants: []grantState{}, Faults: []Fault{}, Deliveries: len(s.deliveries),
	}
	for _, c := range s.contracts {
		out.Contracts = append(out.Contracts, contractState{c.id, c.kind, c.redirects})
	}
	slices.SortFunc(out.Contracts, func(a, b contractState) int { return strings.Compare(a.ID, b.ID) })
	for _, g := range s.grants {
		out.Grants = append(out.Grants, grantState{
			User: g.user.id, Contract: g.contract, Access: g.pair.access.expiry, Refresh: g.pair.refresh.expiry,
			Revoked: g.pair.refresh.revoked,
		})
	}
	for _, f := range s.faults {
		out.Faults = append(out.Faults, f.Fault)
	}
	return out
}
