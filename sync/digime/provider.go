package digime

import (
	"context"
	"net/http"
	"strings"
)

// Provider is where a push to a provider goes.
type Provider struct {
	AccountID string // the ID, as Accounts gives it, of the person's account with the provider
	Version   string // of FHIR: stu3 or 3.0.2
}

// fault says what keeps the provider from being pushed to, or is "".
func (p Provider) fault() string {
	switch {
	case p.Version != "stu3" && p.Version != "3.0.2":
		return "the FHIR version must be stu3 or 3.0.2"
	case strings.TrimSpace(p.AccountID) == "":
		return "the provider has no account ID"
	case strings.Trim(p.AccountID, " ") != p.AccountID:
		return "the provider's account ID begins or ends with a space"
	}
	for _, b := range []byte(p.AccountID) {
		if b < 0x20 || b > 0x7e { // it travels in a header
			return "the provider's account ID has characters in it that cannot be sent"
		}
	}
	return ""
}

// PushProvider sends a file, one FHIR object in JSON, to a provider with which
// the person has an account, in one attempt. Whether it is such an object is
// for the caller to find out before: see CheckFHIR. The upload's descriptor is
// not used. Errors are as of Push; Class Reauthorize is about the provider's account.
func (c *Client) PushProvider(ctx context.Context, k Contract, access string, to Provider, u Upload) error {
	if fault := to.fault(); fault != "" {
		return &Error{Op: opPush, Class: Refused, what: fault}
	}
	return c.push(ctx, &pushing{contract: k, access: access, upload: u, pack: func() (parcel, error) {
		return parcel{
			// h:accountId is meant literally: it says that the account is in a header.
			where: c.base.JoinPath("permission-access/import/h:accountId/fhir", to.Version),
			header: http.Header{
				"Content-Type": {"application/json"},
				"accountId":    {to.AccountID}, // spelled as the SDKs do
			},
		}, nil
	}})
}
