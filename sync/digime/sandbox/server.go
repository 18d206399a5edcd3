// Package sandbox is a strict stand-in for the digi.me API, for trying and testing without an account.
//
// It is an http.Handler which speaks the wire as the public SDKs do, and refuses whatever they would never send: it
// verifies every signature with nothing but crypto/rsa, so that it is a check independent of the client's own JWT
// library. What the SDKs leave open it decides on the strict side, with a comment that says so.
//
//	/v1.7/          the API: pushing, tokens, authorizing, reading back
//	/v1.6/          the legacy postbox, and its tokens
//	/apps/saas/     the web page on which a person shares or declines
//	/sandbox/       its own controls: faults, deliveries, users, state (not part of digi.me)
//
// All state is in memory and gone when the process ends: contracts, users, tokens, nonces, deliveries and faults. Only
// the bodies of deliveries are kept in files, when Options.Dir says where; a body is hashed as it streams in and never
// held whole. Anybody who can reach the handler can use its controls, so serve it on loopback only.
//
// Left out: real sources and their data, storage, deleting users and accounts, the scope filters of a read session (a
// session always lists everything that was pushed), and brotli.
package sandbox

import (
	"crypto/rsa"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// Paths of the three parts a client is configured with, below the address at which the handler is reached.
const (
	apiPath     = "/v1.7/"
	legacyPath  = "/v1.6/"
	onboardPath = "/apps/saas/"
)

// Options of a sandbox.
type Options struct {
	Log *slog.Logger // nil: silent
	// Dir is where the bodies of deliveries are kept, each in a file named by its SHA-256 in hex, up to 256 MiB each.
	// Empty: in memory, up to 8 MiB each and 64 MiB in all. Of what is larger only hash and size are known.
	Dir string
	// Rotation says what becomes of a refresh token that was already used; empty is RotationForgiving.
	Rotation Rotation
}

// Server is the sandbox. Its methods and its handler may be used from many goroutines.
type Server struct {
	// ApplicationID is the application of all its contracts: the first half of their client_id. Set it before use.
	ApplicationID string

	rotation Rotation
	log      *slog.Logger
	mux      *http.ServeMux
	bodies   *bodies

	closing   chan struct{} // closed by Close: lets go of stalled requests
	closeOnce sync.Once

	mu         sync.Mutex // guards everything below
	keys       *signingKeys
	shown      publishedKey
	skew       time.Duration
	contracts  map[string]*contract
	users      map[string]*user
	access     map[string]*token
	refresh    map[string]*token
	grants     []*grant            // in the order in which they were made
	consents   map[string]*consent // by the code in the link
	codes      map[string]*code    // by the code in the callback
	sessions   map[string]*session
	nonces     map[string]bool
	faults     []*queuedFault
	deliveries []Delivery
	serial     int // numbers users and references
}

// New makes a sandbox without contracts or users. Errors: Options.Dir cannot be made; no randomness for keys.
func New(opt Options) (*Server, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Rotation == "" {
		opt.Rotation = RotationForgiving
	}
	if opt.Dir != "" {
		if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
			return nil, err
		}
	}
	keys, err := processKeys()
	if err != nil {
		return nil, err
	}
	s := &Server{
		ApplicationID: "sandbox-app",
		rotation:      opt.Rotation,
		log:           opt.Log,
		keys:          keys,
		shown:         publishedKey{keys.kid, &keys.service.PublicKey},
		bodies:        &bodies{dir: opt.Dir, memory: map[string][]byte{}},
		closing:       make(chan struct{}),
		contracts:     map[string]*contract{},
		users:         map[string]*user{},
		access:        map[string]*token{},
		refresh:       map[string]*token{},
		consents:      map[string]*consent{},
		codes:         map[string]*code{},
		sessions:      map[string]*session{},
		nonces:        map[string]bool{},
	}
	s.mux = s.routes()
	return s, nil
}

// Close lets go of requests that a fault has stalled, so that the http server around the sandbox can shut down.
func (s *Server) Close() { s.closeOnce.Do(func() { close(s.closing) }) }

// BaseURL is the API's base URL when the handler is reached at root, such as "http://127.0.0.1:8080".
func (s *Server) BaseURL(root string) string { return strings.TrimSuffix(root, "/") + apiPath }

// LegacyBaseURL is the base URL of the postbox endpoint when the handler is reached at root.
func (s *Server) LegacyBaseURL(root string) string { return strings.TrimSuffix(root, "/") + legacyPath }

// OnboardURL is the base URL of the web page that asks for consent when the handler is reached at root.
func (s *Server) OnboardURL(root string) string { return strings.TrimSuffix(root, "/") + onboardPath }

// SetSkew sets the sandbox's clock ahead of (or, negative, behind) this machine's: the Date of its answers, the window
// for timestamps and the life of tokens all follow it, as if the client's clock were wrong by as much.
func (s *Server) SetSkew(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skew = d
}

// now is the sandbox's clock. The caller holds s.mu.
func (s *Server) now() time.Time { return time.Now().Add(s.skew) }

// contract is one integrator's agreement with digi.me: an ID and the public half of its key.
type contract struct {
	id        string
	kind      string
	key       *rsa.PublicKey
	redirects []string
}

// Kinds of contract: what it may be used for.
const (
	KindWrite   = "write"   // push to libraries and providers
	KindRead    = "read"    // read back, raw, what was pushed
	KindPostbox = "postbox" // the write contracts of before: push to a postbox
)

// AddContract registers a contract of kind KindWrite, KindRead or KindPostbox, whose requests are signed by the
// private half of pub and whose callbacks go to one of redirectURIs. It panics at another kind, an empty id or a key
// under 2048 bits: these are mistakes in the calling program.
func (s *Server) AddContract(kind, id string, pub *rsa.PublicKey, redirectURIs ...string) {
	if kind != KindWrite && kind != KindRead && kind != KindPostbox {
		panic("sandbox: unknown kind of contract: " + kind)
	}
	if id == "" || pub == nil || pub.N.BitLen() < minKeyBits {
		panic("sandbox: a contract needs an ID and an RSA key of at least 2048 bits")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.contracts[id] = &contract{id: id, kind: kind, key: pub, redirects: redirectURIs}
}
