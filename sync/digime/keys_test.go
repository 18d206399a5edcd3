package digime

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// Without a key set no refresh is even sent: its answer could not be verified.
func TestKeySetFirst(t *testing.T) {
	s := newService(t)
	s.keysDo = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	sent := false
	s.tokenDo = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { sent = true })
	_, err := s.Refresh(background(), aContract(), oldToken(), nil, nil)
	if e := wantError(t, err, Passing, "fetch key set", "503"); e.Lost || sent {
		t.Errorf("sent %v, %+v", sent, e)
	}
	for name, c := range map[string]struct {
		body  string
		class Class
	}{
		"no set":       {`{"key":1}`, BadAnswer},
		"no JSON":      {`x`, BadAnswer},
		"empty":        {`{"keys":[]}`, BadAnswer},
		"only trifles": {`{"keys":[{"kid":"k1","kty":"RSA","n":"AQAB","e":"AQAB"},{"kid":"k1","pem":"x"},{"pem":"x"},{"kid":"k1","n":"!","e":"AQAB"}]}`, BadAnswer},
		"page":         {"<html>", Passing},
	} {
		s.keysDo = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if c.class == Passing {
				w.Header().Set("Content-Type", "text/html")
			}
			_, _ = io.WriteString(w, c.body)
		})
		if _, err := s.Refresh(background(), aContract(), oldToken(), nil, nil); err == nil || sent {
			t.Errorf("%s: sent %v, %v", name, sent, err)
		} else {
			wantError(t, err, c.class)
		}
	}
}

// The key changes between fetching the set and the answer, and the set cannot
// be had at once: the answer in hand is not thrown away.
func TestKeyRotationWhileAnswerWaits(t *testing.T) {
	s := newService(t)
	if err := s.keys1(background()); err != nil {
		t.Fatal(err)
	}
	failures := 1
	s.mu.Lock()
	s.header["kid"] = "k2"
	s.keysDo = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if failures--; failures >= 0 {
			w.WriteHeader(503)
			return
		}
		answerJSON(w, 200, map[string]any{"keys": []any{pemKey("k2", &s.key.PublicKey)}})
	})
	s.mu.Unlock()
	if _, err := s.Refresh(background(), aContract(), oldToken(), nil, nil); err != nil {
		t.Errorf("the token was lost: %v", err)
	}
}

func (s *service) keys1(ctx context.Context) error { return s.Client.keys.ready(ctx) }

// When it cannot be had at all, the answer is in the error, and is verified later.
func TestAnswerThatCannotBeVerifiedIsKept(t *testing.T) {
	s := newService(t)
	if err := s.keys1(background()); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.header["kid"] = "k2"
	s.keysDo = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	s.mu.Unlock()
	fetchedBefore, kept := 0, Answer("")
	_, err := s.Refresh(background(), aContract(), oldToken(), nil, func(a Answer) { fetchedBefore, kept = s.fetches(), a })
	e := wantError(t, err, Passing, "cannot be verified yet", "503")
	if e.Lost || e.Answer == "" || e.Answer != kept || fetchedBefore != 1 {
		t.Errorf("kept %v after %d fetches of the set, want it before the second: %+v", kept, fetchedBefore, e)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", e, *e, *e, kept); strings.Contains(text, string(kept)) {
		t.Errorf("the answer is shown: %s", text)
	}
	s.mu.Lock()
	s.keysDo, s.keys = nil, []any{pemKey("k2", &s.key.PublicKey)}
	s.mu.Unlock()
	s.letFetch()
	fresh, err := s.Verify(background(), kept, oldToken())
	if err != nil || fresh.Access.Value != "new-access" {
		t.Errorf("%v, %v", fresh, err)
	}
	other := oldToken()
	other.UserID = "user-2"
	if _, err := s.Verify(background(), kept, other); err == nil {
		t.Error("another person's answer is taken")
	}
}

// letFetch lets the key set be fetched again as if some seconds had passed.
func (s *service) letFetch() {
	s.Client.keys.mu.Lock()
	defer s.Client.keys.mu.Unlock()
	s.Client.keys.forced = time.Now().Add(-keysAgain)
}

