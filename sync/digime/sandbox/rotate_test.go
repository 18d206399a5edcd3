package sandbox

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The set shows a new key when it is told to, under a new name or the old one.
func TestRotateKey(t *testing.T) {
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	server := httptest.NewServer(s)
	defer server.Close()
	shown := func() jwk {
		t.Helper()
		resp, err := http.Get(s.BaseURL(server.URL) + "jwks/oauth")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var set struct{ Keys []jwk }
		if err := json.NewDecoder(resp.Body).Decode(&set); err != nil || len(set.Keys) != 1 {
			t.Fatalf("%v, %v", set, err)
		}
		return set.Keys[0]
	}
	first := shown()
	show, err := s.RotateKey(false)
	if err != nil {
		t.Fatal(err)
	}
	if shown() != first || s.signing().kid == first.Kid {
		t.Error("the new key is shown already, or does not sign yet")
	}
	show()
	second := shown()
	if second.Kid == first.Kid || second.N == first.N {
		t.Error("the new key is not shown")
	}
	resp, err := http.Post(server.URL+controlPath+"rotate-key", "application/json", strings.NewReader(`{"same_kid":true}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if third := shown(); resp.StatusCode != 200 || third.Kid != second.Kid || third.N == second.N {
		t.Errorf("by HTTP: %d, %v after %v", resp.StatusCode, third, second)
	}
	other, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if other.signing().kid != first.Kid {
		t.Error("another sandbox of the process has the new key")
	}
}
