// Package sidecar reads `<file>.meta.json`: the descriptor that says what a
// dropped file is and to which accounts it goes.
//
// A sidecar is the file descriptor an SDK user would pass, bare or in the
// SDK's wrapped form {"fileName", "fileDescriptor"}; two keys are allowed
// besides: "provider" (where a FHIR push goes) and "$schema" (for editors).
// Reading is strict, because a sidecar that is half understood can send a file
// to the wrong person: every fault is reported, all at once, in words for the
// person who wrote the file.
//
// Index says which sidecar of a directory belongs to which file. It matches
// names only; nothing in this package opens a file.
package sidecar

import (
	"slices"
	"strings"

	"github.com/gabriel-vasile/mimetype"
)

const (
	// Suffix is what a sidecar's name has after the file's name.
	Suffix = ".meta.json"
	// MaxSize is the largest sidecar accepted, in bytes.
	MaxSize = 64 << 10
	// HeadSize is how many bytes of the content Complete looks at, at most, to
	// detect its type.
	HeadSize = 3072
	// Auto as a MIME type asks for detection from the content.
	Auto = "auto"
)

// Account is the person's account in the pusher's own system.
type Account struct {
	// The account's id there.
	AccountID string `json:"accountId"`
}

// ObjectType names a kind of object the file holds (known from the iOS SDK).
type ObjectType struct {
	// What the kind is called.
	Name string `json:"name"`
	// What the objects are called.
	References []string `json:"references,omitzero"`
}

// Descriptor is the file descriptor of the digi.me API, with the fields of the
// public SDKs. A nil Reference or Tags means not given; an empty one means none.
type Descriptor struct {
	// The file's MIME type; auto: detected from the content.
	MimeType string `json:"mimeType,omitempty"`
	// The person's accounts in your own system; else the folder's or the library's.
	Accounts []Account `json:"accounts,omitzero"`
	// What the file is called in the library; else its name. An empty list: nothing.
	Reference []string `json:"reference,omitzero"`
	// The file's tags; else the folder's. An empty list: none.
	Tags []string `json:"tags,omitzero"`
	// The contract's id; digime-sync knows it.
	ContractID string `json:"contractId,omitempty"`
	// The application's id; digime-sync knows it.
	AppID string `json:"appId,omitempty"`
	// What the place the file comes from is called.
	ProviderName string `json:"providerName,omitempty"`
	// The kinds of objects the file holds.
	ObjectTypes []ObjectType `json:"objectTypes,omitzero"`
	// The numbers of the service groups the file belongs to.
	ServiceGroups []int `json:"serviceGroups,omitzero"`
}

// Provider says where a FHIR push goes. A sidecar may give either field alone;
// an empty field means not given.
type Provider struct {
	// The account at the provider.
	AccountID string `json:"accountId,omitempty"`
	// The FHIR version: stu3 or 3.0.2.
	Version string `json:"version,omitempty"`
}

// Sidecar is what a sidecar file says. Provider is nil when not given.
type Sidecar struct {
	Descriptor
	// Where a FHIR push goes.
	Provider *Provider `json:"provider,omitzero"`
}

// Defaults are a folder's own values for what a sidecar leaves out. MimeType
// may be Auto.
type Defaults struct {
	MimeType       string
	Accounts, Tags []string
}

// Parse reads the content of a sidecar file. What is missing is not a fault
// yet: Complete fills it in. The error is an *Error with all faults.
func Parse(data []byte) (Sidecar, error) {
	text, fault, ok := plainText(data)
	if !ok {
		return Sidecar{}, &Error{Faults: []Fault{fault}}
	}
	notes := &faults{text: text}
	root, ok := readJSON(text, notes)
	var s Sidecar
	if ok {
		s = decode(root, notes)
	}
	if err := notes.err(); err != nil {
		return Sidecar{}, err
	}
	return s, nil
}

// Complete fills what the sidecar leaves out: from the folder's defaults, then
// from the library's own accounts. A MIME type "auto" is detected from head,
// the first bytes of the content (HeadSize of them are enough), and fileName
// becomes the reference when none is given, since the API carries no name
// otherwise; bytes of it that are not UTF-8 become U+FFFD. The error is an
// *Error that says what is still missing.
func (s *Sidecar) Complete(d Defaults, libraryAccounts []string, fileName string, head []byte) error {
	if s.MimeType == "" {
		s.MimeType = d.MimeType
	}
	if s.MimeType == Auto {
		s.MimeType = detect(head)
	}
	if s.Accounts == nil {
		s.Accounts = accounts(d.Accounts)
	}
	if s.Accounts == nil {
		s.Accounts = accounts(libraryAccounts)
	}
	if s.Tags == nil {
		s.Tags = slices.Clone(d.Tags)
	}
	if s.Reference == nil {
		s.Reference = []string{strings.ToValidUTF8(fileName, "\uFFFD")}
	}
	notes := &faults{}
	if s.MimeType == "" {
		notes.whole(`"mimeType" is missing: add for example "mimeType": "application/pdf", or "mimeType": "auto" to have it detected`)
	}
	if len(s.Accounts) == 0 {
		notes.whole(`"accounts" is missing: add for example "accounts": [{"accountId": "P-1001"}]`)
	}
	return notes.err()
}

// detect names the type of the content without parameters: a character set
// guessed from the first bytes alone may be wrong for the rest.
func detect(head []byte) string {
	bare, _, _ := strings.Cut(mimetype.Detect(head).String(), ";")
	return strings.TrimSpace(bare)
}

func accounts(ids []string) []Account {
	var list []Account
	for _, id := range ids {
		list = append(list, Account{AccountID: id})
	}
	return list
}
