package digime

import (
	"context"
	"crypto/aes"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"sync"
	"time"
)

// LastChunk is how much of a file's end is held back until all of it has been
// read and found to be what was hashed, in bytes. Of a smaller file it is
// everything. A push can only be complete at the server once it was let go.
const LastChunk = 64 << 10

// errAnswered ends a body whose answer came before its end.
var errAnswered = errors.New("the answer came before the whole file was sent")

// changedError says in what way a file is not what was hashed.
type changedError struct {
	what string
	err  error // of reading, nil if it was read
}

func (e *changedError) Error() string { return e.what }
func (e *changedError) Unwrap() error { return e.err }

// releaseError carries the error of Upload.Release.
type releaseError struct{ err error }

func (e *releaseError) Error() string { return "release: " + e.err.Error() }
func (e *releaseError) Unwrap() error { return e.err }

// pieceSize is how much of a file is sealed at once: whole AES blocks.
const pieceSize = 32 << 10

// body is the file on its way to the transport. It hashes what it hands out and
// holds the last chunk back until size and SHA-256 are right and the file ends
// there; then it calls release and lets the chunk go.
//
// The transport reads it from a goroutine of its own, which may outlive the
// round trip. From the moment an answer begins to arrive, reads wait until it
// is known to be a final one: then not a byte more leaves, and certainly not
// the last chunk.
type body struct {
	ctx     context.Context
	release func() error
	kick    func()    // on every progress
	leaving func(int) // with the size of the last chunk, at the moment it is let go
	src     io.ReadCloser
	sum     [sha256.Size]byte
	hash    hash.Hash // of what was read
	head    int64     // bytes of the file still to be read before the last chunk
	last    []byte    // the last chunk; filled by verify, then what is left of it

	envelope *envelope // what the file travels in, nil for nothing
	piece    []byte    // what is sealed at once
	ready    []byte    // what leaves before anything else is read

	closing sync.Once

	mu        sync.Mutex    // guards the rest
	gate      chan struct{} // nil, or while an answer arrives; closed if that is an interim one
	stopped   chan struct{} // closed by stop
	ended     bool          // stopped is closed
	letGo     bool          // the last chunk was let go
	releasing chan struct{} // closed when the running release has returned; nil if none runs
	err       error         // why the body broke off by itself
}

func newBody(ctx context.Context, src io.ReadCloser, u Upload, release func() error, kick func(), leaving func(int)) *body {
	last := min(u.Size, LastChunk)
	return &body{
		ctx: ctx, release: release, kick: kick, leaving: leaving, src: src, sum: u.SHA256, hash: sha256.New(),
		head: u.Size - last, last: make([]byte, last), stopped: make(chan struct{}),
	}
}

// enclose puts the file into an envelope, nil for none. What is sealed before
// the last chunk are whole blocks: the last one takes what is over.
func (b *body) enclose(e *envelope) {
	if e == nil {
		return
	}
	over := b.head % aes.BlockSize
	b.head -= over
	size := len(b.last) + int(over)
	b.last = make([]byte, size, size+aes.BlockSize+len(e.after))
	b.piece = make([]byte, min(b.head, pieceSize))
	b.envelope, b.ready = e, e.before
}

// Read hands out the file. It is called by one goroutine at a time.
func (b *body) Read(p []byte) (int, error) {
	b.kick()
	if !b.gone() {
		if err := b.pass(); err != nil {
			return 0, err
		}
		switch {
		case len(b.ready) > 0:
			n := copy(p, b.ready)
			b.ready = b.ready[n:]
			return n, nil
		case b.head > 0 && b.envelope != nil:
			return b.sealHead(p)
		case b.head > 0:
			return b.readHead(p)
		}
		if err := b.finish(); err != nil {
			return 0, err
		}
	}
	// From here on nothing is held up any more: the chunk is on its way, and
	// the transport asks once more for the end.
	if len(b.last) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.last)
	b.last = b.last[n:]
	return n, nil
}

func (b *body) readHead(p []byte) (int, error) {
	n, err := b.src.Read(p[:min(int64(len(p)), b.head)])
	b.hash.Write(p[:n])
	b.head -= int64(n)
	b.kick()
	if errors.Is(err, io.EOF) && b.head > 0 {
		return n, b.fail(&changedError{what: "the file has become shorter"})
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return n, b.fail(&changedError{what: "the file cannot be read to its end", err: err})
	}
	return n, nil
}

