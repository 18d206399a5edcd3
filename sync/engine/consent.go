package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
)

// Consent of libraries to which nothing is pushed for long is kept alive by a
// refresh now and then, and its end is said days ahead.
const (
	consentTick   = time.Minute         // how often it is looked whether it is time to
	consentLook   = time.Hour           // how often tokens are looked at, give or take a quarter
	keepAliveFrom = 10 * 24 * time.Hour // before a refresh token ends
)

// warnings are how many days before its end a consent's end is said.
var warnings = []int{14, 7, 1}

// upkeep is what was done about one library's consent, in this process.
type upkeep struct {
	tried  time.Time // the last refresh for its own sake
	warned int       // the narrowest of the warnings that was said, in days; 0 none
	ends   int64     // the end that was warned of, Unix seconds
}

// consent looks after all tokens until ctx ends.
func (e *Engine) consent(ctx context.Context) error {
	known := map[string]*upkeep{}
	var next time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(consentTick/2 + rand.N(consentTick)): // a fleet that starts at once does not ask at once
		}
		now := time.Now()
		if !lookDue(next, now) {
			continue
		}
		next = now.Add(consentLook*3/4 + rand.N(consentLook/2))
		if err := e.storeFault(e.consentOnce(ctx, known, now)); err != nil {
			return err
		}
	}
}

// lookDue says whether it is time for a look that was planned for next, by the
// wall's clock: a machine that sleeps most of the day must not sleep through a
// consent's end. A plan that lies far off was made before the clock was set.
func lookDue(next, now time.Time) bool {
	left := -wallSince(next, now)
	return left <= 0 || left > 2*consentLook
}

// consentOnce does what is due about each library's consent. Its error is a
// fault of the store.
func (e *Engine) consentOnce(ctx context.Context, known map[string]*upkeep, now time.Time) error {
	names, err := e.Vault.List()
	if err != nil {
		e.Log.Warn("tokens could not be listed", "err", err)
	}
	if len(names) == 0 {
		return nil
	}
	// One small request says whether it is any use to ask for the sake of many
	// libraries, and what time it is for the service.
	reached := e.Client.Reach(ctx) == nil
	now = e.serverTime(now)
	for _, name := range names {
		lib, ok := e.libraryOf(name)
		if !ok {
			continue // not of this configuration
		}
		if known[name] == nil {
			known[name] = &upkeep{}
		}
		if err := e.lookAfter(ctx, lib, known[name], now, reached); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) lookAfter(ctx context.Context, lib Library, k *upkeep, now time.Time, reached bool) error {
	tok, err := e.token(lib.Name)
	if err != nil || tok.Unverified != nil {
		return nil // the push that needs it says so, and verifyKept sees to it
	}
	if reached && keepAliveDue(tok, k.tried, now) {
		k.tried = now
		_, err := e.Refresh(ctx, lib, func(t digime.Token) bool { return t.Refresh == tok.Refresh })
		var api *digime.Error
		switch {
		case err == nil:
			return nil // looked at again with its new end the next time
		case errors.As(err, &api) && api.Class == digime.ConsentGone:
			e.Log.Warn("the consent for a library has ended", "library", lib.Name, "code", api.Code)
		default:
			e.Log.Warn("a token could not be kept alive, it is tried again", "library", lib.Name)
		}
	}
	if k.ends != tok.Refresh.Expiry {
		k.ends, k.warned = tok.Refresh.Expiry, 0
	}
	days := warningDue(tok, now)
	if days == 0 || k.warned != 0 && days >= k.warned {
		return nil // nothing new, though the clock was set back meanwhile
	}
	k.warned = days
	e.Log.Warn("the consent for a library ends soon", "library", lib.Name, "ends", time.Unix(tok.Refresh.Expiry, 0), "hint", ConsentHint(lib.Name))
	return e.Store.Audit("consent ends soon", store.File{Library: lib.Name})
}

// keepAliveDue says whether a refresh token that nobody uses should be renewed:
// from ten days before its end, ever more often towards it.
func keepAliveDue(t digime.Token, tried, now time.Time) bool {
	left := time.Unix(t.Refresh.Expiry, 0).Sub(now)
	pause := min(max(left/3, consentLook), 24*time.Hour)
	since := wallSince(tried, now)
	return left > 0 && left < keepAliveFrom && (since < 0 || since >= pause)
}

// warningDue returns the narrowest warning that the time to the consent's end
// is within, in days; 0 for none.
func warningDue(t digime.Token, now time.Time) int {
	left := time.Unix(t.Refresh.Expiry, 0).Sub(now)
	due := 0
	for _, days := range warnings {
		if left < time.Duration(days)*24*time.Hour {
			due = days
		}
	}
	return due
}

// libraryOf returns the library, with the contract, that a token is for: one that
// is listed, or that a folder's contract makes possible without.
func (e *Engine) libraryOf(name string) (Library, bool) {
	if lib, ok := e.Libraries[name]; ok {
		return lib, true
	}
	if library, read := TokenLibrary(name); read {
		if lib := e.Libraries[library]; lib.Read != nil {
			return Library{Name: name, Contract: *lib.Read}, true
		}
		return Library{}, false
	}
	for i := range e.Folders {
		f := &e.Folders[i]
		if f.Contract != nil && (f.Library == name || f.Library == BySubfolder) && !strings.Contains(name, "/") {
			return Library{Name: name, Contract: *f.Contract}, true
		}
	}
	return Library{}, false
}
