package digime

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
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
	// Moved is called at each progress on the network, or some seconds after it,
	// from any goroutine. nil does nothing.
	Moved func()
}

// Push sends a file to the library that the access token opens, in one attempt.
// nil means that the service has taken all of it. Else the error is an *Error;
// or the bare error of a context that ended while the file cannot have
// arrived; or, wrapped, that of Upload.Release.
func (c *Client) Push(ctx context.Context, k Contract, access string, u Upload) error {
	if missing := u.Descriptor.missing(); missing != "" {
		return &Error{Op: opPush, Class: Refused, what: "the descriptor has no " + missing}
	}
	return c.push(ctx, &pushing{contract: k, access: access, upload: u, pack: func() (parcel, error) {
		descriptor, err := sign(k.Key, jwt.MapClaims{"metadata": u.Descriptor})
		return parcel{
			where: c.base.JoinPath("permission-access/import"),
			header: http.Header{
				"Content-Type":   {"application/octet-stream"},
				"FileDescriptor": {descriptor}, // spelled as the SDKs do
			},
		}, err
	}})
}

// parcel is what a push makes of a file in one attempt, and where it goes.
type parcel struct {
	where    *url.URL
	claims   jwt.MapClaims // of the bearer, besides those of every push; nil for none
	header   http.Header   // besides that of every push
	envelope *envelope     // nil: the body is the file as it is
}

// pushing is one push. All ways to push share it: they differ in their parcel
// alone, and in whether the answer's body says something.
type pushing struct {
	c        *Client
	contract Contract
	access   string
	upload   Upload
	release  func() error
	pack     func() (parcel, error)                      // anew for every attempt; its error is in plain words
	read     func(a *answer, letGo bool, e *Error) error // of a 2xx, e being the error to be filled; nil: the status says all
}

func (c *Client) push(ctx context.Context, p *pushing) error {
	p.c, p.release = c, func() error { return nil }
	if p.upload.Release != nil {
		p.release = sync.OnceValue(p.upload.Release)
	}
	err := p.attempt(ctx, p.upload.Size > expectAbove)
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusExpectationFailed {
		return p.attempt(ctx, false) // RFC 9110 section 10.1.1
	}
	return err
}

func (p *pushing) attempt(caller context.Context, expect bool) error {
	if err := caller.Err(); err != nil {
		return err
	}
	src, err := p.upload.Open()
	if err != nil {
		return &Error{Op: opPush, Class: Changed, what: "the file cannot be opened", Err: err}
	}
	parcel, err := p.pack()
	if err != nil {
		src.Close() // it was only looked at
		return &Error{Op: opPush, Class: Configuration, what: err.Error(), Err: err}
	}
	var w wire
	ctx, dog := newWatchdog(caller, p.c.stall, w.acked)
	defer dog.stop()
	dog.tell(p.upload.Moved)
	b := newBody(ctx, src, p.upload, p.release, dog.kick, w.mark)
	b.enclose(parcel.envelope)
	defer b.stop()
	// A source that hangs is let go of, too.
	defer context.AfterFunc(ctx, b.closeSource)()

	req, err := p.request(ctx, b, parcel, expect)
	if err != nil {
		return err
	}
	trace := w.trace()
	trace.GotFirstResponseByte = b.answering
	trace.Got1xxResponse = interims(b)
	written := make(chan struct{})
	whole := sync.OnceFunc(func() { dog.hurry(answerStall + sendBuffer*time.Millisecond); close(written) })
	trace.WroteRequest = func(info httptrace.WroteRequestInfo) {
		if info.Err == nil {
			whole()
		}
	}
	began := time.Now()
	resp, err := p.c.transport.RoundTrip(req.WithContext(httptrace.WithClientTrace(ctx, trace)))
	if err != nil {
		letGo, fault := b.stop()
		p.c.log.Debug("no answer", "op", opPush, "size", p.upload.Size, "released", letGo, "took", time.Since(began), "err", networkWords(err))
		return p.unanswered(caller, ctx, fault, letGo && w.left(), err)
	}
	b.answering()
	a := p.c.reply(resp, maxBody, dog.kick)
	if a.err != nil {
		a.err = ended(ctx, a.err)
	}
	letGo, _ := b.stop() // what broke the body off counts less than the answer
	p.c.log.Debug("answer", "op", opPush, "size", p.upload.Size, "status", a.status, "released", letGo, "took", time.Since(began))
	if a.status < 200 && letGo && w.left() {
		// Nothing ends with 101 that did not ask for it, nor with less than 100: no
		// answer to the file, which may have been taken.
		return &Error{Op: opPush, Class: Passing, Status: a.status, Host: true, Doubt: true, what: "what came is not the end of an answer"}
	}
	return p.judge(a, letGo && (!a.ok() || soon(written)))
}

// soon says whether something has happened, or does so yet. The answer to a
// body that was written whole may be read before the writer says that it was.
func soon(happened <-chan struct{}) bool {
	select {
	case <-happened:
		return true
	case <-time.After(gateTime):
		return false
	}
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
func (p *pushing) request(ctx context.Context, b *body, to parcel, expect bool) (*http.Request, error) {
	claims := jwt.MapClaims{"access_token": p.access}
	maps.Copy(claims, to.claims)
	bearer, err := p.c.bearer(p.contract, claims)
	if err != nil {
		return nil, &Error{Op: opPush, Class: Configuration, what: err.Error(), Err: err}
	}
	var content io.Reader = b
	size := to.envelope.length(p.upload.Size)
	if size == 0 {
		// There is no last chunk to hold back: all is done before the request.
		if err := b.finish(); err != nil {
			_, fault := b.stop()
			return nil, p.unanswered(ctx, ctx, fault, false, err)
		}
		content = http.NoBody
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.where.String(), content)
	if err != nil {
		return nil, &Error{Op: opPush, Class: Configuration, what: "the address of the API cannot be used", Err: err}
	}
	req.ContentLength = size
	req.Header = http.Header{
		"Authorization": {bearer},
		"Accept":        {"application/json"},
		"User-Agent":    {p.c.agent},
	}
	maps.Copy(req.Header, to.header)
	if expect {
		req.Header.Set("Expect", "100-continue")
	}
	return req, nil
}

// judge says what an answer means for the file, of which all was sent or not.
func (p *pushing) judge(a *answer, whole bool) error {
	e := p.c.refused(opPush, a, p.access)
	if !a.ok() || a.html() {
		e.Unsure = whole && (a.status == http.StatusBadGateway || a.status == http.StatusGatewayTimeout)
		// A page counts as an answer, not as a doubt: the portal has swallowed the file.
		return e
	}
	if p.read != nil {
		if err := p.read(a, whole, e); err != nil {
			return err
		}
	}
	if !whole {
		e.Class, e.Host, e.what = Passing, true, "a success was answered before the whole file was sent: that cannot be digi.me"
		return e
	}
	return nil
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
