// Package digime speaks the digi.me API as far as pushing files needs it:
// it pushes files to libraries, providers and postboxes, asks for consent and
// keeps user access tokens alive, and reads back what was pushed.
//
// Every request is signed anew with the contract's private key (JWT, PS512) and
// nothing the service says about tokens is believed before its own signature is
// verified with a key from the configured API's origin.
//
// The facts about the service come from digi.me's public SDKs (Node.js 16.1 and
// 17.0, JavaScript 5.0, iOS 5.1, Android 4): where they are silent, the package
// is strict in what it sends and lenient in what it accepts.
//
// It speaks HTTP/1.1 alone. Each status from 101 to 599, before and after the
// body, garbage in every place of an answer, portals, certificates and networks
// that are slow or silent have their tests: see TestEveryStatus and those beside it.
//
// It keeps nothing on disk and starts no goroutine of its own. Retries, queues
// and the storing of tokens are left to the caller: each call is one attempt.
package digime

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
)

// The service's public addresses, as in the SDKs.
const (
	DefaultBaseURL       = "https://api.digi.me/v1.7/"
	DefaultOnboardURL    = "https://api.digi.me/apps/saas/"
	DefaultLegacyBaseURL = "https://api.digi.me/v1.6/"
)

const (
	dialTimeout  = 15 * time.Second
	idleTimeout  = 60 * time.Second
	defaultStall = 5 * time.Minute
	// answerStall is how long the answer is waited for when all of a file has
	// left: nothing is slow any more then but the service. It is long, since
	// whoever gives up here sends the file a second time.
	answerStall = 4 * time.Minute
	// expectTimeout is how long a big body waits for the server's leave to send
	// it; servers that do not know the header just stay silent.
	expectTimeout = time.Second
	callTimeout   = 60 * time.Second // of a whole call without a file
	maxHeader     = 256 << 10        // of an answer's header
)

// Options says where the API is and how to reach it. ApplicationID is the only
// one that must be set.
type Options struct {
	BaseURL       string        // of the API; "" is DefaultBaseURL; http only to loopback
	OnboardURL    string        // of the web client that asks for consent; "" is DefaultOnboardURL
	LegacyBaseURL string        // of the 2021 postbox endpoint; "" is DefaultLegacyBaseURL
	ApplicationID string        // one for each integrator, given out by digi.me
	Proxy         string        // URL of the proxy; "" takes the environment's (HTTPS_PROXY, NO_PROXY)
	CA            []byte        // PEM certificates that are trusted besides the system's
	UserAgent     string        // "" is digime-sync
	Stall         time.Duration // without any progress for this long a push is broken off; 0 is 5 minutes, and 90 s at most once all of it has left
	Log           *slog.Logger  // nil is silent; no token, key or file content is ever logged
}

// Client speaks to one API for one application. It may be used by many
// goroutines at once.
type Client struct {
	base, onboard, legacy *url.URL // all with a slash at their end

	application string
	agent       string
	stall       time.Duration
	log         *slog.Logger
	transport   *http.Transport
	keys        *keySet

	mu     sync.Mutex // guards the next two
	skew   time.Duration
	skewed bool // skew is known
}

// Contract is what one kind of access is granted by: an ID and the private key
// that belongs to it. RedirectURI must be one that is registered for it.
type Contract struct {
	ID          string
	Key         *rsa.PrivateKey
	RedirectURI string
}

// LogValue shows the contract by its ID alone.
func (k Contract) LogValue() slog.Value { return slog.StringValue(k.ID) }

