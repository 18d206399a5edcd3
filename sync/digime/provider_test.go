package digime

import (
	"io"
	"net/http"
	"testing"
)

func TestProviderRequest(t *testing.T) {
	for _, version := range []string{"stu3", "3.0.2"} {
		client := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if want := "/v1.7/permission-access/import/h:accountId/fhir/" + version; r.RequestURI != want || r.Method != http.MethodPost {
				t.Errorf("%s %s, want %s", r.Method, r.RequestURI, want)
			}
			if r.Header.Get("accountId") != "1_23 x" || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("FileDescriptor") != "" {
				t.Errorf("header %v", r.Header)
			}
			if body, err := io.ReadAll(r.Body); string(body) != `{"resourceType":"Bundle"}` || err != nil {
				t.Errorf("%q, %v", body, err)
			}
		})
		u := newUpload([]byte(`{"resourceType":"Bundle"}`))
		u.Descriptor = Descriptor{}
		if err := client.PushProvider(background(), aContract(), "token", Provider{AccountID: "1_23 x", Version: version}, u.Upload); err != nil {
			t.Error(err)
		}
	}
}

func TestProviderThatCannotBe(t *testing.T) {
	for p, words := range map[Provider]string{
		{"1_1", ""}:               "stu3 or 3.0.2",
		{"1_1", "r4"}:             "stu3 or 3.0.2",
		{"1_1", "../../../oauth"}: "stu3 or 3.0.2",
		{"", "stu3"}:              "no account ID",
		{" ", "stu3"}:             "no account ID",
		{" 1", "stu3"}:            "begins or ends with a space",
		{"1\r\nX: y", "stu3"}:     "cannot be sent",
		{"1\x7f", "stu3"}:         "cannot be sent",
		{"Müller", "stu3"}:        "cannot be sent",
	} {
		server := newSink()
		u := newUpload([]byte("{}"))
		wantError(t, serve(t, server.ServeHTTP).PushProvider(background(), aContract(), "token", p, u.Upload), Refused, words)
		if opened, _, _ := u.counts(); opened != 0 || server.received != 0 {
			t.Errorf("%+v: the file was opened", p)
		}
	}
}

// The sandbox knows what the real service would refuse, too.
func TestProviderRefusals(t *testing.T) {
	r := newRig(t)
	push := func(account, content string) error {
		return r.PushProvider(background(), r.contract, r.token.Access.Value, Provider{account, "stu3"}, newUpload([]byte(content)).Upload)
	}
	wantError(t, push("1_999", "{}"), Malformed, "1_999")
	accounts, err := r.Accounts(background(), r.contract, r.token.Access.Value)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, push(accounts[0].ID, "[]"), Malformed, "not a JSON object")
	r.sandbox.ExpireAccess(r.token.UserID)
	wantError(t, push(accounts[0].ID, "{}"), TokenExpired)
}
