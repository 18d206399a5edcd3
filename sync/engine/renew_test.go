package engine

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
)

// strictly has the rig's service take each refresh token once and revoke the
// consent when one comes twice, and counts the requests for tokens.
func strictly(r *rig) *atomic.Int32 {
	r.t.Helper()
	api, err := sandbox.New(sandbox.Options{Rotation: sandbox.RotationRevoking})
	must(r.t, err)
	api.ApplicationID = "app"
	api.AddContract(sandbox.KindWrite, "write", &contractKey().PublicKey, "http://localhost/")
	before := r.api
	r.t.Cleanup(before.Close)
	r.api = api
	asked := new(atomic.Int32)
	r.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasSuffix(req.URL.Path, "/oauth/token") {
			asked.Add(1)
		}
		api.ServeHTTP(w, req)
	})
	for name := range r.libs {
		r.consent(name, time.Hour)
	}
	return asked
}

func (r *rig) kept(library string) *digime.Unverified {
	r.t.Helper()
	data, err := r.vault.Load(library)
	must(r.t, err)
	tok, err := digime.ParseToken(data)
	must(r.t, err)
	return tok.Unverified
}

// The service signs with a new key that its key set does not show yet: the answer
// is kept through a restart, the used token is not sent again, and the files go
// once the set shows the key. Then the keys change once more, and once more under
// the same name.
func TestAnswerOfAKeyNotShownYetIsKept(t *testing.T) {
	r := newRig(t, nil, "alice")
	asked := strictly(r)
	r.start()
	r.untilState(r.drop("alice", "zero.txt", "zero"), store.Delivered)
	for i, sameKid := range []bool{false, false, true} {
		show, err := r.api.RotateKey(sameKid)
		must(t, err)
		r.api.ExpireAccess(r.users["alice"])
		before := asked.Load()
		path := r.drop("alice", string(rune('a'+i)), string(rune('a'+i)))
		f := r.untilState(path, store.Held)
		if !strings.Contains(f.Reason, "cannot be verified yet") || !strings.Contains(f.Hint, "nothing to do") || r.kept("alice") == nil {
			t.Errorf("%+v", f)
		}
		if s := TokenStatus(r.vault, "alice"); s.State != "held" || !strings.Contains(s.Reason, "cannot be verified yet") {
			t.Errorf("%+v", s)
		}
		if i == 0 {
			r.stop()
			r.restart()
			r.start()
			r.until("looked at again", func() bool {
				r.engine.mu.Lock()
				defer r.engine.mu.Unlock()
				return r.engine.kept["alice"]
			})
		}
		show()
		r.untilState(path, store.Delivered)
		if n := asked.Load() - before; n != 1 || r.kept("alice") != nil {
			t.Errorf("change %d: %d requests for tokens, want one, and nothing kept", i, n)
		}
	}
	var events []string
	must(t, store.ReadAudit(r.dir+"/state", func(e store.Entry) error { events = append(events, e.Event); return nil }))
	for _, want := range []string{"answer kept, cannot be verified yet", "kept answer verified"} {
		if !slices.Contains(events, want) {
			t.Errorf("the audit log lacks %q: %q", want, events)
		}
	}
}

// A set that comes and does not verify for long has the old token tried.
func TestKeptAnswerIsGivenUp(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.consent("alice", -time.Minute)
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqRefresh, Do: sandbox.DoForeignKey})
	path := r.drop("alice", "one.txt", "one")
	r.once()
	if f := r.state(path); f.State != store.Held || r.kept("alice") == nil || r.kept("alice").Refuted.IsZero() {
		t.Fatalf("%+v", f)
	}
	r.once()
	if f := r.state(path); f.State != store.Held {
		t.Fatalf("tried too early: %+v", f)
	}
	data, err := r.vault.Load("alice")
	must(t, err)
	tok, err := digime.ParseToken(data)
	must(t, err)
	tok.Unverified.Refuted = time.Now().Add(-verifyEnough - time.Minute)
	data, err = json.Marshal(tok)
	must(t, err)
	must(t, r.vault.Save("alice", data))
	r.once()
	if f := r.state(path); f.State != store.Delivered || r.kept("alice") != nil {
		t.Errorf("%+v", f)
	}
}

// A first consent whose answer could not be verified is taken over, unless the
// person has another library here.
func TestKeptConsentIsTakenOver(t *testing.T) {
	for _, twice := range []bool{false, true} {
		r := newRig(t, nil, "alice", "bob")
		show, err := r.api.RotateKey(false)
		must(t, err)
		_, err = r.engine.Refresh(t.Context(), r.libs["alice"], func(digime.Token) bool { return true })
		if err == nil || r.kept("alice") == nil {
			t.Fatal("nothing is kept")
		}
		first := digime.Token{Unverified: r.kept("alice")}
		first.Unverified.Exchanged = true
		data, err := json.Marshal(first)
		must(t, err)
		must(t, r.vault.Save("alice", data))
		if twice {
			data, err := r.vault.Load("bob")
			must(t, err)
			must(t, r.vault.Save("bob", bytes.ReplaceAll(data, []byte(r.users["bob"]), []byte(r.users["alice"]))))
		}
		if s := TokenStatus(r.vault, "alice"); s.State != "held" || !strings.Contains(s.Reason, "answer to the consent") {
			t.Errorf("%+v", s)
		}
		show()
		r.restart()
		path := r.drop("alice", "one.txt", "one")
		r.once()
		if f := r.state(path); (f.State == store.Delivered) == twice {
			t.Errorf("another library of the person's %v: %+v", twice, f)
		}
	}
}
