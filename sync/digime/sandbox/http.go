package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Kinds of request, by which a Fault chooses what it strikes.
const (
	ReqPush      = "push"      // permission-access/import
	ReqProvider  = "provider"  // permission-access/import/h:accountId/fhir/…
	ReqPostbox   = "postbox"   // /v1.6/permission-access/postbox/…
	ReqRefresh   = "refresh"   // oauth/token with a refresh token
	ReqExchange  = "exchange"  // oauth/token with an authorization code
	ReqKeys      = "jwks"      // jwks/oauth
	ReqAuthorize = "authorize" // oauth/authorize
	ReqReference = "reference" // oauth/token/reference
	ReqTrigger   = "trigger"   // permission-access/trigger
	ReqList      = "list"      // permission-access/query/{session}
	ReqFile      = "file"      // permission-access/query/{session}/{name}
	ReqAccounts  = "accounts"  // permission-access/accounts
)

// call is one request on its way through the sandbox.
type call struct {
	r        *http.Request
	kind     string
	contract *contract
	claims   map[string]string

	fault *queuedFault // what it suffers, nil for nothing
	spent bool         //  fault has struck
}

// suffers tells whether the call's fault is of this kind, and counts it as struck then.
func (c *call) suffers(do string) bool {
	hit := c.fault != nil && c.fault.Do == do
	c.spent = c.spent || hit
	return hit
}

// reply is an answer not sent yet, so that a fault can still lose or replace it.
type reply struct {
	status int
	header http.Header
	body   []byte
	stream func(io.Writer) error // instead of body, for what is too large to hold
}

// apiError is a refusal in the shape of the API.
type apiError struct {
	status        int
	code, message string
	retryAfter    string
}

func (e *apiError) Error() string { return fmt.Sprintf("%d %s: %s", e.status, e.code, e.message) }

func refuse(status int, code, message string) error {
	return &apiError{status: status, code: code, message: message}
}

func jsonReply(status int, v any) reply {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // only values of this package come here, and they marshal
	}
	return reply{status: status, header: http.Header{"Content-Type": {"application/json"}}, body: body}
}

// errorReply gives a refusal the shape of protocol section 8, with the headers that repeat it.
func (s *Server) errorReply(err error) reply {
	var e *apiError
	if !errors.As(err, &e) {
		e = &apiError{status: http.StatusInternalServerError, code: "InternalServerError", message: err.Error()}
	}
	reference := randomID()
	out := jsonReply(e.status, map[string]any{
		"error": map[string]string{"code": e.code, "message": e.message, "reference": reference},
	})
	out.header.Set("X-Error-Code", e.code)
	out.header.Set("X-Error-Message", e.message)
	out.header.Set("X-Error-Reference", reference)
	if e.retryAfter != "" {
		out.header.Set("Retry-After", e.retryAfter)
	}
	return out
}

func (p reply) write(w http.ResponseWriter) error {
	for name, values := range p.header {
		w.Header()[name] = values
	}
	w.WriteHeader(p.status)
	if p.stream != nil {
		return p.stream(w)
	}
	_, err := w.Write(p.body)
	return err
}

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	handle := func(pattern, kind string, serve func(*call) (reply, error), rules ...claimRule) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			s.serve(w, &call{r: r, kind: kind}, serve, rules)
		})
	}
	handle("POST "+apiPath+"permission-access/import", ReqPush, s.servePush, accessRule)
	handle("POST "+apiPath+"permission-access/import/h:accountId/fhir/{version}", ReqProvider, s.serveProvider, accessRule)
	handle("POST "+legacyPath+"permission-access/postbox/{postbox}", ReqPostbox, s.servePostbox, postboxRule)
	handle("POST "+apiPath+"permission-access/trigger", ReqTrigger, s.serveTrigger, accessRule)
	handle("GET "+apiPath+"permission-access/query/{session}", ReqList, s.serveList, accessRule)
	handle("GET "+apiPath+"permission-access/query/{session}/{name}", ReqFile, s.serveFile, accessRule)
	for _, version := range []string{apiPath, legacyPath} { // the legacy SDK has one base URL for both
		handle("POST "+version+"oauth/token", ReqRefresh, s.serveToken, refreshRule, exchangeRule)
		handle("POST "+version+"oauth/authorize", ReqAuthorize, s.serveAuthorize, authorizeRule)
	}
	handle("POST "+apiPath+"oauth/token/reference", ReqReference, s.serveReference, referenceRule)
	handle("GET "+apiPath+"permission-access/accounts", ReqAccounts, s.serveAccounts, accessRule)
	handle("GET "+apiPath+"jwks/oauth", ReqKeys, s.serveKeySet)
	handle("/", "", func(c *call) (reply, error) {
		return reply{}, refuse(http.StatusNotFound, "NotFound", "There is no "+c.r.Method+" "+c.r.URL.Path)
	})
	for _, page := range []string{pageAuthorize, pageReauth} {
		mux.HandleFunc("GET "+onboardPath+page, s.servePage(page))
		mux.HandleFunc("POST "+onboardPath+page, s.servePage(page))
	}
	s.controls(mux)
	return mux
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	date := s.now()
	s.mu.Unlock()
	w.Header().Set("Date", date.UTC().Format(http.TimeFormat))
	s.mux.ServeHTTP(w, r)
}

// serve carries one call through: first who is asking, then what is asked.
func (s *Server) serve(w http.ResponseWriter, c *call, next func(*call) (reply, error), rules []claimRule) {
	answer, err := s.answer(w, c, next, rules)
	log := s.log.With("request", c.kind, "path", c.r.URL.Path)
	if err != nil {
		log.Info("refused", "err", err)
		answer = s.errorReply(err)
	}
	if err := answer.write(w); err != nil {
		log.Info("the client did not take the answer", "err", err)
	}
}

func (s *Server) answer(w http.ResponseWriter, c *call, next func(*call) (reply, error), rules []claimRule) (reply, error) {
	if len(rules) > 0 {
		if err := s.bearer(c, rules...); err != nil {
			return reply{}, err
		}
	}
	if c.claims["grant_type"] == exchangeRule.grant {
		c.kind = ReqExchange
	}
	if c.fault = s.takeFault(c); c.fault == nil {
		return next(c)
	}
	if c.fault.before() {
		s.releaseFault(c.fault, true)
		s.logFault(c)
		return c.fault.strike(s, w, c), nil
	}
	p, err := next(c)
	lost := err == nil && c.suffers(DoLose)
	s.releaseFault(c.fault, c.spent)
	if c.spent {
		s.logFault(c)
	}
	if lost {
		disconnect(w, "", false)
	}
	return p, err
}

func (s *Server) logFault(c *call) { s.log.Info("fault", "do", c.fault.Do, "request", c.kind) }
