package engine

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
)

func TestDeadConsentHoldsItsLibraryAlone(t *testing.T) {
	r := newRig(t, nil, "alice", "bob")
	r.api.ExpireAccess(r.users["alice"])
	r.api.KillRefresh(r.users["alice"])
	r.start()
	one := r.drop("alice", "one.txt", "one")
	f := r.untilState(one, store.Held)
	if !strings.Contains(f.Hint, "token import alice") || f.Code != "InvalidToken" {
		t.Errorf("%+v", f)
	}
	r.until("note", func() bool { return exist(one + NoteSuffix) })
	two := r.drop("alice", "two.txt", "two")
	r.untilState(two, store.Held)
	r.untilState(r.drop("bob", "other.txt", "bob's"), store.Delivered)

	r.consent("alice", time.Hour)
	r.untilState(one, store.Delivered)
	r.untilState(two, store.Delivered)
	r.until("no note", func() bool { return !exist(one + NoteSuffix) })
	for _, d := range r.api.Deliveries() {
		if d.Size == 3 && d.User != r.users["alice"] {
			t.Errorf("alice's file went to %s", d.User)
		}
	}
}

func TestNoTokenIsHeldUntilThereIsOne(t *testing.T) {
	r := newRig(t, nil, "alice")
	must(t, r.vault.Remove("alice"))
	r.start()
	path := r.drop("alice", "one.txt", "one")
	if f := r.untilState(path, store.Held); !strings.Contains(f.Reason, "no consent") {
		t.Errorf("%+v", f)
	}
	r.consent("alice", time.Hour)
	r.untilState(path, store.Delivered)
}

func TestRefusedFileWaitsForACorrection(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 415, Code: "NoSuchType", Message: "what is this?"})
	path := r.drop("alice", "one.txt", "one")
	r.start()
	f := r.untilState(path, store.Refused)
	if f.Code != "NoSuchType" || f.Message != "what is this?" {
		t.Errorf("%+v", f)
	}
	r.until("note", func() bool { return exist(path + NoteSuffix) })
	note, err := os.ReadFile(path + NoteSuffix)
	must(t, err)
	for _, want := range []string{"one.txt has not been delivered", "NoSuchType what is this?", "Since:", "What to do:"} {
		if !strings.Contains(string(note), want) {
			t.Errorf("the note lacks %q:\n%s", want, note)
		}
	}
	r.describe(path, `{"mimeType": "text/html", "accounts": [{"accountId": "acc-alice"}]}`)
	r.untilState(path, store.Delivered)
	r.until("no note", func() bool { return !exist(path + NoteSuffix) })
}

// Configuration errors hold the library, with the setting to look at.
func TestWrongContractHoldsTheLibrary(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 403, Code: "InsufficientScope", Count: -1})
	path := r.drop("alice", "one.txt", "one")
	r.once()
	if f := r.state(path); f.State != store.Held || !strings.Contains(f.Hint, "contract write") {
		t.Errorf("%+v", f)
	}
}

func TestRetryAfterHoldsTheWholeLibrary(t *testing.T) {
	r := newRig(t, nil, "alice", "bob")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, User: r.users["alice"], Do: sandbox.DoRefuse, Status: 429, RetryAfter: "3600"})
	var alices []string
	for i := range 3 {
		alices = append(alices, r.drop("alice", fmt.Sprint(i, ".txt"), fmt.Sprint(i)))
	}
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, User: r.users["alice"], Do: sandbox.DoRefuse, Status: 429, RetryAfter: "3600", Count: 3})
	bobs := r.drop("bob", "b.txt", "bob's")
	r.start()
	r.untilState(bobs, store.Delivered)
	var f FileStatus
	r.until("one of alice's was answered", func() bool { // whichever was queued first
		return slices.ContainsFunc(alices, func(path string) bool {
			f = r.state(path)
			return f.State == store.Retrying
		})
	})
	if f.NextAttempt == nil || time.Until(*f.NextAttempt) < 50*time.Minute {
		t.Errorf("next attempt %v", f.NextAttempt)
	}
	if want := askedToWait(*f.NextAttempt); !strings.Contains(f.Reason, want) {
		t.Errorf("reason %q, want %q", f.Reason, want)
	}
	behind := r.drop("alice", "behind.txt", "behind")
	r.until("a file behind says what it waits for", func() bool {
		f := r.state(behind)
		return f.State == store.Queued && strings.HasPrefix(f.Reason, "digi.me asked to wait until") && f.NextAttempt != nil && time.Until(*f.NextAttempt) > 50*time.Minute
	})
	r.untilState(r.drop("bob", "c.txt", "bob's second"), store.Delivered)
	if n := len(r.api.Deliveries()); n != 2 {
		t.Errorf("%d deliveries, want bob's alone", n)
	}
}

// What answers at a wrong address says nothing about the file: the library is
// held, and the files go once the address is right.
func TestWrongAddressRefusesNoFile(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoAnswer, Status: 404, Type: "text/plain", Body: "404 page not found\n"})
	path := r.drop("alice", "one.txt", "one")
	r.once()
	if f := r.state(path); f.State != store.Held || !strings.Contains(f.Hint, "api.base_url") {
		t.Fatalf("%+v", f)
	}
	r.restart()
	r.once()
	if f := r.state(path); f.State != store.Delivered {
		t.Errorf("%+v", f)
	}
}

// A person who pushes a held file by name is told what became of it now.
func TestSubmitTriesAHeldLibrary(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 403, Code: "InsufficientScope"})
	path := r.drop("alice", "one.txt", "one")
	r.start()
	r.until("held until its next attempt", func() bool {
		f := r.state(path)
		return f.State == store.Held && f.NextAttempt != nil && time.Until(*f.NextAttempt) > time.Minute
	})
	must(t, r.engine.Submit(t.Context(), path, false))
	f, err := r.engine.Outcome(t.Context(), path)
	if err != nil || f.State != store.Delivered {
		t.Errorf("%+v, %v", f, err)
	}
}

// Pushes that were under way when the library was held do not end the hold:
// it would hold on in silence.
func TestHoldIsSaidThoughPushesBesideItSucceed(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 403, Code: "InsufficientScope"})
	for i := range 12 {
		r.drop("alice", fmt.Sprint(i, ".txt"), fmt.Sprint("file ", i))
	}
	r.once()
	s, err := r.engine.Status("")
	must(t, err)
	if s.Libraries[0].State != "held" || s.Counts[store.Held] == 0 || s.Counts[store.Queued] != 0 {
		t.Errorf("%v, library %+v", s.Counts, s.Libraries[0])
	}
	r.restart()
	r.once()
	if s, err = r.engine.Status(""); err != nil || s.Counts[store.Delivered] != 12 || s.Libraries[0].State != "ok" {
		t.Errorf("after the restart: %v, library %+v, %v", s.Counts, s.Libraries, err)
	}
}
