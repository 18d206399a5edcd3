package digime

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	maxBody      = 64 << 10 // of an answer; more is cut off and its connection not used again
	maxTokenBody = 1 << 20  // of answers that hold tokens or keys
	// answerTime bounds the reading of an answer's body: one that trickles in
	// forever must not hold up anything. What counts has come with its header.
	answerTime = 30 * time.Second
)

// countedConn counts what the network took, in bytes.
type countedConn struct {
	net.Conn
	written atomic.Int64
	writing chan struct{} // has room for one, who writes
}

func newCountedConn(conn net.Conn) *countedConn {
	return &countedConn{Conn: conn, writing: make(chan struct{}, 1)}
}

func (c *countedConn) Write(p []byte) (int, error) {
	c.writing <- struct{}{}
	defer func() { <-c.writing }()
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// settled is what was written when the present write, if there is one, has ended:
// what it gave to the network may be answered before it returns. One that does not
// end within gateTime has not given all.
func (c *countedConn) settled() int64 {
	select {
	case c.writing <- struct{}{}:
		<-c.writing
	case <-time.After(gateTime):
	}
	return c.written.Load()
}

// wire follows one request on its connection. A request whose last bytes the
// network did not take cannot have arrived; without this, every connection
// that had died unnoticed would leave a doubt.
type wire struct {
	mu   sync.Mutex // guards the rest
	conn *countedConn
	from int64 // conn.written before what counts
	need int64 // bytes of what counts; TLS makes more of them, never less
}

func (w *wire) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		w.mu.Lock()
		w.conn = counted(info.Conn)
		w.mu.Unlock()
		w.mark(1)
	}}
}

// mark says that what counts are the next need bytes.
func (w *wire) mark(need int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.need = int64(need)
	if w.conn != nil {
		w.from = w.conn.written.Load()
	}
}

// counted finds the counting connection below TLS, and TLS in TLS to a proxy.
func counted(conn net.Conn) *countedConn {
	for {
		switch c := conn.(type) {
		case *countedConn:
			return c
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

// left says whether all that counts has left this machine.
func (w *wire) left() bool {
	w.mu.Lock()
	conn, from, need := w.conn, w.from, w.need
	w.mu.Unlock()
	return conn != nil && conn.settled()-from >= need
}

// acked is how many bytes of the connection's the other side has confirmed, as
// far as the system tells. What waits in its send buffer would take a slow
// network longer to carry than a stall lasts.
func (w *wire) acked() int64 {
	w.mu.Lock()
	conn := w.conn
	w.mu.Unlock()
	if conn == nil {
		return 0
	}
	return conn.written.Load() - sendQueue(conn.Conn)
}

// watchEvery is how often a watchdog looks by itself whether anything moves.
const watchEvery = 2 * time.Second

// watchdog breaks a request off when nothing moves for the time of its stall.
type watchdog struct {
	acked  func() int64
	cancel context.CancelCauseFunc

	mu    sync.Mutex // guards the rest
	stall time.Duration
	seen  int64     // of acked, at the last kick or look
	last  time.Time // when something moved
	moved func()    // told of it; may be nil
	timer *time.Timer
}

func newWatchdog(ctx context.Context, stall time.Duration, acked func() int64) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	d := &watchdog{stall: stall, acked: acked, cancel: cancel, last: time.Now()}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.timer = time.AfterFunc(min(stall, watchEvery), d.look)
	return ctx, d
}

// tell has moved called at each progress.
func (d *watchdog) tell(moved func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.moved = moved
}

// hurry makes the stall shorter, if it is longer than that.
func (d *watchdog) hurry(stall time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stall = min(d.stall, stall)
	d.seen = d.acked()
	d.progress()
}

func (d *watchdog) kick() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen = d.acked()
	d.progress()
}

func (d *watchdog) progress() {
	d.last = time.Now()
	if d.moved != nil {
		d.moved()
	}
}

// look bites when neither the request nor the network has moved.
func (d *watchdog) look() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := d.acked(); now != d.seen {
		d.seen = now
		d.progress()
	}
	left := d.stall - time.Since(d.last)
	if left <= 0 {
		d.cancel(errStalled)
		return
	}
	d.timer.Reset(min(left, watchEvery))
}