// New checks the options and returns a client. It does not touch the network.
func New(o Options) (*Client, error) {
	var faults []error
	base := apiURL("base URL", o.BaseURL, DefaultBaseURL, &faults)
	onboard := apiURL("onboard URL", o.OnboardURL, DefaultOnboardURL, &faults)
	legacy := apiURL("legacy base URL", o.LegacyBaseURL, DefaultLegacyBaseURL, &faults)
	if strings.TrimSpace(o.ApplicationID) == "" {
		faults = append(faults, errors.New("application ID is missing"))
	}
	if o.Stall < 0 {
		faults = append(faults, errors.New("stall time is negative"))
	}
	transport, err := newTransport(o.Proxy, o.CA)
	faults = append(faults, err)
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	c := &Client{
		base: base, onboard: onboard, legacy: legacy, application: o.ApplicationID, agent: o.UserAgent,
		stall: o.Stall, log: o.Log, transport: transport,
	}
	if c.agent == "" {
		c.agent = "digime-sync"
	}
	if c.stall == 0 {
		c.stall = defaultStall
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.keys = newKeySet(c)
	return c, nil
}

// apiURL parses one of the configured addresses; what is wrong with it goes to
// faults, without the address itself, which may hold a password.
func apiURL(name, text, fallback string, faults *[]error) *url.URL {
	if text == "" {
		text = fallback
	}
	u, err := url.Parse(text)
	fault := ""
	switch {
	case err != nil:
		fault = "is not a URL"
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		fault = "must start with https:// and name a host"
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		fault = "must not contain a user, a query or a fragment"
	case u.Scheme == "http" && !loopback(u.Hostname()):
		fault = "must start with https:// (http is for this very machine only)"
	}
	if fault != "" {
		*faults = append(*faults, fmt.Errorf("%s %s", name, fault))
		return nil
	}
	if !strings.HasSuffix(u.Path, "/") {
		u = u.JoinPath("/")
	}
	return u
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
}

// newTransport speaks HTTP/1.1 alone: an upload that stalls, is refused early
// or loses its answer is one connection's affair there, and Go resends nothing
// by itself that it could not rewind.
func newTransport(proxy string, ca []byte) (*http.Transport, error) {
	pick, err := proxyFunc(proxy)
	if err != nil {
		return nil, err
	}
	roots, err := rootsWith(ca)
	if err != nil {
		return nil, err
	}
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  pick,
		DialContext:            dialCounted,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    dialTimeout,
		ExpectContinueTimeout:  expectTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConnsPerHost:    16,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true,
		Protocols:              http1,
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, r *http.Response) error {
			if r.StatusCode != http.StatusOK {
				return &proxyError{status: r.StatusCode}
			}
			return nil
		},
	}, nil
}

// proxyFunc never lets the text of a proxy address into an error: it may hold
// a password.
func proxyFunc(proxy string) (func(*http.Request) (*url.URL, error), error) {
	if proxy == "" {
		return func(r *http.Request) (*url.URL, error) {
			u, err := http.ProxyFromEnvironment(r)
			if err != nil {
				return nil, &proxyError{}
			}
			return u, nil
		}, nil
	}
	u, err := url.Parse(proxy)
	if err != nil || u.Hostname() == "" {
		return nil, errors.New("proxy is not a URL with a host, like http://proxy.example:3128")
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
		return http.ProxyURL(u), nil
	}
	return nil, errors.New("proxy must start with http://, https:// or socks5://")
}

func rootsWith(ca []byte) (*x509.CertPool, error) {
	if len(ca) == 0 {
		return nil, nil // the system's
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's certificates: %w", err)
	}
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("CA file holds no PEM certificate")
	}
	return roots, nil
}

func dialCounted(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok && sendBuffer > 0 {
		_ = tcp.SetWriteBuffer(sendBuffer) // without it a slow network is only given less time
	}
	return newCountedConn(conn), nil
}

// Skew is the local clock minus the service's, as the latest answer's Date
// header had it, to a second or so. ok is false before the first answer.
func (c *Client) Skew() (d time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.skew, c.skewed
}

// Reach fetches the service's key set, which needs no signature: an error says
// why the API cannot be reached or is not what answers there.
func (c *Client) Reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, errTooLong)
	defer cancel()
	return c.keys.fetch(ctx)
}
