package digime

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
)

// envelope is what a file travels in to a postbox: it is encrypted with
// AES-CBC and PKCS#7 padding, with something before and behind it. An envelope
// is good for one attempt.
type envelope struct {
	before, after []byte
	seal          cipher.BlockMode
}

// length is that of a whole body, in bytes, for a file of size bytes. Without
// an envelope it is the file's own.
func (e *envelope) length(size int64) int64 {
	if e == nil {
		return size
	}
	return int64(len(e.before)) + size - size%aes.BlockSize + aes.BlockSize + int64(len(e.after))
}

// close seals the end of the file and adds what is behind it.
func (e *envelope) close(end []byte) []byte {
	end = pad(end)
	e.seal.CryptBlocks(end, end)
	return append(end, e.after...)
}

// pad makes whole blocks of data, as PKCS#7 does (RFC 5652 section 6.3).
func pad(data []byte) []byte {
	n := aes.BlockSize - len(data)%aes.BlockSize
	return append(data, bytes.Repeat([]byte{byte(n)}, n)...)
}