func (d *watchdog) stop() {
	d.mu.Lock()
	d.timer.Stop()
	d.mu.Unlock()
	d.cancel(nil)
}

// reply reads an answer's body: at most limit bytes of it, for at most
// answerTime, kicking at every piece. A body read to its end leaves the
// connection fit for the next request.
func (c *Client) reply(resp *http.Response, limit int64, kick func()) *answer {
	a := &answer{status: resp.StatusCode, header: resp.Header}
	came := time.Now()
	// Closing from the timer wakes up a Read that waits for more.
	timer := time.AfterFunc(answerTime, func() { resp.Body.Close() })
	defer resp.Body.Close()
	a.body, a.err = io.ReadAll(io.LimitReader(plain(resp.Header, kicking{resp.Body, kick}), limit+1))
	switch inTime := timer.Stop(); {
	case int64(len(a.body)) > limit:
		a.body, a.err = a.body[:limit], errEndless
	case a.err != nil && !inTime:
		a.err = errTooLong
	}
	c.noteDate(a, came)
	return a
}

// plain unpacks an answer that came compressed although nobody asked for it
// (RFC 9110 section 12.5.3 allows it): it may hold the only copy of a token.
func plain(h http.Header, body io.Reader) io.Reader {
	if !strings.EqualFold(strings.TrimSpace(h.Get("Content-Encoding")), "gzip") {
		return body
	}
	unpacked, err := gzip.NewReader(body)
	if err != nil {
		return readerFunc(func([]byte) (int, error) { return 0, fmt.Errorf("unpack the answer: %w", err) })
	}
	return unpacked
}

type kicking struct {
	io.Reader
	kick func()
}

func (k kicking) Read(p []byte) (int, error) {
	n, err := k.Reader.Read(p)
	k.kick()
	return n, err
}

// noteDate learns how wrong the local clock was when an answer came. Pages of captive portals and
// answers out of a cache have other clocks.
func (c *Client) noteDate(a *answer, came time.Time) {
	date, err := http.ParseTime(a.header.Get("Date"))
	if err != nil || a.html() || a.header.Get("Age") != "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skew, c.skewed = came.Sub(date), true
}

// signed makes the request of a call without a file.
func (c *Client) signed(ctx context.Context, method string, where *url.URL, k Contract, claims jwt.MapClaims, body []byte) (*http.Request, error) {
	bearer, err := c.bearer(k, claims)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, where.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	// Nothing that is signed is ever sent twice. Go's transport would do so by
	// itself with a GET whose connection breaks, unless its body, here an empty
	// one that it finds out by reading, cannot be had again.
	req.GetBody = nil
	if method == http.MethodGet {
		req.Body = io.NopCloser(bytes.NewReader(nil))
	}
	req.Header.Set("Authorization", bearer)
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json") // the Node SDK says so even without a body
	}
	return req, nil
}

// call sends a request that has no file for a body and reads its answer.
// sent says, where no answer came, whether the request may have been carried out.
func (c *Client) call(ctx context.Context, op string, req *http.Request, limit int64) (a *answer, sent bool, err error) {
	var w wire
	began := time.Now()
	req.Header.Set("User-Agent", c.agent)
	req.Header.Set("Accept", "application/json")
	resp, err := c.transport.RoundTrip(req.WithContext(httptrace.WithClientTrace(ctx, w.trace())))
	if err != nil {
		c.log.Debug("no answer", "op", op, "took", time.Since(began), "err", networkWords(err))
		return nil, w.left(), err
	}
	a = c.reply(resp, limit, func() {})
	c.log.Debug("answer", "op", op, "status", a.status, "took", time.Since(began))
	return a, true, nil
}

// unanswered makes an error of a request without an answer. The end of the
// caller's own context is returned as it is, unless there is more to say.
func unanswered(caller, ctx context.Context, op string, lost bool, err error) error {
	if cause := caller.Err(); cause != nil && !lost {
		return cause
	}
	e := networkError(op, ended(ctx, err))
	e.Lost = lost
	return e
}
