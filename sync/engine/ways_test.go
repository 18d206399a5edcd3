package engine

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
)

func TestPushToProvider(t *testing.T) {
	r := newRig(t, func(f *Folder) { f.Push, f.Provider.Version = PushProvider, "stu3" }, "alice")
	access, err := r.engine.access(t.Context(), r.libs["alice"], "")
	must(t, err)
	accounts, err := r.engine.Client.Accounts(t.Context(), r.libs["alice"].Contract, access)
	if err != nil || len(accounts) == 0 {
		t.Fatal(accounts, err)
	}
	good := filepath.Join(r.dir, "alice", "patient.json")
	must(t, os.WriteFile(good, []byte(`{"resourceType": "Patient", "active": true}`), 0o644))
	r.describe(good, `{"provider": {"accountId": "`+accounts[0].ID+`"}}`)
	bad := filepath.Join(r.dir, "alice", "list.json")
	must(t, os.WriteFile(bad, []byte("[\n 1]"), 0o644))
	r.describe(bad, `{"provider": {"accountId": "`+accounts[0].ID+`"}}`)
	nowhere := filepath.Join(r.dir, "alice", "nowhere.json")
	must(t, os.WriteFile(nowhere, []byte(`{"resourceType": "Patient"}`), 0o644))
	r.describe(nowhere, `{}`)
	r.once()
	if f := r.state(good); f.State != store.Delivered {
		t.Errorf("%+v", f)
	}
	if f := r.state(bad); f.State != store.Refused || !strings.Contains(f.Reason, "line 1") {
		t.Errorf("%+v", f)
	}
	if f := r.state(nowhere); f.State != store.Refused || !strings.Contains(f.Reason, "which account at the provider") {
		t.Errorf("%+v", f)
	}
	got := r.api.Deliveries()
	if len(got) != 1 || got[0].Kind != sandbox.DeliveryProvider || got[0].AccountID != accounts[0].ID || got[0].User != r.users["alice"] {
		t.Errorf("deliveries: %+v", got)
	}
}

// The account at the provider may be looked up by its reference; nothing is
// guessed where there is none.
func TestProviderAccountByReference(t *testing.T) {
	r := newRig(t, func(f *Folder) {
		f.Push, f.Provider.Version, f.AccountReference = PushProvider, "stu3", "no such reference"
	}, "alice")
	access, err := r.engine.access(t.Context(), r.libs["alice"], "")
	must(t, err)
	accounts, err := r.engine.Client.Accounts(t.Context(), r.libs["alice"].Contract, access)
	if err != nil || len(accounts) == 0 {
		t.Fatal(accounts, err)
	}
	path := filepath.Join(r.dir, "alice", "patient.json")
	must(t, os.WriteFile(path, []byte(`{"resourceType": "Patient"}`), 0o644))
	r.describe(path, `{}`)
	r.once()
	if f := r.state(path); f.State != store.Held || !strings.Contains(f.Hint, "account_reference") {
		t.Fatalf("%+v", f)
	}
	r.folders[0].AccountReference = accounts[0].Reference
	r.restart()
	r.once()
	if f := r.state(path); f.State != store.Delivered {
		t.Fatalf("%+v", f)
	}
	if got := r.api.Deliveries(); len(got) != 1 || got[0].AccountID != accounts[0].ID {
		t.Errorf("deliveries: %+v", got)
	}
}

// A postbox may be configured, or come with the consent; an access token that
// has expired is answered "pending", and refreshed.
func TestPushToPostbox(t *testing.T) {
	r := newRig(t, func(f *Folder) { f.Push = PushPostbox }, "alice")
	contract := digime.Contract{ID: "postbox", Key: contractKey(), RedirectURI: "http://localhost/"}
	r.libs["alice"] = Library{Name: "alice", Contract: contract}
	token := r.api.NewUser("postbox", time.Hour, 24*time.Hour)
	var named struct{ User struct{ ID string } }
	must(t, json.Unmarshal(token, &named))
	must(t, r.vault.Save("alice", token))
	r.api.ExpireAccess(named.User.ID)

	path := r.drop("alice", "one.txt", "one")
	r.once()
	if f := r.state(path); f.State != store.Held || !strings.Contains(f.Reason, "postbox") {
		t.Fatalf("without a postbox: %+v", f)
	}
	id, pem, err := r.api.Postbox(named.User.ID)
	must(t, err)
	key, err := digime.ParsePublicKey([]byte(pem))
	must(t, err)
	r.libs["alice"] = Library{Name: "alice", Contract: contract, Postbox: &digime.PostboxAddress{ID: id, Key: key}}
	r.restart()
	r.once()
	if f := r.state(path); f.State != store.Delivered {
		t.Fatalf("%+v", f)
	}
	got := r.api.Deliveries()
	if len(got) != 1 || got[0].Kind != sandbox.DeliveryPostbox || got[0].Size != 3 || got[0].User != named.User.ID {
		t.Errorf("deliveries: %+v", got)
	}
}

