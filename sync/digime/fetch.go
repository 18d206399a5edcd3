package digime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Fetch gets a file that List has named and writes its content to w, decrypted
// and decompressed on the way, a piece at a time. It returns what the library
// knows of the file and how many bytes were written.
//
// At most limit bytes are written, since a small answer can hold a content
// that fills a disk: a file that is larger is Class BadAnswer. The caller knows
// the size that it expects, or the room there is.
//
// Whatever the error, w may hold a part of the file, to be thrown away. The
// format has no checksum: only comparing with what was pushed shows that a file
// is the same. Errors are as of List; BadAnswer is an answer that came whole and
// cannot be decrypted or decompressed; an error of w comes wrapped, without a class.
func (c *Client) Fetch(ctx context.Context, k Contract, access, session, name string, limit int64, w io.Writer) (Metadata, int64, error) {
	f := &fetching{w: w, left: limit, secrets: []string{access, session}}
	if !inPath(session) || !inPath(name) {
		return Metadata{}, 0, &Error{Op: opFetch, Class: Refused, what: "the session or the file has no name that can be asked for"}
	}
	where := c.session(session).JoinPath(url.PathEscape(name))
	q := query{op: opFetch, method: http.MethodGet, contract: k, access: access, where: where, secret: session}
	metadata, err := c.fetch(ctx, q, f)
	return metadata, f.written, err
}

func (c *Client) fetch(caller context.Context, q query, f *fetching) (Metadata, error) {
	ctx, dog := newWatchdog(caller, c.stall, func() int64 { return 0 })
	defer dog.stop()
	f.kick = dog.kick
	req, err := c.request(ctx, q)
	if err != nil {
		return Metadata{}, err
	}
	req.Header.Set("User-Agent", c.agent)
	req.Header.Set("Accept", "application/octet-stream")
	began := time.Now()
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		c.log.Debug("no answer", "op", opFetch, "took", time.Since(began), "err", networkWords(err))
		return Metadata{}, unanswered(caller, ctx, opFetch, false, err)
	}
	defer resp.Body.Close()
	a := &answer{status: resp.StatusCode, header: resp.Header}
	if !a.ok() || a.html() {
		a = c.reply(resp, maxBody, dog.kick)
		c.log.Debug("answer", "op", opFetch, "status", a.status, "took", time.Since(began))
		return Metadata{}, c.refused(opFetch, a, q.access, q.secret)
	}
	c.noteDate(a, time.Now())
	metadata, compression, err := parseMetadata(resp.Header.Get("X-Metadata"))
	if err == nil {
		f.from = resp.Body
		err = f.run(q.contract, compression)
	}
	c.log.Debug("answer", "op", opFetch, "status", a.status, "size", f.written, "took", time.Since(began))
	return metadata, f.fault(caller, ctx, err)
}

// fetching is a file on its way from an answer to its writer. It notes which
// of the two an error is of: all others are the content's.
type fetching struct {
	from io.Reader
	w    io.Writer
	left int64 // bytes that may still be written
	kick func()

	secrets  []string // what an error must not quote
	written  int64
	readErr  error // of from, but for its end
	writeErr error // of w
}

// errTooMuch is a file that is larger than the caller allows.
var errTooMuch = badf("the file is larger than expected")

// run carries all of it.
func (f *fetching) run(k Contract, compression string) error {
	plain, err := decrypted(readerFunc(f.read), k.Key)
	if err != nil {
		return err
	}
	content, err := decompressed(plain, compression)
	if err != nil {
		return err
	}
	if _, err := io.Copy(writerFunc(f.write), content); err != nil {
		return err
	}
	// The decompressor may have stopped before the end, where the padding is.
	switch n, err := io.ReadFull(plain, make([]byte, 1)); {
	case n > 0:
		return badf("something follows the file's compressed content")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

func (f *fetching) read(p []byte) (int, error) {
	n, err := f.from.Read(p)
	f.kick()
	if err != nil && !errors.Is(err, io.EOF) {
		f.readErr = err
	}
	return n, err
}

func (f *fetching) write(p []byte) (int, error) {
	if int64(len(p)) > f.left {
		return 0, errTooMuch
	}
	n, err := f.w.Write(p)
	f.kick()
	f.left -= int64(n)
	f.written += int64(n)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	f.writeErr = err
	return n, err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// fault says whose an error is.
func (f *fetching) fault(caller, ctx context.Context, err error) error {
	var bad *badAnswer
	switch {
	case err == nil:
		return nil
	case f.writeErr != nil:
		return fmt.Errorf("%s: write: %w", opFetch, f.writeErr)
	case f.readErr != nil:
		return unanswered(caller, ctx, opFetch, false, f.readErr)
	case errors.As(err, &bad):
		return misread(opFetch, clean(bad.what, f.secrets...))
	}
	// Of the decompressors' own words nothing is taken over.
	return misread(opFetch, "its content cannot be decompressed")
}
