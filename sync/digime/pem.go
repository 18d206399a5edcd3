package digime

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
)

// ParsePrivateKey reads a contract's RSA private key: PEM, PKCS#1 or PKCS#8, at
// least 2048 bits. Byte order marks, text around the key, Windows line ends and
// the two characters \n in the place of line ends (as environment variables and
// JSON have them) are fine. Errors say in plain words what the file is instead
// and never quote it.
func ParsePrivateKey(pemBytes []byte) (*rsa.PrivateKey, error) {
	text := tidyPEM(pemBytes)
	if strings.TrimSpace(text) == "" {
		return nil, errors.New("private key: the file is empty")
	}
	instead := ""
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return privateKey(block)
		}
		if instead == "" {
			instead = insteadOfKey(block.Type)
		}
	}
	switch {
	case instead != "":
		return nil, errors.New("private key: " + instead)
	case strings.Contains(text, "-----BEGIN"):
		return nil, errors.New("private key: the PEM text is damaged or cut off")
	case pemBytes[0] == 0x30: // an ASN.1 sequence
		return nil, errors.New("private key: the file is binary (DER), PEM text is needed: openssl pkey -inform DER -in FILE -out FILE.pem")
	}
	return nil, errors.New("private key: there is no -----BEGIN … PRIVATE KEY----- in it")
}

// tidyPEM puts every line where package pem looks for it.
func tidyPEM(data []byte) string {
	text := decodeText(data)
	text = strings.NewReplacer(`\r\n`, "\n", `\n`, "\n", "\r\n", "\n", "\r", "\n").Replace(text)
	text = strings.ReplaceAll(text, "-----BEGIN", "\n-----BEGIN")
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		line = strings.TrimSpace(line)
		if end := strings.LastIndex(line, "-----"); end > 0 && strings.HasPrefix(line, "-----") {
			line = line[:end+5] // a quote or comma behind it
		}
		lines[i] = line
	}
	return strings.Join(lines, "\n") + "\n"
}

// decodeText takes byte order marks off; Windows editors write UTF-16, too.
func decodeText(data []byte) string {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(data, []byte{0xff, 0xfe}):
		order = binary.LittleEndian
	case bytes.HasPrefix(data, []byte{0xfe, 0xff}):
		order = binary.BigEndian
	default:
		return string(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	}
	units := make([]uint16, 0, len(data)/2)
	for data = data[2:]; len(data) >= 2; data = data[2:] {
		units = append(units, order.Uint16(data))
	}
	return string(utf16.Decode(units))
}

func insteadOfKey(kind string) string {
	switch {
	case strings.HasSuffix(kind, "PUBLIC KEY"):
		return "this is a public key, the private one is needed"
	case strings.Contains(kind, "CERTIFICATE REQUEST"):
		return "this is a certificate request, the private key is needed"
	case strings.Contains(kind, "CERTIFICATE"):
		return "this is a certificate, the private key is needed"
	}
	return "there is no private key in this PEM file"
}

func privateKey(block *pem.Block) (*rsa.PrivateKey, error) {
	switch {
	case block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
		return nil, errors.New("private key: it is protected by a pass phrase; a service cannot type one: openssl pkey -in FILE -out FILE.plain")
	case block.Type == "OPENSSH PRIVATE KEY":
		return nil, errors.New("private key: it is in OpenSSH's own form, PEM is needed: ssh-keygen -p -m PEM -f FILE")
	case block.Type == "EC PRIVATE KEY" || block.Type == "DSA PRIVATE KEY":
		return nil, notRSA(strings.TrimSuffix(block.Type, " PRIVATE KEY"))
	}
	key, err := decodeKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	if bits := key.N.BitLen(); bits < minKeyBits {
		return nil, fmt.Errorf("private key: it has %d bits, at least %d are needed", bits, minKeyBits)
	}
	if key.Validate() != nil {
		return nil, errDamagedKey
	}
	return key, nil
}

var errDamagedKey = errors.New("private key: it is damaged: its numbers do not fit together")

func notRSA(kind string) error {
	return fmt.Errorf("private key: it is of the kind %s, an RSA key is needed", kind)
}

// decodeKey goes by the content: what is labelled one form is at times the other.
func decodeKey(der []byte) (*rsa.PrivateKey, error) {
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		// The text of err is left out: it speaks of the encoding's innards.
		return nil, errors.New("private key: it is damaged, or not an RSA key in PKCS#1 or PKCS#8 form")
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key, nil
	default:
		kind := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%T", key), "*"), ".PrivateKey")
		return nil, notRSA(strings.ToUpper(kind))
	}
}
