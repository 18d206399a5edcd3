package engine

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
)

// A wrong clock looks like malformed requests. It holds the library, is said,
// and once it is right the files go by themselves.
func TestWrongClockHoldsAndIsSaid(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.api.SetSkew(time.Hour)
	path := r.drop("alice", "one.txt", "one")
	r.once()
	f := r.state(path)
	if f.State != store.Held || !strings.Contains(f.Hint, "set this machine's clock") {
		t.Fatalf("%+v", f)
	}
	s, err := r.engine.Status("")
	must(t, err)
	words, found := strings.CutSuffix(s.ClockSkew, " behind digi.me's")
	if d, err := time.ParseDuration(words); !found || err != nil || (d-time.Hour).Abs() > 5*time.Minute {
		t.Errorf("clock_skew %q, %v", s.ClockSkew, err)
	}
	r.api.SetSkew(0)
	r.restart()
	r.once()
	if f := r.state(path); f.State != store.Delivered {
		t.Errorf("%+v", f)
	}
}

func TestClockJumps(t *testing.T) {
	wall, up := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC), time.Duration(0)
	var c clock
	if got := c.jump(wall, up); got != 0 {
		t.Errorf("the first look jumped by %s", got)
	}
	const year = 365 * 24 * time.Hour
	for _, jump := range []time.Duration{0, time.Hour, -time.Hour, year, -year, 30 * time.Second, 0, -30 * time.Second} {
		wall, up = wall.Add(lookEvery+jump), up+lookEvery
		want := jump
		if jump.Abs() < jumpFrom {
			want = 0
		}
		if got := c.jump(wall, up); got != want {
			t.Errorf("%s was seen as %s", jump, got)
		}
	}
}

// However the clock is set, and however long the machine sleeps, no lane waits
// for longer than it was told to in waking time, and none starts a storm.
func TestLanesAfterAJump(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, shift := range []time.Duration{time.Hour, -time.Hour, year, -year} {
		now := time.Now()
		failing := &lane{name: "a", failures: 3, paused: now.Add(4 * time.Second), next: now.Round(0).Add(year), empty: true}
		asked := &lane{name: "b", failures: 1, paused: now.Add(2 * time.Hour)} // by Retry-After
		d := &drainer{engine: &Engine{host: newHost()}, lanes: map[string]*lane{"a": failing, "b": asked}}
		d.engine.host.failed(0, away, "", now)
		d.engine.host.startProbe(now)
		d.engine.host.probed(away, "", now)
		d.jumped(shift, now)
		if !failing.next.IsZero() || failing.empty {
			t.Errorf("%s: the store is not asked anew: %+v", shift, failing)
		}
		wait := asked.wait().Sub(now)
		if want := 2*time.Hour - max(shift, 0); wait != want {
			t.Errorf("%s: waits for %s, want %s", shift, wait, want)
		}
		if failing.failures != 3 || failing.paused.After(now.Add(4*time.Second)) {
			t.Errorf("%s: %+v", shift, failing)
		}
		if probe := d.engine.host.startProbe(now); probe != (shift > 0) { // it may have slept
			t.Errorf("%s: a probe at once: %v", shift, probe)
		}
	}
}

// A file that was deferred before the clock went back an hour, or a year, does
// not wait for that.
func TestDeferredFileAfterTheClockWentBack(t *testing.T) {
	for _, back := range []time.Duration{time.Hour, 365 * 24 * time.Hour} {
		r := newRig(t, nil, "alice")
		r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 503})
		path := r.drop("alice", "one.txt", "one")
		r.once()
		f, ok, err := r.store.Get(path)
		if err != nil || !ok || f.State != store.Retrying {
			t.Fatalf("%+v, %v", f, err)
		}
		then := time.Now().Add(back) // what the clock said when it was deferred
		f.UpdatedAt = then
		must(t, r.store.Defer(f, then.Add(lastBackoff)))
		r.restart()
		r.start()
		r.untilState(path, store.Delivered)
	}
}

func TestConsentIsLookedAtByTheWallsClock(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		next time.Time
		want bool
	}{
		{time.Time{}, true}, {now, true}, {now.Add(-time.Hour), true},
		{now.Add(time.Minute), false}, {now.Add(time.Hour), false},
		{now.Add(365 * 24 * time.Hour), true}, // the clock went back
	} {
		if got := lookDue(c.next, now); got != c.want {
			t.Errorf("%s from now: %v", c.next.Sub(now), got)
		}
	}
	// The machine slept through the pause, in which timers stand still: then has
	// no monotonic reading here, as if it were of another one.
	token, tried := ending(9*24*time.Hour, now), now.Round(0).Add(-25*time.Hour)
	if !keepAliveDue(token, tried, now) || !keepAliveDue(token, now.Add(365*24*time.Hour), now) {
		t.Error("a consent is not kept alive after a sleep, or after the clock was set back")
	}
}

// By a clock that is a year off, every token has ended or none ever will. It is
// judged by the service's, and no push has its token renewed for nothing.
func TestTokensAreJudgedByTheServicesClock(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, shift := range []time.Duration{time.Hour, -time.Hour, year, -year} {
		r := newRig(t, nil, "alice")
		r.api.SetSkew(shift)
		for range 2 { // of the first the clock is learnt
			r.consent("alice", time.Hour)
			must(t, r.engine.Client.Reach(t.Context()))
		}
		before, err := r.vault.Load("alice")
		must(t, err)
		for range 5 {
			if _, err := r.engine.access(t.Context(), r.libs["alice"], ""); err != nil {
				t.Fatal(err)
			}
		}
		after, err := r.vault.Load("alice")
		must(t, err)
		if !bytes.Equal(before, after) {
			t.Errorf("%s off: a good token was renewed", shift)
		}
		token, err := r.api.NewToken(r.users["alice"], "write", time.Hour, 3*24*time.Hour)
		must(t, err)
		must(t, r.vault.Save("alice", token))
		known := map[string]*upkeep{"alice": {tried: time.Now()}}
		must(t, r.engine.consentOnce(t.Context(), known, time.Now()))
		if got := known["alice"].warned; got != 7 {
			t.Errorf("%s off: a consent good for 3 days was warned of for %d", shift, got)
		}
	}
}

// Where nothing tells the service's clock, a token that has only just come is
// good, whatever the clock says.
func TestWrongClockRenewsOnce(t *testing.T) {
	r := newRig(t, nil, "alice")
	old := digime.Token{Access: digime.TokenPart{Value: "a", Expiry: time.Now().Add(-time.Hour).Unix()}}
	if r.engine.usable("alice", old, "") {
		t.Error("an old token is good")
	}
	r.engine.refreshed["alice"] = time.Now()
	if !r.engine.usable("alice", old, "") || r.engine.usable("alice", old, "a") {
		t.Error("a new one is not, or is although it was rejected")
	}
}

// A warning that was said is not said again because the clock was set back.
func TestWarningsAreNotRepeated(t *testing.T) {
	r := newRig(t, nil, "alice")
	token, err := r.api.NewToken(r.users["alice"], "write", time.Hour, 13*24*time.Hour)
	must(t, err)
	must(t, r.vault.Save("alice", token))
	var log bytes.Buffer
	r.log = &log
	r.restart()
	k, now := &upkeep{}, time.Now()
	for _, days := range []int{0, 0, 7, 0, 7, 12, 0, 12} { // from now
		must(t, r.engine.lookAfter(t.Context(), r.libs["alice"], k, now.AddDate(0, 0, days), false))
	}
	if n := strings.Count(log.String(), "ends soon"); n != 3 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
}
