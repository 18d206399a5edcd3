package sidecar

import "testing"

func TestParse(t *testing.T) {
	s, err := Parse([]byte(`{"mimeType": "application/pdf", "accounts": [{"accountId": "P-1001"}], "reference": ["Blood test"], "tags": ["lab"]}`))
	if err != nil || s.MimeType != "application/pdf" {
		t.Fatal(s, err)
	}
}
