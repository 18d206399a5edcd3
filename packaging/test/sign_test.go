//go:build packaging

package test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// testCA is an authority that nobody trusts, for this test ONLY, with a
// certificate that signs programs and one that signs times.
type testCA struct {
	dir     string // ca.pem, sign.pem, sign.key, tsa.pem, tsa.key
	key     *rsa.PrivateKey
	cert    *x509.Certificate
	numbers int64
}

func newTestCA(t *testing.T) *testCA {
	t.Helper()
	a := &testCA{dir: t.TempDir()}
	a.key, a.cert = a.issue(t, "ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.issue(t, "sign", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, KeyUsage: x509.KeyUsageDigitalSignature})
	// The purpose of an authority for times must be critical (RFC 3161, 2.3).
	purpose := pkix.Extension{Id: []int{2, 5, 29, 37}, Critical: true, Value: []byte{0x30, 0x0a, 0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 3, 8}}
	a.issue(t, "tsa", &x509.Certificate{ExtraExtensions: []pkix.Extension{purpose}, KeyUsage: x509.KeyUsageDigitalSignature})
	return a
}

// issue makes a certificate; the first is the authority's own.
func (a *testCA) issue(t *testing.T, name string, template *x509.Certificate) (*rsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	a.numbers++
	template.SerialNumber = big.NewInt(a.numbers)
	template.Subject = pkix.Name{CommonName: "digime-sync TEST ONLY " + name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	signer, parent := a.key, a.cert
	if parent == nil {
		signer, parent = key, template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, name+".pem", "CERTIFICATE", der)
	a.write(t, name+".key", "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))
	return key, cert
}

func (a *testCA) write(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(a.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (a *testCA) path(name string) string { return filepath.Join(a.dir, name) }

// A release is signed: the program, the package around it, and whoever changes
// a byte of either is found out.
func TestSigning(t *testing.T) {
	need(t, "osslsigncode", "wixl", "msibuild", "faketime")
	ca := newTestCA(t)
	for name, value := range map[string]string{"SIGN_CERTS": ca.path("sign.pem"), "SIGN_KEY": ca.path("sign.key"),
		"SIGN_TEST_TSA_CERTS": ca.path("tsa.pem"), "SIGN_TEST_TSA_KEY": ca.path("tsa.key")} {
		t.Setenv(name, value)
	}
	signer, err := filepath.Abs("../signing/sign.sh")
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	buildMSI(t, first, out, "-sign", signer)
	verify := func(file, authority string) (string, error) {
		said, err := exec.Command("../signing/verify.sh", file, authority, ca.path("ca.pem")).CombinedOutput()
		return string(said), err
	}
	for _, file := range []string{filepath.Join(out, "work", "windows_amd64", "digime-sync.exe"), filepath.Join(out, "digime-sync_"+first+"_windows_amd64.msi")} {
		if said, err := verify(file, ca.path("ca.pem")); err != nil {
			t.Errorf("%s: %v\n%s", file, err, said)
		}
		if said, err := verify(file, ca.path("tsa.pem")); err == nil {
			t.Errorf("%s passes under another authority: %s", file, said)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 1
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if said, err := verify(file, ca.path("ca.pem")); err == nil {
			t.Errorf("%s passes with a changed byte: %s", file, said)
		}
	}
	// Without a timestamp the signature is good, and verify.sh says that one is missing.
	t.Setenv("SIGN_TEST_TSA_CERTS", "")
	plain := filepath.Join(out, "plain.exe")
	program, err := os.ReadFile(filepath.Join(out, "work", "windows_amd64", "digime-sync.exe"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(plain, program, 0o600); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command("osslsigncode", "remove-signature", "-in", plain, "-out", plain+".bare").CombinedOutput(); err != nil {
		t.Fatalf("remove the signature: %v\n%s", err, said)
	}
	if said, err := exec.Command(signer, plain+".bare").CombinedOutput(); err != nil {
		t.Fatalf("sign without a timestamp: %v\n%s", err, said)
	}
	if said, err := verify(plain+".bare", ca.path("ca.pem")); err == nil || !strings.Contains(said, "the timestamp is missing") {
		t.Errorf("no timestamp: %v\n%s", err, said)
	}
}

// Nothing is signed without a key, and nothing pretends to be.
func TestSigningNeedsAKey(t *testing.T) {
	for _, name := range []string{"SIGN_CERTS", "SIGN_KEY", "SIGN_PKCS11", "SIGN_HOOK"} {
		t.Setenv(name, "")
	}
	file := filepath.Join(t.TempDir(), "a.exe")
	if err := os.WriteFile(file, []byte("MZ"), 0o600); err != nil {
		t.Fatal(err)
	}
	said, err := exec.Command("../signing/sign.sh", file).CombinedOutput()
	if err == nil || !strings.Contains(string(said), "SIGN_HOOK") {
		t.Errorf("signing without a key: %v\n%s", err, said)
	}
}
