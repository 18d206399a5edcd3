package digime

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// ParsePublicKey reads the RSA key of a postbox: PEM in PKCS#1 or PKIX form, or
// the base64 text of either without its frame, as a callback's query may bring
// it: on one line, or with a + that became a space on the way. At least 2048
// bits. Errors say in plain words what the text is instead and never quote it.
func ParsePublicKey(text []byte) (*rsa.PublicKey, error) {
	body, err := publicKeyText(strings.ReplaceAll(decodeText(text), `\n`, "\n"))
	if err != nil {
		return nil, err
	}
	// A space is either nothing or a plus: only one of them gives a key.
	for _, space := range []string{"", "+"} {
		if key := publicKeyOf(strings.ReplaceAll(body, " ", space)); key != nil {
			if fault := publicKeyFault(key); fault != "" {
				return nil, errors.New("public key: " + fault)
			}
			return key, nil
		}
	}
	return nil, errors.New("public key: it is damaged, or not an RSA key in PKCS#1 or PKIX form")
}

// publicKeyText is the base64 text of a key, out of its PEM frame if it has
// one. Line ends count for nothing, and neither does what is around the frame.
func publicKeyText(text string) (string, error) {
	text = strings.NewReplacer("\r", "", "\n", "", "\t", "", `\r`, "").Replace(text)
	text = strings.Trim(text, ` "'`)
	if text == "" {
		return "", errors.New("public key: there is none")
	}
	_, framed, ok := strings.Cut(text, "-----BEGIN")
	if !ok {
		return text, nil
	}
	kind, rest, ok := strings.Cut(framed, "-----")
	body, _, ended := strings.Cut(rest, "-----END")
	switch {
	case !ok || !ended:
		return "", errors.New("public key: the PEM text is damaged or cut off")
	case strings.Contains(kind, "PRIVATE"):
		return "", errors.New("public key: this is a private key; the postbox's public one is needed")
	case strings.Contains(kind, "CERTIFICATE"):
		return "", errors.New("public key: this is a certificate; the public key alone is needed")
	}
	return strings.TrimSpace(body), nil
}

func publicKeyOf(text string) *rsa.PublicKey {
	text = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(text), "=")
	der, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	if key, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return key
	}
	other, _ := x509.ParsePKIXPublicKey(der)
	key, _ := other.(*rsa.PublicKey)
	return key
}

// publicKeyFault says why a key is not to be used, or is "".
func publicKeyFault(key *rsa.PublicKey) string {
	switch bits := key.N.BitLen(); {
	case bits < minKeyBits:
		return fmt.Sprintf("it has %d bits, at least %d are needed", bits, minKeyBits)
	case bits > maxKeyBits:
		return fmt.Sprintf("it has %d bits, at most %d can be used", bits, maxKeyBits)
	case key.E < 3 || key.E%2 == 0:
		return "its exponent cannot be right"
	}
	return ""
}
