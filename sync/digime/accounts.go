package digime

import (
	"context"
	"encoding/json"
	"net/http"
)

// ProviderAccount is an account of the person's, with a provider, in a library.
// Fields that the service leaves out are empty.
type ProviderAccount struct {
	ID           string `json:"id"`        // for Provider.AccountID
	Reference    string `json:"reference"` // the accountReference of the authorization's callback
	Type         string `json:"type"`      // PUSH, USER, …
	ServiceGroup string `json:"serviceGroupName"`
	ServiceType  string `json:"serviceTypeName"`
	Provider     string `json:"serviceProviderName"`
}

// Accounts lists the accounts in the library that the access token opens.
// Errors are as of Trigger.
func (c *Client) Accounts(ctx context.Context, k Contract, access string) ([]ProviderAccount, error) {
	var said json.RawMessage
	q := query{op: opAccounts, method: http.MethodGet, contract: k, access: access, where: c.base.JoinPath("permission-access/accounts")}
	if err := c.ask(ctx, q, maxTokenBody, &said); err != nil {
		return nil, err
	}
	// The bare array is what the Node SDK takes.
	var accounts []ProviderAccount
	if json.Unmarshal(said, &accounts) != nil || accounts == nil {
		return nil, misread(opAccounts, "it is not a list of accounts")
	}
	for _, a := range accounts {
		if a.ID == "" {
			return nil, misread(opAccounts, "an account in it has no ID")
		}
	}
	return accounts, nil
}
