package sandbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// How much of the delivered bodies is kept, in bytes.
const (
	maxFile   = 256 << 20 // one body in Options.Dir
	maxHeld   = 8 << 20   // one body in memory
	maxMemory = 64 << 20  // all bodies in memory
)

var errTooLarge = errors.New("larger than what is kept")

// bodies keeps what was delivered, each content once, as far as it fits.
type bodies struct {
	dir string // "": in memory

	mu     sync.Mutex // guards memory and held
	memory map[string][]byte
	held   int
}

// take reads a body to its end and keeps it if that can be done: not being kept is no reason to refuse a delivery,
// kept says why it is not. Errors: the body did not arrive whole; nothing of it is kept then.
func (b *bodies) take(body io.Reader) (sum string, size int64, kept, err error) {
	hash := sha256.New()
	spool := b.spool()
	size, err = io.Copy(io.MultiWriter(hash, spool), body)
	if err != nil {
		spool.drop()
		return "", 0, nil, badBody(err)
	}
	sum = hex.EncodeToString(hash.Sum(nil))
	return sum, size, spool.keep(sum), nil
}

// open returns a kept body by its SHA-256 in hex. Errors: fs.ErrNotExist when it was not kept.
func (b *bodies) open(sum string) (io.ReadCloser, error) {
	if b.dir != "" {
		return os.Open(filepath.Join(b.dir, sum))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	data, ok := b.memory[sum]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// Body opens the content of a delivery by its SHA-256 in hex; the caller closes it. Errors: fs.ErrNotExist when it was
// never delivered or was too large to be kept.
func (s *Server) Body(sum string) (io.ReadCloser, error) {
	if raw, err := hex.DecodeString(sum); err != nil || len(raw) != sha256.Size {
		return nil, fmt.Errorf("body %q: %w", sum, fs.ErrNotExist)
	}
	return s.bodies.open(sum)
}

// spool is a body on its way in. Writing to it always succeeds; err says why it will not be kept.
type spool struct {
	b    *bodies
	file *os.File
	buf  bytes.Buffer
	size int64
	err  error
}

func (b *bodies) spool() *spool {
	p := &spool{b: b}
	if b.dir != "" {
		p.file, p.err = os.CreateTemp(b.dir, "arriving-*")
	}
	return p
}

func (p *spool) Write(data []byte) (int, error) {
	p.size += int64(len(data))
	switch {
	case p.err != nil:
	case p.file == nil && p.size > maxHeld, p.size > maxFile:
		p.err = errTooLarge
	case p.file == nil:
		p.buf.Write(data)
	default:
		_, p.err = p.file.Write(data)
	}
	return len(data), nil
}

func (p *spool) drop() {
	if p.file != nil {
		p.err = errors.Join(p.err, p.file.Close(), os.Remove(p.file.Name()))
	}
}

func (p *spool) keep(sum string) error {
	if p.err != nil {
		p.drop()
		return p.err
	}
	if p.file == nil {
		return p.b.hold(sum, p.buf.Bytes())
	}
	return errors.Join(p.file.Close(), os.Rename(p.file.Name(), filepath.Join(p.b.dir, sum)))
}

func (b *bodies) hold(sum string, data []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, have := b.memory[sum]; have {
		return nil
	}
	if b.held+len(data) > maxMemory {
		return errTooLarge
	}
	b.memory[sum] = data
	b.held += len(data)
	return nil
}
