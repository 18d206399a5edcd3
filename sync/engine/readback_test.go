package engine

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
)

func unheard(digime.FileList) {}

// content fetches a file of a reading.
func content(t *testing.T, r *Reading, name string) string {
	t.Helper()
	var got bytes.Buffer
	_, err := r.Fetch(t.Context(), name, 1<<20, func() (io.Writer, error) { got.Reset(); return &got, nil })
	must(t, err)
	return got.String()
}

func TestReadWaitsUntilTheListIsWhole(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.readable("alice")
	for _, text := range []string{"one", "two"} {
		r.pushed("alice", text, described("acc-alice", text))
	}
	var states []string
	reading, err := r.engine.Read(t.Context(), r.libs["alice"], func(l digime.FileList) { states = append(states, l.State) })
	must(t, err)
	if !slices.Equal(states, []string{"pending", "running", "completed"}) || len(reading.List.Files) != 2 {
		t.Errorf("states %v, list %+v", states, reading.List)
	}
	if a, b := content(t, reading, reading.List.Files[0].Name), content(t, reading, reading.List.Files[1].Name); a != "one" || b != "two" {
		t.Errorf("contents %q, %q", a, b)
	}
}

// A token that has expired is refreshed and saved; what fails in passing is
// tried again.
func TestReadRefreshesAndRepeats(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.readable("alice")
	r.pushed("alice", "one", described("acc-alice", "one"))
	before, err := r.vault.Load(ReadToken("alice"))
	must(t, err)
	r.api.ExpireAccess(r.users["alice"])
	for _, kind := range []string{sandbox.ReqTrigger, sandbox.ReqList, sandbox.ReqFile} {
		r.api.Fail(sandbox.Fault{Kind: kind, Do: sandbox.DoRefuse, Status: 503, Count: 2})
	}
	reading, err := r.engine.Read(t.Context(), r.libs["alice"], unheard)
	must(t, err)
	if got := content(t, reading, reading.List.Files[0].Name); got != "one" {
		t.Errorf("%q", got)
	}
	after, err := r.vault.Load(ReadToken("alice"))
	must(t, err)
	if bytes.Equal(before, after) {
		t.Error("the refreshed token was not saved")
	}
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqFile, Do: sandbox.DoRefuse, Status: 503, Count: -1})
	_, err = reading.Fetch(t.Context(), reading.List.Files[0].Name, 1<<20, func() (io.Writer, error) { return io.Discard, nil })
	var api *digime.Error
	if !errors.As(err, &api) || api.Class != digime.Passing {
		t.Errorf("a service that stays away: %v", err)
	}
}

func TestReadNeedsContractAndConsent(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.readable("alice")
	var usage *UsageError
	if _, err := r.engine.Read(t.Context(), Library{Name: "alice"}, unheard); !errors.As(err, &usage) || !strings.Contains(usage.Hint, "read_contract") {
		t.Errorf("no contract: %v", err)
	}
	must(t, r.vault.Remove(ReadToken("alice")))
	if _, err := r.engine.Read(t.Context(), r.libs["alice"], unheard); !errors.As(err, &usage) || usage.Hint != "digime-sync authorize alice --read" {
		t.Errorf("no token: %v", err)
	}
}

// A session that ends while files are fetched is followed by another; a file
// that is not there is no reason for one.
func TestReadOutlivesItsSession(t *testing.T) {
	r := newRig(t, nil, "alice")
	var ended atomic.Value // the session that has
	var triggers atomic.Int32
	ended.Store("none")
	r.server.Close()
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasSuffix(req.URL.Path, "/trigger") {
			triggers.Add(1)
		}
		if strings.Contains(req.URL.Path, ended.Load().(string)) {
			http.Error(w, `{"error":{"code":"InvalidSession"}}`, http.StatusNotFound)
			return
		}
		r.api.ServeHTTP(w, req)
	}))
	r.readable("alice")
	r.pushed("alice", "one", described("acc-alice", "one"))
	reading, err := r.engine.Read(t.Context(), r.libs["alice"], unheard)
	must(t, err)
	ended.Store(reading.session)
	if got := content(t, reading, reading.List.Files[0].Name); got != "one" || triggers.Load() != 2 {
		t.Errorf("%q after %d sessions", got, triggers.Load())
	}
	_, err = reading.Fetch(t.Context(), "nothing", 1, func() (io.Writer, error) { return io.Discard, nil })
	var api *digime.Error
	if !errors.As(err, &api) || api.Status != http.StatusNotFound || triggers.Load() != 2 {
		t.Errorf("a file that is not there: %v, %d sessions", err, triggers.Load())
	}
}

func TestPaceOfAReading(t *testing.T) {
	now := time.Now()
	p := pace{wait: firstPause}
	list := digime.FileList{State: digime.ReadPending}
	var waits []time.Duration
	for i := range 5 {
		changed, wait, patient := p.next(now, list)
		if changed != (i == 0) || !patient {
			t.Errorf("question %d: changed %v, patient %v", i, changed, patient)
		}
		waits = append(waits, wait)
	}
	if want := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second}; !slices.Equal(waits, want) {
		t.Errorf("waits %v, want %v", waits, want)
	}
	if _, _, patient := p.next(now.Add(readPatience), list); patient {
		t.Error("it waits for ever")
	}
	list.Files = append(list.Files, digime.RemoteFile{})
	if changed, _, patient := p.next(now.Add(readPatience), list); !changed || !patient {
		t.Error("another file is no change")
	}
	if _, _, patient := p.next(now.Add(2*readPatience-1), list); !patient {
		t.Error("its patience is not that from the last change")
	}
}

// The token of a read contract is kept alive too.
func TestReadTokenIsKeptAlive(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.readable("alice")
	before, err := r.vault.Load(ReadToken("alice"))
	must(t, err)
	must(t, r.engine.consentOnce(t.Context(), map[string]*upkeep{}, time.Now()))
	after, err := r.vault.Load(ReadToken("alice"))
	must(t, err)
	if bytes.Equal(before, after) {
		t.Error("a refresh token that ends in a day was not renewed")
	}
}
