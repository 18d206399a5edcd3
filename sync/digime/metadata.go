package digime

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
)

// Metadata is what a library knows of a file that was pushed to it.
type Metadata struct {
	Descriptor           // as it was pushed; ContractID is that of the push
	PartnerID  string    // "" if not given
	Created    time.Time // when the library got it; zero if not given
}

// parseMetadata reads the X-Metadata header: base64url of JSON, in which the
// names of the descriptor's fields are in lower case.
func parseMetadata(header string) (m Metadata, compression string, err error) {
	if header == "" {
		return Metadata{}, "", badf("it has no X-Metadata header")
	}
	// Any alphabet and padding will do: the Node SDK's reader minds neither.
	text := strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(header), "=")
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return Metadata{}, "", badf("its X-Metadata header is not base64")
	}
	var said struct {
		Metadata *struct {
			Descriptor                 // encoding/json finds its fields in whatever case
			PartnerID  string          `json:"partnerid"`
			Created    json.RawMessage `json:"created"`
		} `json:"metadata"`
		Compression string `json:"compression"`
	}
	if json.Unmarshal(raw, &said) != nil || said.Metadata == nil {
		return Metadata{}, "", badf("its X-Metadata header does not hold the metadata of a file")
	}
	d := said.Metadata
	return Metadata{Descriptor: d.Descriptor, PartnerID: d.PartnerID, Created: fromMillis(d.Created)}, said.Compression, nil
}