func (s *service) fetches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetched
}

// The set is asked for anew for each change of the keys, also under the same
// name, and at once.
func TestKeysChangeAgainAndAgain(t *testing.T) {
	s := newService(t)
	for i, kid := range []string{"k1", "k2", "k3", "k3", "k3"} {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		s.key, s.header["kid"], s.keys = key, kid, []any{pemKey(kid, &key.PublicKey)}
		s.mu.Unlock()
		s.letFetch()
		if _, err := s.Refresh(background(), aContract(), oldToken(), nil, nil); err != nil {
			t.Errorf("change %d: %v", i, err)
		}
	}
	if n := s.fetches(); n != 5 {
		t.Errorf("the key set was fetched %d times, want 5", n)
	}
}

// Made-up key names and signatures do not make it fetch the set again and again,
// nor does a set that cannot be had.
func TestForgedAnswersMakeNoStorm(t *testing.T) {
	for name, forge := range map[string]func(*service){
		"kid":       func(s *service) { s.header["kid"] = "made-up" },
		"signature": func(s *service) { s.key = testKey() },
	} {
		s := newService(t)
		forge(s)
		s.Client.keys.forced = time.Now().Add(time.Hour) // however slow this machine is
		for range 5 {
			_, err := s.Refresh(background(), aContract(), oldToken(), nil, nil)
			wantError(t, err, BadAnswer)
		}
		if s.fetched != 1 {
			t.Errorf("%s: the key set was fetched %d times, want once", name, s.fetched)
		}
		s.letFetch()
		_, err := s.Refresh(background(), aContract(), oldToken(), nil, nil)
		if wantError(t, err, BadAnswer); s.fetched != 2 {
			t.Errorf("%s: some seconds later: %d times, want 2", name, s.fetched)
		}
	}
}

func TestKeySetIsFetchedOnceForMany(t *testing.T) {
	s := newService(t)
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			if _, err := s.Refresh(background(), aContract(), oldToken(), nil, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if s.fetched != 1 {
		t.Errorf("the key set was fetched %d times", s.fetched)
	}
	s.Client.keys.mu.Lock()
	s.Client.keys.at = time.Now().Add(-keysFresh)
	s.Client.keys.mu.Unlock()
	if _, err := s.Refresh(background(), aContract(), oldToken(), nil, nil); err != nil || s.fetched != 2 {
		t.Errorf("a quarter of an hour later: fetched %d times, %v", s.fetched, err)
	}
}

// Only the configured API's own key sets are asked.
func TestOwnJKU(t *testing.T) {
	c := newClient(t, Options{ApplicationID: "app"})
	for _, jku := range []string{
		"https://api.digi.me/v1.7/jwks/oauth", "https://API.digi.me:443/v1.7/jwks/oauth", "https://api.digi.me/v1.7/other?x=y",
	} {
		if err := c.ownJKU(jku); err != nil {
			t.Errorf("%s: %v", jku, err)
		}
	}
	for _, jku := range []string{
		"https://evil.example/v1.7/jwks/oauth", "https://api.digi.me.evil.example/v1.7/jwks/oauth", "https://digi.me/v1.7/jwks/oauth",
		"http://api.digi.me/v1.7/jwks/oauth", "https://api.digi.me:8443/v1.7/jwks/oauth", "https://api.digi.me/v1.6/jwks/oauth",
		"https://api.digi.me@evil.example/v1.7/jwks/oauth", "https://evil@api.digi.me/v1.7/jwks/oauth", "https:api.digi.me/v1.7/jwks/oauth",
		"https://api.digi.me/v1.7/../jwks", "https://api.digi.me/v1.7/%2e%2e/jwks", "https://api.digi.me/v1.7/%2f..%2fjwks",
		"https://api.digi.me/v1.7//jwks", "//api.digi.me/v1.7/jwks/oauth", "/v1.7/jwks/oauth", "data:,x", "https://api.digi.me/v1.7/jwks#f",
	} {
		if err := c.ownJKU(jku); err == nil {
			t.Errorf("%s is trusted", jku)
		}
	}
}
