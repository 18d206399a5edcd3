package digime

import "strings"

// Account is the user's account in the pusher's own system.
type Account struct {
	AccountID string `json:"accountId"`
}

// ObjectType is a kind of data object (known from the iOS SDK).
type ObjectType struct {
	Name       string   `json:"name"`
	References []string `json:"references,omitempty"`
}

// Descriptor is the file descriptor that goes with a pushed file, field by
// field what a user of the SDKs would pass. What is not set is not sent; an
// empty Reference is none.
type Descriptor struct {
	MimeType      string       `json:"mimeType"`
	Accounts      []Account    `json:"accounts"`
	Reference     []string     `json:"reference,omitempty"` // conventionally the file's name or title
	Tags          []string     `json:"tags,omitempty"`
	ContractID    string       `json:"contractId,omitempty"`
	AppID         string       `json:"appId,omitempty"`
	ProviderName  string       `json:"providerName,omitempty"`
	ObjectTypes   []ObjectType `json:"objectTypes,omitempty"`
	ServiceGroups []int        `json:"serviceGroups,omitempty"`
}

// missing names what the service would refuse the descriptor for, or is "".
func (d Descriptor) missing() string {
	if strings.TrimSpace(d.MimeType) == "" {
		return "mimeType"
	}
	if len(d.Accounts) == 0 {
		return "accounts"
	}
	for _, a := range d.Accounts {
		if strings.TrimSpace(a.AccountID) == "" {
			return "accountId"
		}
	}
	return ""
}