// sealHead reads a piece of the file, seals it and hands out what fits of it.
func (b *body) sealHead(p []byte) (int, error) {
	piece := b.piece[:min(b.head, int64(len(b.piece)))]
	for n := 0; n < len(piece); {
		m, err := b.readHead(piece[n:])
		if err != nil {
			return 0, err
		}
		n += m
	}
	b.envelope.seal.CryptBlocks(piece, piece)
	n := copy(p, piece)
	b.ready = piece[n:]
	return n, nil
}

// verify reads the last chunk and finds out whether all of it was as hashed.
// The source is closed then: whatever becomes of the push, nobody finds the
// file open any more.
func (b *body) verify() error {
	n, err := io.ReadFull(b.src, b.last)
	if err == nil {
		var more [1]byte
		var extra int
		extra, err = io.ReadFull(b.src, more[:])
		if extra > 0 {
			return &changedError{what: "the file has become longer"}
		}
	}
	switch {
	case n < len(b.last) && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
		return &changedError{what: "the file has become shorter"}
	case !errors.Is(err, io.EOF):
		return &changedError{what: "the file cannot be read to its end", err: err}
	}
	b.closeSource()
	b.hash.Write(b.last)
	if [sha256.Size]byte(b.hash.Sum(nil)) != b.sum {
		return &changedError{what: "the content of the file has changed"}
	}
	return nil
}

// finish verifies the file, calls release and lets the last chunk go, unless
// an answer was quicker.
func (b *body) finish() error {
	if err := b.verify(); err != nil {
		return b.fail(err)
	}
	if err := b.callRelease(); err != nil {
		return b.fail(err)
	}
	if b.envelope != nil {
		b.last = b.envelope.close(b.last)
	}
	for !b.leave() {
		if err := b.pass(); err != nil {
			return err
		}
	}
	b.kick()
	return nil
}

// callRelease does not hold the mutex meanwhile: it waits for a disk. stop
// waits for it instead.
func (b *body) callRelease() error {
	b.mu.Lock()
	if b.ended {
		b.mu.Unlock()
		return errAnswered
	}
	done := make(chan struct{})
	b.releasing = done
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		b.releasing = nil
		b.mu.Unlock()
		close(done)
	}()
	if err := b.release(); err != nil {
		return &releaseError{err}
	}
	return nil
}

// leave lets the last chunk go if no answer is arriving.
func (b *body) leave() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.letGo = !b.ended && b.gate == nil && b.ctx.Err() == nil
	if b.letGo {
		b.leaving(len(b.last))
	}
	return b.letGo
}

// gone says whether the last chunk was let go.
func (b *body) gone() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.letGo
}

// fail keeps the error the body broke off with by itself. What fails after the
// push has ended otherwise fails because of that.
func (b *body) fail(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil && !b.ended && b.ctx.Err() == nil && !errors.Is(err, errAnswered) {
		b.err = err
	}
	return err
}

// gateTime bounds the wait for the rest of an answer's header. When it breaks
// off, the transport does not say so before the body has ended.
const gateTime = 3 * time.Second

// pass waits while an answer is arriving.
func (b *body) pass() error {
	for {
		b.mu.Lock()
		gate, ended := b.gate, b.ended
		b.mu.Unlock()
		switch {
		case ended:
			return errAnswered
		case b.ctx.Err() != nil:
			return context.Cause(b.ctx)
		case gate == nil:
			return nil
		}
		select {
		case <-gate:
		case <-b.stopped:
		case <-b.ctx.Done():
		case <-time.After(gateTime):
			return errAnswered
		}
	}
}

// answering is told that the first byte of an answer has come.
func (b *body) answering() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gate == nil {
		b.gate = make(chan struct{})
	}
	b.kick()
}

// interim is told that the answer is a 1xx: the body may go on.
func (b *body) interim() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gate != nil {
		close(b.gate)
		b.gate = nil
	}
	b.kick()
}

// stop ends the body: release is not called any more after it, and has
// returned if it was running; nothing more is handed out. It returns what
// came of the body by itself.
func (b *body) stop() (letGo bool, err error) {
	b.mu.Lock()
	if !b.ended {
		b.ended = true
		close(b.stopped)
	}
	releasing := b.releasing
	b.mu.Unlock()
	if releasing != nil {
		<-releasing
	}
	b.closeSource()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.letGo, b.err
}

// Close is called by the transport, at times while a Read is running.
func (b *body) Close() error {
	b.closeSource()
	return nil
}

func (b *body) closeSource() {
	b.closing.Do(func() { b.src.Close() }) // it was only read
}
