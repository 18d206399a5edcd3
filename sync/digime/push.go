package digime

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// expectAbove is the size, in bytes, above which the server is asked for leave
// before the body is sent: an expired token then costs no upload.
const expectAbove = 1 << 20

// Upload is one file to push.
type Upload struct {
	Descriptor Descriptor
	Size       int64             // in bytes
	SHA256     [sha256.Size]byte // of the content
	// Open opens the file for an attempt; it may be called twice. A Close while
	// a Read is running must be allowed, as *os.File does.
	Open func() (io.ReadCloser, error)
	// Release is called once at most, before the last chunk may leave and after
	// all of the file was found to be what was hashed. Its error breaks the push
	// off. nil does nothing.
	Release func() error
}

// Push sends a file to the library that the access token opens, in one attempt.
// nil means that the service has taken all of it. Else the error is an *Error;
// or the bare error of a context that ended while the file cannot have
// arrived; or, wrapped, that of Upload.Release.
func (c *Client) Push(ctx context.Context, k Contract, access string, u Upload) error {
	if missing := u.Descriptor.missing(); missing != "" {
		return &Error{Op: opPush, Class: Refused, what: "the descriptor has no " + missing}
	}
	p := &pushing{c: c, contract: k, access: access, upload: u, release: func() error { return nil }}
	if u.Release != nil {
		p.release = sync.OnceValue(u.Release)
	}
	err := p.attempt(ctx, u.Size > expectAbove)
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusExpectationFailed {
		return p.attempt(ctx, false) // RFC 9110 section 10.1.1
	}
	return err
}

type pushing struct {
	c        *Client
	contract Contract
	access   string
	upload   Upload
	release  func() error
}

func (p *pushing) attempt(caller context.Context, expect bool) error {
	if err := caller.Err(); err != nil {
		return err
	}
	src, err := p.upload.Open()
	if err != nil {
		return &Error{Op: opPush, Class: Changed, what: "the file cannot be opened", Err: err}
	}
	ctx, dog := newWatchdog(caller, p.c.stall)
	defer dog.stop()
	var w wire
	b := newBody(ctx, src, p.upload, p.release, dog.kick, w.mark)
	defer b.stop()
	// A source that hangs is let go of, too.
	defer context.AfterFunc(ctx, b.closeSource)()

	req, err := p.request(ctx, b, expect)
	if err != nil {
		return err
	}
	trace := w.trace()
	trace.GotFirstResponseByte = b.answering
	trace.Got1xxResponse = interims(b)
	began := time.Now()
	resp, err := p.c.transport.RoundTrip(req.WithContext(httptrace.WithClientTrace(ctx, trace)))
	if err != nil {
		letGo, fault := b.stop()
		p.c.log.Debug("no answer", "op", opPush, "size", p.upload.Size, "released", letGo, "took", time.Since(began), "err", networkWords(err))
		return p.unanswered(caller, ctx, fault, letGo && w.left(), err)
	}
	b.answering()
	a := p.c.reply(resp, maxBody, dog.kick)
	letGo, _ := b.stop() // what broke the body off counts less than the answer
	p.c.log.Debug("answer", "op", opPush, "size", p.upload.Size, "status", a.status, "released", letGo, "took", time.Since(began))
	return p.judge(a, letGo)
}

// maxInterims bounds the 1xx answers: with a hook for them, the transport
// leaves that to the hook.
const maxInterims = 8

func interims(b *body) func(int, textproto.MIMEHeader) error {
	n := 0
	return func(int, textproto.MIMEHeader) error {
		if n++; n > maxInterims {
			return errEndless
		}
		b.interim()
		return nil
	}
}

// request signs an attempt. It has no GetBody and no idempotency header: with
// those Go would send a file twice by itself.
func (p *pushing) request(ctx context.Context, b *body, expect bool) (*http.Request, error) {
	bearer, err := p.c.bearer(p.contract, jwt.MapClaims{"access_token": p.access})
	if err != nil {
		return nil, &Error{Op: opPush, Class: Configuration, what: err.Error(), Err: err}
	}
	descriptor, err := sign(p.contract.Key, jwt.MapClaims{"metadata": p.upload.Descriptor})
	if err != nil {
		return nil, &Error{Op: opPush, Class: Configuration, what: err.Error(), Err: err}
	}
	var content io.Reader = b
	if p.upload.Size == 0 {
		// There is no last chunk to hold back: all is done before the request.
		if err := b.finish(); err != nil {
			_, fault := b.stop()
			return nil, p.unanswered(ctx, ctx, fault, false, err)
		}
		content = http.NoBody
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.c.base.JoinPath("permission-access/import").String(), content)
	if err != nil {
		return nil, &Error{Op: opPush, Class: Configuration, what: "the address of the API cannot be used", Err: err}
	}
	req.ContentLength = p.upload.Size
	req.Header = http.Header{
		"Authorization":  {bearer},
		"Content-Type":   {"application/octet-stream"},
		"FileDescriptor": {descriptor}, // spelled as the SDKs do
		"Accept":         {"application/json"},
		"User-Agent":     {p.c.agent},
	}
	if expect {
		req.Header.Set("Expect", "100-continue")
	}
	return req, nil
}

// judge says what an answer means for the file.
func (p *pushing) judge(a *answer, letGo bool) error {
	switch {
	case a.ok() && a.html():
		// It counts as an answer, not as a doubt: the portal has swallowed the file.
		return p.c.refused(opPush, a, p.access)
	case a.ok() && !letGo:
		e := p.c.refused(opPush, a, p.access)
		e.Class, e.what = Passing, "a success was answered before the whole file was sent: that cannot be digi.me"
		return e
	case a.ok():
		return nil
	}
	return p.c.refused(opPush, a, p.access)
}

func (p *pushing) unanswered(caller, ctx context.Context, fault error, doubt bool, err error) error {
	switch {
	case fault != nil:
		return p.fileFault(fault)
	case caller.Err() != nil && !doubt:
		return caller.Err()
	}
	e := networkError(opPush, ended(ctx, err))
	e.Doubt = doubt
	return e
}

func (p *pushing) fileFault(fault error) error {
	var changed *changedError
	if errors.As(fault, &changed) {
		return &Error{Op: opPush, Class: Changed, what: changed.what, Err: fault}
	}
	var released *releaseError
	if errors.As(fault, &released) {
		return fmt.Errorf("push: broken off before the last chunk: %w", released.err)
	}
	return fault
}
