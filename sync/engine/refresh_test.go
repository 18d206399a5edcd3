package engine

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
)

// The refreshed pair is in the vault whatever becomes of the push, and a lost
// answer is repeated at once with the old token.
func TestRefreshIsSavedBeforeItIsUsed(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.consent("alice", -time.Minute)
	before, err := r.vault.Load("alice")
	must(t, err)
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqRefresh, Do: sandbox.DoLose})
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 500, Count: -1})
	path := r.drop("alice", "one.txt", "one")
	r.once()
	if f := r.state(path); f.State != store.Retrying || f.Attempts != 1 {
		t.Fatalf("%+v", f)
	}
	after, err := r.vault.Load("alice")
	must(t, err)
	if bytes.Equal(before, after) {
		t.Fatal("the refreshed token was not saved")
	}
	r.api.ClearFaults()
	r.restart()
	r.start()
	r.untilState(path, store.Delivered)
}

func TestForgedRefreshAnswerIsNotBelieved(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.consent("alice", -time.Minute)
	before, err := r.vault.Load("alice")
	must(t, err)
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqRefresh, Do: sandbox.DoForeignKey, Count: -1})
	path := r.drop("alice", "one.txt", "one")
	r.once()
	after, err := r.vault.Load("alice")
	must(t, err)
	var old, kept digime.Token
	must(t, old.UnmarshalJSON(before))
	must(t, kept.UnmarshalJSON(after))
	kept.Unverified = nil
	if old != kept {
		t.Error("a forged answer took the token's place")
	}
	if f := r.state(path); f.State != store.Held || r.pushes.Load() != 0 {
		t.Errorf("%d pushes, %+v", r.pushes.Load(), f)
	}
}

// When the service first hears of a refreshed access token, its pair is in the
// vault: a crash from then on costs nothing.
func TestTokenIsSavedWhenTheServiceHearsOfIt(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.consent("alice", -time.Minute)
	saved := false
	r.onPush = func(req *http.Request) {
		_, rest, _ := strings.Cut(req.Header.Get("Authorization"), ".")
		payload, _, _ := strings.Cut(rest, ".")
		text, err := base64.RawURLEncoding.DecodeString(payload)
		var claims struct {
			Access string `json:"access_token"`
		}
		data, loadErr := r.vault.Load("alice")
		if err = errors.Join(err, json.Unmarshal(text, &claims), loadErr); err != nil {
			t.Error(err)
		}
		saved = claims.Access != "" && bytes.Contains(data, []byte(claims.Access))
	}
	path := r.drop("alice", "one.txt", "one")
	r.once()
	if f := r.state(path); f.State != store.Delivered || !saved {
		t.Errorf("saved %v, %+v", saved, f)
	}
}
