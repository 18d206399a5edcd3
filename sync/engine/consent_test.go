package engine

import (
	"bytes"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
)

func ending(in time.Duration, now time.Time) digime.Token {
	return digime.Token{Refresh: digime.TokenPart{Value: "r", Expiry: now.Add(in).Unix()}}
}

func TestKeepAliveDue(t *testing.T) {
	now := time.Now()
	const day = 24 * time.Hour
	for _, c := range []struct {
		left, since time.Duration
		want        bool
	}{
		{30 * day, 1000 * day, false},
		{9 * day, 1000 * day, true},
		{9 * day, 23 * time.Hour, false}, // a day apart far from the end
		{9 * day, 25 * time.Hour, true},
		{6 * time.Hour, 90 * time.Minute, false},
		{6 * time.Hour, 3 * time.Hour, true},
		{10 * time.Minute, 2 * time.Hour, true},
		{-time.Minute, 1000 * day, false}, // ended: nothing to keep
	} {
		if got := keepAliveDue(ending(c.left, now), now.Add(-c.since), now); got != c.want {
			t.Errorf("%s left, tried %s ago: %v", c.left, c.since, got)
		}
	}
}

func TestWarningDue(t *testing.T) {
	now := time.Now()
	for left, want := range map[time.Duration]int{15: 0, 13: 14, 8: 14, 6: 7, 2: 7, 0: 1, -3: 1} {
		if got := warningDue(ending(left*24*time.Hour+time.Hour, now), now); got != want {
			t.Errorf("%d days left: %d, want %d", left, got, want)
		}
	}
}

// An idle consent near its end is renewed; one that cannot be is said, once for
// each warning.
func TestIdleConsentIsKeptAlive(t *testing.T) {
	r := newRig(t, nil, "alice", "bob")
	var log bytes.Buffer
	r.log = &log
	r.restart()
	save := func(library string) []byte {
		token, err := r.api.NewToken(r.users[library], "write", time.Hour, 5*24*time.Hour)
		must(t, err)
		must(t, r.vault.Save(library, token))
		return token
	}
	old := bytes.Replace(save("alice"), []byte("{"), []byte(`{"postbox":{"id":"B","publicKey":"PEM"},`), 1)
	must(t, r.vault.Save("alice", old)) // with all that a token can hold
	save("bob")
	r.api.KillRefresh(r.users["bob"])
	known := map[string]*upkeep{}
	for range 2 {
		must(t, r.engine.consentOnce(t.Context(), known, time.Now()))
	}
	kept, err := r.vault.Load("alice")
	must(t, err)
	if bytes.Equal(old, kept) {
		t.Error("alice's token was not renewed")
	}
	if n := bytes.Count(log.Bytes(), []byte(`msg="the consent for a library ends soon" library=bob`)); n != 1 {
		t.Errorf("bob's end was said %d times:\n%s", n, log.Bytes())
	}
	said := 0
	must(t, r.store.Close())
	must(t, store.ReadAudit(r.dir+"/state", func(entry store.Entry) error {
		if entry.Event == "consent ends soon" && entry.Library == "bob" {
			said++
		}
		return nil
	}))
	if said != 1 {
		t.Errorf("%d entries in the audit log", said)
	}
	r.open()
}

// A refreshed token that could not be saved is saved later, but never over one
// that somebody has brought meanwhile.
func TestUnsavedTokenGivesWay(t *testing.T) {
	r := newRig(t, nil, "alice")
	stamp, err := r.vault.Changed("alice")
	must(t, err)
	refreshed := digime.Token{Access: digime.TokenPart{Value: "a", Expiry: 2e9}, Refresh: digime.TokenPart{Value: "r", Expiry: 2e9}}
	r.engine.unsaved["alice"] = unsaved{refreshed, stamp}
	if got, err := r.engine.token("alice"); err != nil || got != refreshed || len(r.engine.unsaved) != 0 {
		t.Errorf("%v, %v, %d left", got, err, len(r.engine.unsaved))
	}
	brought := refreshed
	brought.Refresh.Value = "brought"
	must(t, r.engine.saveToken("alice", brought))
	r.engine.unsaved["alice"] = unsaved{refreshed, stamp}
	if got, err := r.engine.token("alice"); err != nil || got != brought {
		t.Errorf("%v, %v", got, err)
	}
}

// A lane that is held for a consent that has ended waits for another token than
// the one its own refresh has saved anew: it does not ask again and again.
func TestHeldLaneWaitsForAnotherToken(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.api.ExpireAccess(r.users["alice"])
	r.api.KillRefresh(r.users["alice"])
	path := r.drop("alice", "one.txt", "one")
	must(t, r.engine.Once(t.Context()))
	f, ok, err := r.store.Get(path)
	if err != nil || !ok || f.State != store.Held {
		t.Fatalf("%+v, %v", f, err)
	}
	o := r.engine.carry(t.Context(), f, func() {})
	stamp, err := r.vault.Changed("alice")
	if err != nil || o.hold == nil || o.stamp != stamp {
		t.Errorf("%+v, stamp %q, %v", o, stamp, err)
	}
}
