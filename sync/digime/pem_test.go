package digime

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"unicode/utf16"
)

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func pkcs8(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return block("PRIVATE KEY", der)
}

func utf16Text(text string, order binary.AppendByteOrder, mark []byte) string {
	out := bytes.Clone(mark)
	for _, unit := range utf16.Encode([]rune(text)) {
		out = order.AppendUint16(out, unit)
	}
	return string(out)
}

func TestParsePrivateKey(t *testing.T) {
	pkcs1 := block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(testKey()))
	escaped := strings.ReplaceAll(strings.TrimSpace(pkcs1), "\n", `\n`)
	for name, text := range map[string]string{
		"PKCS#1":           pkcs1,
		"PKCS#8":           pkcs8(t, testKey()),
		"wrong label":      block("PRIVATE KEY", x509.MarshalPKCS1PrivateKey(testKey())),
		"byte order mark":  "\xef\xbb\xbf" + pkcs1,
		"CRLF":             strings.ReplaceAll(pkcs1, "\n", "\r\n"),
		"CR":               strings.ReplaceAll(pkcs1, "\n", "\r"),
		`literal \n`:       escaped,
		`literal \r\n`:     strings.ReplaceAll(strings.TrimSpace(pkcs1), "\n", `\r\n`),
		"JSON":             `{"key": "` + escaped + `\n", "id": "x"}`,
		"quoted":           `"` + escaped + `"`,
		"text around":      "Key of the clinic:\nBag Attributes\n" + pkcs1 + "\nkeep it secret",
		"indented":         "  " + strings.ReplaceAll(pkcs1, "\n", "\n  "),
		"certificate, too": block("CERTIFICATE", certificate(t)) + pkcs1,
		"UTF-16 LE":        utf16Text(pkcs1, binary.LittleEndian, []byte{0xff, 0xfe}),
		"UTF-16 BE":        utf16Text(pkcs1, binary.BigEndian, []byte{0xfe, 0xff}),
		"no last newline":  strings.TrimSpace(pkcs1),
	} {
		key, err := ParsePrivateKey([]byte(text))
		if err != nil || !key.Equal(testKey()) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func certificate(t testing.TB) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &testKey().PublicKey, testKey())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestPrivateKeyFaults(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	der := x509.MarshalPKCS1PrivateKey(testKey())
	good := block("RSA PRIVATE KEY", der)
	public, err := x509.MarshalPKIXPublicKey(&testKey().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	twisted := bytes.Clone(der)
	twisted[len(twisted)-3] ^= 1
	encrypted := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der, Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}}))
	for name, c := range map[string]struct{ text, words string }{
		"empty":             {"", "empty"},
		"blank":             {" \n\t", "empty"},
		"only a mark":       {"\xef\xbb\xbf", "empty"},
		"no PEM":            {"fJI8P5Z4", "no -----BEGIN"},
		"encrypted PKCS#8":  {block("ENCRYPTED PRIVATE KEY", der), "pass phrase"},
		"encrypted PKCS#1":  {encrypted, "pass phrase"},
		"1024 bits":         {block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(small)), "1024 bits, at least 2048"},
		"1024 bits PKCS#8":  {pkcs8(t, small), "1024 bits, at least 2048"},
		"EC":                {block("EC PRIVATE KEY", ecDER), "EC, an RSA key"},
		"EC PKCS#8":         {pkcs8(t, ec), "ECDSA, an RSA key"},
		"Ed25519":           {pkcs8(t, ed), "ED25519, an RSA key"},
		"X25519":            {pkcs8(t, x25519), "ECDH, an RSA key"},
		"OpenSSH":           {block("OPENSSH PRIVATE KEY", []byte("openssh-key-v1")), "OpenSSH"},
		"public key":        {block("PUBLIC KEY", public), "public key"},
		"public key PKCS#1": {block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&testKey().PublicKey)), "public key"},
		"certificate":       {block("CERTIFICATE", certificate(t)), "certificate, the private key"},
		"request":           {block("CERTIFICATE REQUEST", []byte("x")), "certificate request"},
		"something else":    {block("DH PARAMETERS", []byte("x")), "no private key in this PEM"},
		"binary":            {string(der), "binary (DER)"},
		"cut off":           {good[:len(good)/2], "damaged or cut off"},
		"not base64":        {strings.Replace(good, "M", "!", 1), "damaged"},
		"damaged":           {block("RSA PRIVATE KEY", der[:len(der)-9]), "damaged"},
		"twisted":           {block("RSA PRIVATE KEY", twisted), "damaged"},
		"half UTF-16":       {"\xff\xfe-", "empty"},
	} {
		key, err := ParsePrivateKey([]byte(c.text))
		if err == nil || key != nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want %q", name, err, c.words)
			continue
		}
		for _, line := range strings.Split(c.text, "\n") {
			if line = strings.TrimSpace(line); len(line) > 20 && !strings.HasPrefix(line, "-----") && strings.Contains(err.Error(), line) {
				t.Errorf("%s: %q quotes the input", name, err)
			}
		}
	}
}

func FuzzPrivateKey(f *testing.F) {
	f.Add([]byte(block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(testKey()))))
	f.Add([]byte("\xff\xfe-\x00-\x00"))
	f.Add([]byte(`-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----"`))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := ParsePrivateKey(data)
		if (key == nil) == (err == nil) {
			t.Fatalf("%v, %v", key, err)
		}
	})
}
