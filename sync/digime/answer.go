package digime

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Steps, as errors name them.
const (
	opPush    = "push"
	opRefresh = "refresh token"
	opVerify  = "verify answer"
	opKeys    = "fetch key set"

	opAuthorize   = "authorize"
	opExchange    = "exchange code"
	opReauthorize = "re-authorize"

	opAccounts = "list accounts"
	opTrigger  = "trigger reading"
	opList     = "list files"
	opFetch    = "fetch file"
)

// byAccess says whether a step is one that an access token opens a library for.
func byAccess(op string) bool {
	return op == opPush || op == opAccounts || op == opTrigger || op == opList || op == opFetch
}

// answer is what came back, its body cut at a bound.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error // why the body could not be read to its end
}

func (a *answer) ok() bool { return a.status >= 200 && a.status <= 299 }

// html tells a page from an answer: the API never sends one, captive portals
// and block pages always do, often with 200, and not always under their own type.
func (a *answer) html() bool {
	kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	return kind == "text/html" || kind == "application/xhtml+xml" ||
		strings.HasPrefix(http.DetectContentType(a.body), "text/html")
}

// refusal is the service's description of an error.
type refusal struct{ code, message, reference string }

// said reads the error out of an answer. Both shapes are known:
// {"error":{"code","message","reference"}} and {"error":"code","message":"…"};
// headers repeat them where the body says nothing (X-Error-Code and the like).
func (a *answer) said(secrets ...string) refusal {
	var body struct{ Error, Message, Reference json.RawMessage }
	var inner struct{ Code, Message, Reference json.RawMessage }
	_ = json.Unmarshal(a.body, &body) // what is not JSON says nothing
	_ = json.Unmarshal(body.Error, &inner)
	pick := func(header string, fields ...json.RawMessage) string {
		for _, field := range fields {
			var text string
			if json.Unmarshal(field, &text) == nil && text != "" {
				return clean(text, secrets...)
			}
		}
		return clean(a.header.Get(header), secrets...)
	}
	return refusal{
		code:      pick("X-Error-Code", inner.Code, body.Error),
		message:   pick("X-Error-Message", inner.Message, body.Message),
		reference: pick("X-Error-Reference", inner.Reference, body.Reference),
	}
}

// refused makes an error of an answer that is not the success it should be:
// of any status but 2xx, or a page.
func (c *Client) refused(op string, a *answer, secrets ...string) *Error {
	said := a.said(secrets...)
	e := &Error{
		Op: op, Status: a.status, Code: said.code, Message: said.message, Reference: said.reference,
		RetryAfter: retryAfter(a.header, time.Now()),
	}
	e.Class, e.what = classify(op, a.status, said.code)
	switch {
	case a.html() && said.code == "" && pageInstead(a.status):
		e.Class, e.Host, e.RetryAfter = Passing, true, 0 // which would be the portal's own
		e.what = "a web page came back instead of an answer: something between us and digi.me (a login page of the network, a filter) holds it up"
	case a.status >= 300 && a.status <= 399:
		e.Host = true
		e.Class, e.what = c.redirected(a)
	case a.status == http.StatusProxyAuthRequired, a.status >= 500 && e.Class == Passing:
		e.Host = true
	}
	if skew, ok := c.Skew(); ok && skew.Abs() > maxSkew && (a.status == http.StatusUnauthorized || a.status == http.StatusNotAcceptable) {
		e.Skew = skew
	}
	return e
}

// pageInstead lists the statuses with which portals, filters and gateways
// serve their pages. A 413 page, say, is not among them: it is about the file.
func pageInstead(status int) bool {
	switch status {
	case http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed,
		http.StatusUnavailableForLegalReasons, http.StatusNetworkAuthenticationRequired:
		return true
	}
	return status >= 200 && status <= 299
}

// classify is the table of the service's errors. The code goes before the
// status: the SDKs, too, know SDKInvalid by its code alone.
func classify(op string, status int, code string) (class Class, words string) {
	if status < 400 || status > 499 {
		code = "" // with another status it is the status that counts
	}
	switch code {
	case "InvalidToken":
		return invalidToken(op), ""
	case "InvalidClient":
		return Configuration, "digi.me does not know the application or the contract, or the key is not the contract's"
	case "InsufficientScope":
		return Configuration, "the contract is not of the kind that may do this"
	case "InvalidRedirectUri":
		return Configuration, "the redirect URI is not one of the contract's"
	case "SDKInvalid", "SDKVersionInvalid":
		return ClientRefused, ""
	}
	switch {
	case status == http.StatusUnauthorized && code == "" && byAccess(op):
		return TokenExpired, "" // gateways say it without a reason
	case status == http.StatusUnauthorized && code == "":
		// Not enough to tell somebody that a consent has ended.
		return Passing, "digi.me does not accept the request and does not say why"
	case status == http.StatusUnauthorized:
		return Configuration, "digi.me does not accept the request's signature"
	case status == http.StatusNotAcceptable:
		return Malformed, ""
	case status == http.StatusProxyAuthRequired:
		return Configuration, (&proxyError{status: status}).Error()
	case status == http.StatusNetworkAuthenticationRequired:
		return Reauthorize, ""
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests:
		return Passing, ""
	case (status == http.StatusNotFound || status == http.StatusGone) && (op == opList || op == opFetch):
		return Refused, "digi.me does not know the session or the file any more"
	case status >= 400 && status <= 499 && op == opFetch:
		return Refused, "digi.me does not give this file out"
	case status >= 400 && status <= 499 && op != opPush:
		return Configuration, "digi.me does not know such a request: is the address of the API right?"
	case (status == http.StatusNotFound || status == http.StatusMethodNotAllowed) && code == "":
		// No error of the API's shape: what answers there is not it, whatever the file.
		return Configuration, "what answers is not the API: is its address right?"
	case status >= 400 && status <= 499:
		return Refused, ""
	}
	return Passing, ""
}

func invalidToken(op string) Class {
	if op == opRefresh || op == opExchange {
		return ConsentGone
	}
	return TokenExpired
}

// redirected explains a 3xx. None is followed: what is signed for the API is
// for the API alone.
func (c *Client) redirected(a *answer) (Class, string) {
	to, err := url.Parse(a.header.Get("Location"))
	if err != nil || to.Hostname() == "" || to.Hostname() == c.base.Hostname() {
		if a.status == http.StatusMovedPermanently || a.status == http.StatusPermanentRedirect {
			return Configuration, "the API has moved to another address on its host: is the base URL right?"
		}
		return Passing, "the API redirects to another address on its host"
	}
	return Passing, fmt.Sprintf("something between us and digi.me redirects to host %s", clean(to.Hostname()))
}

// maxRetryAfter bounds what a server may ask for. More is nonsense, and as if
// nothing was asked for: a slip of its must not stop a library for days.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads the Retry-After header: whole seconds or an HTTP date
// (RFC 9110 section 10.2.3). A date is taken against the answer's own Date where
// there is one, since the local clock may be wrong. Nonsense is 0.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if text == "" {
		return 0
	}
	if strings.Trim(text, "0123456789") == "" {
		seconds, err := strconv.ParseUint(text, 10, 32)
		if err != nil || seconds > uint64(maxRetryAfter/time.Second) {
			return 0 // only too big is left
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	wait := at.Sub(now)
	if wait < 0 || wait > maxRetryAfter {
		return 0
	}
	return wait
}
