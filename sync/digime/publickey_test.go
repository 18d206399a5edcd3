package digime

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
)

// shortKey is a public key of this many bits; nobody has its other half.
func shortKey(bits uint) *rsa.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	return &rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537}
}

func TestParsePublicKey(t *testing.T) {
	key := &testKey().PublicKey
	pkcs1 := x509.MarshalPKCS1PublicKey(key)
	pkix, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	framed := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	base := base64.StdEncoding.EncodeToString
	oneLine := strings.ReplaceAll(framed("RSA PUBLIC KEY", pkcs1), "\n", "")
	for name, text := range map[string]string{
		"PKCS#1":             framed("RSA PUBLIC KEY", pkcs1),
		"PKIX":               framed("PUBLIC KEY", pkix),
		"wrong label":        framed("PUBLIC KEY", pkcs1),
		"Windows":            "\xef\xbb\xbf" + strings.ReplaceAll(framed("RSA PUBLIC KEY", pkcs1), "\n", "\r\n"),
		"literal line ends":  strings.ReplaceAll(framed("RSA PUBLIC KEY", pkcs1), "\n", `\n`),
		"literal CRLF":       strings.ReplaceAll(framed("RSA PUBLIC KEY", pkcs1), "\n", `\r\n`),
		"one line":           oneLine,
		"lines as spaces":    strings.ReplaceAll(framed("RSA PUBLIC KEY", pkcs1), "\n", " "),
		"plus as space":      strings.ReplaceAll(oneLine, "+", " "),
		"quoted":             `"` + oneLine + `"`,
		"text around":        "the key:\n" + framed("PUBLIC KEY", pkix) + "that was it\n",
		"bare PKCS#1":        base(pkcs1),
		"bare PKIX":          base(pkix),
		"bare, no padding":   strings.TrimRight(base(pkix), "="),
		"bare, plus, spaces": strings.ReplaceAll(base(pkcs1), "+", " "),
		"bare, URL":          base64.RawURLEncoding.EncodeToString(pkcs1),
		"bare, in lines":     base(pkcs1)[:64] + "\n" + base(pkcs1)[64:] + "\n",
	} {
		if got, err := ParsePublicKey([]byte(text)); err != nil || !got.Equal(key) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(testKey())})
	for words, text := range map[string]string{
		"there is none":          " \n",
		"this is a private key":  string(private),
		"this is a certificate":  framed("CERTIFICATE", pkix),
		"cut off":                framed("PUBLIC KEY", pkix)[:200],
		"damaged":                base(pkix)[:200],
		"damaged, or not an RSA": "s3cr3t text that is no key",
		"1024 bits, at least":    framed("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(shortKey(1024))),
		"9000 bits, at most":     framed("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(shortKey(9000))),
	} {
		key, err := ParsePublicKey([]byte(text))
		if err == nil || key != nil || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: %v", words, err)
		}
	}
}

func FuzzParsePublicKey(f *testing.F) {
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&testKey().PublicKey)}))
	f.Add([]byte("-----BEGIN-----"))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := ParsePublicKey(text)
		if (err == nil) != (key != nil) || key != nil && publicKeyFault(key) != "" {
			t.Errorf("%v, %v", key, err)
		}
	})
}