// While a folder holds a file back, taking it away stops it, and Release sends
// it at once.
func TestHoldAndRelease(t *testing.T) {
	r := newRig(t, func(f *Folder) { f.Hold = time.Hour }, "alice")
	r.start()
	regretted, meant := r.drop("alice", "regretted.txt", "one"), r.drop("alice", "meant.txt", "two")
	for _, path := range []string{regretted, meant} {
		if f := r.untilState(path, store.Queued); f.NextAttempt == nil || time.Until(*f.NextAttempt) < 50*time.Minute {
			t.Errorf("%+v", f)
		}
	}
	must(t, os.Remove(regretted))
	if _, err := r.engine.Release(meant); err != nil {
		t.Fatal(err)
	}
	r.untilState(meant, store.Delivered)
	if _, err := r.engine.Release(meant); err == nil || !strings.Contains(err.Error(), "nothing is held back") {
		t.Errorf("releasing what is not held back: %v", err)
	}
	if _, err := r.engine.Release(filepath.Dir(meant)); err != nil {
		t.Fatal(err)
	}
	r.untilState(regretted, store.Ignored)
	if n := len(r.api.Deliveries()); n != 1 {
		t.Errorf("%d deliveries", n)
	}
}

// A file held in doubt stays with the person, even if its times change.
func TestHeldInDoubtStaysHeld(t *testing.T) {
	r := newRig(t, func(f *Folder) { f.InDoubt = "hold" }, "alice")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoLose})
	path := r.drop("alice", "scan.txt", "content")
	r.once()
	must(t, os.Chtimes(path, time.Now(), time.Now().Add(-time.Hour)))
	r.once()
	if f := r.state(path); f.State != store.Held || len(r.api.Deliveries()) != 1 {
		t.Errorf("%+v, %d deliveries", f, len(r.api.Deliveries()))
	}
	files, err := r.engine.Push(t.Context(), []string{path}, true)
	if err != nil || files[0].State != store.Delivered || !files[0].Doubtful {
		t.Errorf("push --again: %+v, %v", files, err)
	}
}

// What is wrong with one account at a provider holds that file, not the library.
func TestProviderFaultHoldsItsFileAlone(t *testing.T) {
	r := newRig(t, func(f *Folder) { f.Push, f.Provider.Version = PushProvider, "stu3" }, "alice")
	access, err := r.engine.access(t.Context(), r.libs["alice"], "")
	must(t, err)
	accounts, err := r.engine.Client.Accounts(t.Context(), r.libs["alice"].Contract, access)
	if err != nil || len(accounts) == 0 {
		t.Fatal(accounts, err)
	}
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqProvider, Do: sandbox.DoRefuse, Status: 511, Code: "ServiceAuthorizationError"})
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		path := filepath.Join(r.dir, "alice", name+".json")
		must(t, os.WriteFile(path, []byte(`{"resourceType": "Patient", "id": "`+name+`"}`), 0o644))
		r.describe(path, `{"provider": {"accountId": "`+accounts[0].ID+`"}}`)
	}
	r.once()
	s, err := r.engine.Status("")
	must(t, err)
	if s.Counts[store.Held] != 1 || s.Counts[store.Delivered] != 5 || s.Libraries[0].State != "ok" {
		t.Errorf("%v, library %+v", s.Counts, s.Libraries[0])
	}
}

// A postbox that calls every push pending has words of its own, and does not
// cost a refresh every few minutes.
func TestPostboxThatStaysPending(t *testing.T) {
	r := newRig(t, func(f *Folder) { f.Push = PushPostbox }, "alice")
	token := r.api.NewUser("postbox", time.Hour, 24*time.Hour)
	var named struct{ User struct{ ID string } }
	must(t, json.Unmarshal(token, &named))
	must(t, r.vault.Save("alice", token))
	id, pem, err := r.api.Postbox(named.User.ID)
	must(t, err)
	key, err := digime.ParsePublicKey([]byte(pem))
	must(t, err)
	r.libs["alice"] = Library{Name: "alice", Contract: digime.Contract{ID: "postbox", Key: contractKey(), RedirectURI: "http://localhost/"},
		Postbox: &digime.PostboxAddress{ID: id, Key: key}}
	r.restart()
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPostbox, Do: sandbox.DoAnswer, Status: 200, Type: "application/json", Body: `{"status":"pending","expires":1}`, AfterBody: true, Count: 2})
	path := r.drop("alice", "one.txt", "one")
	r.once()
	f := r.state(path)
	if f.State != store.Retrying || f.Code != digime.StatusPending || !strings.Contains(f.Reason, "pending") || strings.Contains(f.Reason, "not accepted") ||
		!strings.Contains(f.Hint, "authorize alice") || time.Until(*f.NextAttempt) < pendingRetry-5*time.Minute {
		t.Errorf("%+v", f)
	}
	must(t, r.engine.Submit(t.Context(), path, false))
	r.once()
	if f := r.state(path); f.State != store.Delivered {
		t.Errorf("%+v", f)
	}
}
