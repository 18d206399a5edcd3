package digime

import (
	"net/url"
	"strings"
	"testing"

	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
)

// consent has the person share, and returns what the callback is told.
func (r *rig) consent(t *testing.T, a Authorization) url.Values {
	t.Helper()
	callback, err := r.sandbox.Decide(a.URL, true, "")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(callback)
	if err != nil {
		t.Fatal(err)
	}
	if got := u.Query().Get("state"); got != a.State || len(got) != 32 {
		t.Errorf("state %q came back for %q", got, a.State)
	}
	return u.Query()
}

func TestAuthorize(t *testing.T) {
	r := newRig(t, func(o *Options) { o.UserAgent = "digime-sync/1.2.3" })
	a, err := r.Authorize(background(), r.contract, "")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(a.URL, "/apps/saas/authorize?code=") || !strings.HasSuffix(a.URL, "&sourceType=push") {
		t.Errorf("link %s", a.URL)
	}
	token, err := r.Exchange(background(), r.contract, r.consent(t, a).Get("code"), a.Verifier, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Push(background(), r.contract, token.Access.Value, newUpload([]byte("x")).Upload); err != nil {
		t.Error(err)
	}
	if got := r.sandbox.Deliveries(); len(got) != 1 || got[0].User != token.UserID || token.UserID == "" || token.UserID == r.token.UserID {
		t.Errorf("delivered %+v with the token of %q", got, token.UserID)
	}
}

// A read contract linked to the library of a write contract is about the same person.
func TestAuthorizeLinked(t *testing.T) {
	r := newRig(t)
	reader := Contract{ID: "reader", Key: testKey(), RedirectURI: r.contract.RedirectURI}
	r.sandbox.AddContract("read", reader.ID, &testKey().PublicKey, reader.RedirectURI)
	a, err := r.Authorize(background(), reader, r.token.Access.Value)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(a.URL, "&sourceType=pull") || strings.Contains(a.URL, r.token.Access.Value) {
		t.Errorf("link %s", a.URL)
	}
	token, err := r.Exchange(background(), reader, r.consent(t, a).Get("code"), a.Verifier, nil)
	if err != nil || token.UserID != r.token.UserID {
		t.Errorf("linked to %q, want %q: %v", token.UserID, r.token.UserID, err)
	}
	r.sandbox.ExpireAccess(r.token.UserID)
	_, err = r.Authorize(background(), reader, r.token.Access.Value)
	wantError(t, err, TokenExpired, "authorize: ")
}

func TestReauthorize(t *testing.T) {
	r := newRig(t)
	r.sandbox.ExpireAccess(r.token.UserID)
	r.sandbox.KillRefresh(r.token.UserID)
	a, err := r.Reauthorize(background(), r.contract, r.token.Access.Value)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(a.URL, "/apps/saas/user-reauth?code=") {
		t.Errorf("link %s", a.URL)
	}
	token, err := r.Exchange(background(), r.contract, r.consent(t, a).Get("code"), a.Verifier, nil)
	if err != nil || token.UserID != r.token.UserID {
		t.Errorf("token of %q, want %q: %v", token.UserID, r.token.UserID, err)
	}
	if err := r.Push(background(), r.contract, token.Access.Value, newUpload([]byte("x")).Upload); err != nil {
		t.Error(err)
	}
}

func TestExchangeFaults(t *testing.T) {
	r := newRig(t)
	a, err := r.Authorize(background(), r.contract, "")
	if err != nil {
		t.Fatal(err)
	}
	code := r.consent(t, a).Get("code")
	_, err = r.Exchange(background(), r.contract, "made-up-code", a.Verifier, nil)
	if wantError(t, err, ConsentGone, "exchange code: "); strings.Contains(err.Error(), "made-up-code") {
		t.Errorf("%q shows the code", err)
	}
	r.sandbox.Fail(sandbox.Fault{Kind: sandbox.ReqExchange, Do: sandbox.DoForeignKey})
	_, err = r.Exchange(background(), r.contract, code, a.Verifier, nil)
	wantError(t, err, BadAnswer, "signature fits no key")

	wrong := r.contract
	wrong.RedirectURI = "http://localhost:2/other"
	_, err = r.Authorize(background(), wrong, "")
	wantError(t, err, Configuration, "redirect URI")
	for kind, call := range map[string]func() error{
		sandbox.ReqAuthorize: func() error { _, err := r.Authorize(background(), r.contract, ""); return err },
		sandbox.ReqReference: func() error {
			_, err := r.Reauthorize(background(), r.contract, r.token.Access.Value)
			return err
		},
	} {
		r.sandbox.Fail(sandbox.Fault{Kind: kind, Do: sandbox.DoUnknownKid})
		wantError(t, call(), BadAnswer, "key set")
	}
}

// The example of RFC 7636, appendix B.
func TestChallenge(t *testing.T) {
	if got := challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"); got != "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" {
		t.Errorf("challenge %q", got)
	}
}
