package digime

import (
	"compress/gzip"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	"crypto/sha1"
	"errors"
	"io"

	"github.com/andybalholm/brotli"
)

// decrypted reads the head of a file and returns its content, still
// compressed: the head is a 32-byte key that is encrypted to the contract with
// RSA-OAEP (SHA-1), and a 16-byte IV.
func decrypted(r io.Reader, k *rsa.PrivateKey) (io.Reader, error) {
	head := make([]byte, k.Size()+aes.BlockSize)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, orCutOff(err)
	}
	key, err := rsa.DecryptOAEP(sha1.New(), nil, k, head[:k.Size()], nil)
	if err != nil || len(key) != 32 {
		return nil, badf("the file is not encrypted to the contract's key")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, badf("the file's key cannot be used")
	}
	return &cbcReader{src: r, mode: cipher.NewCBCDecrypter(block, head[k.Size():])}, nil
}

// decompressed takes the compression off. Where none is named there is none.
func decompressed(r io.Reader, compression string) (io.Reader, error) {
	switch compression {
	case "", "no-compression":
		return r, nil
	case "gzip":
		return gzip.NewReader(r)
	case "brotli":
		return brotli.NewReader(r), nil
	}
	return nil, badf("the file's compression is not known: %s", compression)
}

var (
	errCutOff  = badf("the file is cut off")
	errPadding = badf("the file's encryption does not end as it must: it is damaged or cut off")
)

// orCutOff makes an end that came too early plain; other errors stay.
func orCutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errCutOff
	}
	return err
}

// cbcReader decrypts AES-CBC and takes the PKCS#7 padding off. It holds the
// last block back until it knows that it is the last. An input that breaks off
// does not pass for a short one: only its true end is looked at for padding.
type cbcReader struct {
	src  io.Reader
	mode cipher.BlockMode
	buf  [pieceSize]byte
	have int    // encrypted bytes in buf
	out  []byte // decrypted, to be handed out; in buf
	done int    // bytes of buf that out was
	err  error  // what comes after out
}

func (c *cbcReader) Read(p []byte) (int, error) {
	for len(c.out) == 0 {
		if c.err != nil {
			return 0, c.err
		}
		c.fill()
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	return n, nil
}

// fill reads once and decrypts what is certainly not the last block.
func (c *cbcReader) fill() {
	c.have = copy(c.buf[:], c.buf[c.done:c.done+c.have])
	c.done = 0
	n, err := c.src.Read(c.buf[c.have:])
	c.have += n
	switch {
	case errors.Is(err, io.EOF):
		c.end()
		return
	case err != nil:
		c.err = err
		return
	}
	c.done = max(c.have-1, 0) / aes.BlockSize * aes.BlockSize
	c.have -= c.done
	c.out = c.buf[:c.done]
	c.mode.CryptBlocks(c.out, c.out)
}

// end decrypts the rest.
func (c *cbcReader) end() {
	rest := c.buf[:c.have]
	if len(rest) == 0 || len(rest)%aes.BlockSize != 0 {
		c.err = errCutOff
		return
	}
	c.mode.CryptBlocks(rest, rest)
	c.out, c.err = unpad(rest)
	c.have = 0
}

// unpad takes PKCS#7 padding off whole blocks (RFC 5652 section 6.3).
func unpad(data []byte) ([]byte, error) {
	n := int(data[len(data)-1])
	if n < 1 || n > aes.BlockSize {
		return nil, errPadding
	}
	for _, b := range data[len(data)-n:] {
		if int(b) != n {
			return nil, errPadding
		}
	}
	return data[:len(data)-n], io.EOF
}
