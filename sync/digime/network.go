package digime

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"syscall"
)

var (
	errStalled = errors.New("no progress for too long")
	errTooLong = errors.New("no answer in time")
	errEndless = errors.New("the answer does not end")
)

// proxyError is a proxy that did not open the way; status 0 is an address in
// the environment that cannot be used.
type proxyError struct{ status int }

func (e *proxyError) Error() string {
	switch e.status {
	case 0:
		return "the proxy address in the environment (HTTPS_PROXY) is not a URL"
	case http.StatusProxyAuthRequired:
		return "the proxy wants a user name and password"
	}
	return fmt.Sprintf("the proxy does not open the way to digi.me (%d)", e.status)
}

// ended is what to say where a context's end broke a request off: a bound of
// ours, or the plain error of the caller's context, whatever cause that has.
func ended(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case cause == nil:
		return err
	case errors.Is(cause, errStalled), errors.Is(cause, errTooLong):
		return cause
	}
	return ctx.Err()
}

// networkError makes an error of a request without an answer. All of them pass,
// but for a proxy that somebody has to be told how to use.
func networkError(op string, err error) *Error {
	class := Passing
	var proxy *proxyError
	if errors.As(err, &proxy) && (proxy.status == 0 || proxy.status == http.StatusProxyAuthRequired) {
		class = Configuration
	}
	return &Error{Op: op, Class: class, Host: true, Err: err}
}

// networkWords says in plain words why no answer came. It takes nothing from
// errors it does not know: their text may quote addresses, headers or input.
func networkWords(err error) string {
	if words := certificateWords(err); words != "" {
		return words
	}
	var dns *net.DNSError
	var proxy *proxyError
	var op *net.OpError
	switch {
	case errors.As(err, &proxy):
		return proxy.Error()
	case errors.Is(err, errStalled), errors.Is(err, errTooLong), errors.Is(err, errEndless):
		return "broken off: " + rootWords(err)
	case errors.Is(err, context.Canceled):
		return "broken off: the call was cancelled"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "the name " + clean(dns.Name) + " is unknown to the name server (DNS)"
	case errors.As(err, &dns):
		return "the name " + clean(dns.Name) + " cannot be looked up (DNS)"
	case isAny(err, refusedErrnos):
		return peer(err) + " refuses the connection"
	case isAny(err, unreachableErrnos):
		return "the network does not reach " + peer(err)
	case timeout(err):
		return peer(err) + " does not answer in time"
	case isAny(err, resetErrnos), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "the connection broke off"
	case errors.As(err, &op):
		return "the connection to " + peer(err) + " failed"
	}
	return "the connection failed or what answered does not speak HTTP"
}

func rootWords(err error) string {
	for _, root := range []error{errStalled, errTooLong, errEndless} {
		if errors.Is(err, root) {
			return root.Error()
		}
	}
	return ""
}

func certificateWords(err error) string {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		any       *tls.CertificateVerificationError
		record    tls.RecordHeaderError
		alert     tls.AlertError
	)
	switch {
	case errors.As(err, &authority):
		return "the server's certificate is not from an authority this machine trusts (a proxy that looks into TLS needs its CA in the configuration)"
	case errors.As(err, &host):
		return "the server's certificate is for another name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate has expired or is not valid yet (is the clock of this machine right?)"
	case errors.As(err, &invalid), errors.As(err, &any):
		return "the server's certificate is not valid"
	case errors.As(err, &record), errors.As(err, &alert):
		return "the server does not speak the same TLS"
	}
	return ""
}

func timeout(err error) bool {
	var t net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &t) && t.Timeout()
}

// peer names the address that was dialled, never the URL.
func peer(err error) string {
	var op *net.OpError
	switch {
	case !errors.As(err, &op):
		return "the server"
	case op.Op == "proxyconnect":
		return "the proxy"
	case op.Addr == nil:
		return "the server"
	}
	return op.Addr.String()
}

func isAny(err error, numbers []syscall.Errno) bool {
	return slices.ContainsFunc(numbers, func(n syscall.Errno) bool { return errors.Is(err, n) })
}
