package sandbox

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"io"
)

// newCBC returns the two directions of AES-256-CBC.
func newCBC(key [32]byte, iv [16]byte) (encrypt, decrypt cipher.BlockMode) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // 32 bytes is a length AES knows
	}
	return cipher.NewCBCEncrypter(block, iv[:]), cipher.NewCBCDecrypter(block, iv[:])
}

// cbcWriter encrypts what is written to it; Close adds the PKCS#7 padding.
type cbcWriter struct {
	w    io.Writer
	mode cipher.BlockMode
	rest []byte // less than a block
}

func newCBCWriter(w io.Writer, key [32]byte, iv [16]byte) *cbcWriter {
	encrypt, _ := newCBC(key, iv)
	return &cbcWriter{w: w, mode: encrypt}
}

func (c *cbcWriter) Write(p []byte) (int, error) {
	c.rest = append(c.rest, p...)
	whole := len(c.rest) / aes.BlockSize * aes.BlockSize
	c.mode.CryptBlocks(c.rest[:whole], c.rest[:whole])
	if _, err := c.w.Write(c.rest[:whole]); err != nil {
		return 0, err
	}
	c.rest = append(c.rest[:0], c.rest[whole:]...)
	return len(p), nil
}

func (c *cbcWriter) Close() error {
	n := aes.BlockSize - len(c.rest)
	padding := make([]byte, n)
	for i := range padding {
		padding[i] = byte(n)
	}
	_, err := c.Write(padding)
	return err
}

var errCipherText = errors.New("it is not AES-256-CBC with PKCS#7 padding under the key given for it")

// cbcReader decrypts what it reads and takes the padding off. It holds the last block back until it knows that it is
// the last. Errors: errCipherText; those of the reader.
type cbcReader struct {
	r     io.Reader
	mode  cipher.BlockMode
	buf   [32 << 10]byte
	ready []byte // decrypted, to be given out
	held  []byte // the last block so far, decrypted
	err   error  // what comes after ready
}

func newCBCReader(r io.Reader, key [32]byte, iv [16]byte) *cbcReader {
	_, decrypt := newCBC(key, iv)
	return &cbcReader{r: r, mode: decrypt}
}

func (c *cbcReader) Read(p []byte) (int, error) {
	for len(c.ready) == 0 && c.err == nil {
		c.ready, c.err = c.fill()
	}
	if len(c.ready) == 0 {
		return 0, c.err
	}
	n := copy(p, c.ready)
	c.ready = c.ready[n:]
	return n, nil
}

// fill decrypts the next piece. Only a true end of the input ends the plain text: an input that broke off must not
// pass for a short one, whatever its last block looks like.
func (c *cbcReader) fill() ([]byte, error) {
	n := 0
	var err error
	for n < len(c.buf) && err == nil {
		var m int
		m, err = c.r.Read(c.buf[n:])
		n += m
	}
	if err != nil && err != io.EOF {
		return nil, err
	}
	if n%aes.BlockSize != 0 {
		return nil, errCipherText
	}
	c.mode.CryptBlocks(c.buf[:n], c.buf[:n])
	plain := append(c.held, c.buf[:n]...)
	if err == nil {
		end := len(plain) - aes.BlockSize
		c.held = append([]byte(nil), plain[end:]...)
		return plain[:end], nil
	}
	plain, bad := unpad(plain)
	if bad != nil {
		return nil, bad
	}
	return plain, io.EOF
}

func unpad(plain []byte) ([]byte, error) {
	if len(plain) == 0 {
		return nil, errCipherText
	}
	n := int(plain[len(plain)-1])
	if n < 1 || n > aes.BlockSize || n > len(plain) {
		return nil, errCipherText
	}
	for _, b := range plain[len(plain)-n:] {
		if int(b) != n {
			return nil, errCipherText
		}
	}
	return plain[:len(plain)-n], nil
}
