package digime

import (
	"fmt"
	"strings"
	"time"
)

// Class says what an error means for the one who has to act on it.
type Class int

const (
	// TokenExpired: the access token is not taken any more; refresh, then push again.
	TokenExpired Class = iota + 1
	// ConsentGone: the refresh token is not taken any more; the person must authorize again.
	ConsentGone
	// Configuration: application, contract, redirect URI, address or proxy are wrong.
	Configuration
	// ClientRefused: the service does not accept this client any more.
	ClientRefused
	// Malformed: 406, a request the service does not understand: a nonce seen
	// before or a wrong clock as a rule, not the file's fault.
	Malformed
	// Refused: the service does not take this very file, or does not give it out.
	Refused
	// Passing: network, proxies, gateways, overload; try again later.
	Passing
	// Reauthorize: the provider's account must be authorized again.
	Reauthorize
	// Changed: the file is not, or no longer, what was hashed, or cannot be read.
	Changed
	// BadAnswer: an answer that could not be verified; nothing of it was believed.
	BadAnswer
)

var classes = map[Class]struct{ name, words string }{
	TokenExpired:  {"token expired", "the access token is not accepted any more"},
	ConsentGone:   {"consent gone", "the consent has ended: the person must authorize again"},
	Configuration: {"configuration", "digi.me does not accept the configuration"},
	ClientRefused: {"client refused", "digi.me does not accept this version of the program any more"},
	Malformed:     {"malformed", "digi.me calls the request malformed"},
	Refused:       {"refused", "digi.me does not take this file"},
	Passing:       {"passing", "digi.me cannot take it at the moment"},
	Reauthorize:   {"reauthorize", "the provider's account must be authorized again"},
	Changed:       {"changed", "the file changed while it was sent"},
	BadAnswer:     {"bad answer", "the answer cannot be verified"},
}

// String names the class in lower case, for logs.
func (c Class) String() string {
	if known, ok := classes[c]; ok {
		return known.name
	}
	return fmt.Sprintf("class %d", int(c))
}

// Error is what became of a call that did not succeed. Its text names the step
// and never holds a token, a key or a query string; Code, Message and
// Reference are the service's own words, cleaned and cut.
type Error struct {
	Op         string // the step: push, refresh token, fetch key set, …
	Class      Class
	Status     int    // HTTP status of the answer, 0 when none came
	Code       string // the service's error code, like InvalidToken
	Message    string
	Reference  string        // for digi.me's support
	RetryAfter time.Duration // what the service asks for, at most 24 hours; 0 if nothing, or more
	Skew       time.Duration // local clock minus the service's, where a wrong clock may be the cause; else 0
	Doubt      bool          // the last chunk was let go, all of it left and no answer came: the file may have arrived
	Lost       bool          // the request was sent and its answer is lost: it may have been carried out
	// Unsure: a 502 or 504 to a file whose last chunk was let go. It says that a
	// gateway got no valid answer from the service (RFC 9110 sections 15.6.3 and
	// 15.6.5), which may have taken the file all the same. It is an answer and no
	// doubt, since a service that is down behind its gateway says it of every file.
	Unsure bool
	// Host: the fault is not this request's but the host's, or lies on the way to
	// it: no answer, one that is not the API's, or a 5xx. Client.Reach finds out.
	Host bool
	// Answer is what a refresh or an exchange was answered with where that cannot
	// be verified yet: its key is not in the key set, none fits its signature, or the
	// set cannot be had. "" otherwise. See Client.Verify.
	Answer Answer
	Err    error // the cause, nil where the answer itself is the error

	what string // plain words; the class's own when empty
}

// maxSkew is how wrong a clock may be before an error mentions it.
const maxSkew = 2 * time.Minute

// Error says it in plain words.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op + ": ")
	switch {
	case e.what != "":
		b.WriteString(e.what)
	case e.Status == 0 && e.Err != nil:
		b.WriteString(networkWords(e.Err))
	default:
		b.WriteString(classes[e.Class].words)
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, " (%s)", e.answerWords())
	}
	if e.Skew != 0 {
		side, by := "ahead of", e.Skew
		if by < 0 {
			side, by = "behind", -by
		}
		fmt.Fprintf(&b, "; the clock of this machine is %s %s digi.me's: set it right", by.Round(time.Second), side)
	}
	if e.Doubt {
		b.WriteString("; the whole file was sent and no answer came: it may have arrived")
	}
	if e.Lost {
		b.WriteString("; the answer is lost")
	}
	return b.String()
}

func (e *Error) answerWords() string {
	words := fmt.Sprint(e.Status)
	if e.Code != "" {
		words += " " + e.Code
	}
	if e.Message != "" {
		words += ": " + e.Message
	}
	if e.Reference != "" {
		words += ", reference " + e.Reference
	}
	return words
}

// Unwrap returns the cause, for errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Err }
