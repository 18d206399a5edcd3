package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/store/failpoint"
	"github.com/digime-sync/digime-sync/sync/digime"
)

// A refresh token is used up by its refresh, whether or not we can read the
// answer. One that cannot be verified yet, since digi.me signs with a key that its
// key set does not show, or the set cannot be had, is sealed into the vault beside
// the token it was asked for with, and is looked at again until a key fits. Until
// then the used token is not sent again, which services take for theft.
const (
	firstVerify  = time.Second
	lastVerify   = time.Minute
	verifyEnough = 20 * time.Minute // of a key set that comes and does not verify, until the old token is tried after all
)

// renewal is one library's token being renewed, under its lock.
type renewal struct {
	*Engine
	lib   Library
	old   digime.Token
	stamp string // of what the vault holds
}

// run returns the token that takes the old one's place. An answer that is kept
// goes before asking for another.
func (r *renewal) run(ctx context.Context) (digime.Token, error) {
	if r.old.Unverified != nil {
		fresh, err := r.verify(ctx)
		if err == nil || !r.old.Unverified.GivenUp || r.old.Refresh.Value == "" {
			return fresh, err
		}
	}
	fresh, err := r.ask(ctx)
	var api *digime.Error
	if errors.As(err, &api) && api.Answer != "" {
		r.note(api)
	}
	return fresh, err
}

// ask trades the old token for a fresh one.
func (r *renewal) ask(ctx context.Context) (digime.Token, error) {
	graced, left, done := untilLeft(ctx, refreshGrace, func() {
		r.Log.Warn("the stop waits for the answer to a token refresh: it may be the only copy of the consent", "library", r.lib.Name, "at_most", refreshGrace)
	})
	defer done()
	leaving := func() { _ = left() } // a refresh that comes too late has its context ended
	fresh, err := r.Client.Refresh(graced, r.lib.Contract, r.old, leaving, r.keep)
	var api *digime.Error
	if errors.As(err, &api) && api.Lost {
		fresh, err = r.Client.Refresh(graced, r.lib.Contract, r.old, leaving, r.keep)
	}
	return fresh, err
}

// keep writes an answer down that cannot be verified yet.
func (r *renewal) keep(answer digime.Answer) {
	r.old.Unverified = &digime.Unverified{Answer: answer, Came: time.Now()}
	r.hold(r.old)
	if err := r.save(r.old); err != nil {
		r.Log.Error("an answer that cannot be verified yet could not be written down: it is kept in memory", "library", r.lib.Name, "err", err)
		return
	}
	_ = failpoint.Hit("refresh.kept") // only to be killed here
}

// hold keeps a token in memory until the vault has it.
func (r *renewal) hold(t digime.Token) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unsaved[r.lib.Name] = unsaved{t, r.stamp}
	r.kept[r.lib.Name] = t.Unverified != nil
}

func (r *renewal) save(t digime.Token) error {
	if err := r.saveToken(r.lib.Name, t); err != nil {
		return err
	}
	stamp, err := r.Vault.Changed(r.lib.Name)
	if err == nil {
		r.stamp = stamp
	}
	return nil
}

// verify makes a token of the kept answer.
func (r *renewal) verify(ctx context.Context) (digime.Token, error) {
	old, kept := r.old, r.old.Unverified
	fresh, err := r.Client.Verify(ctx, kept.Answer, old)
	if err == nil && kept.Exchanged {
		err = r.whose(fresh)
	}
	var api *digime.Error
	switch {
	case err == nil:
		r.Log.Info("the answer that was kept has been verified", "library", r.lib.Name, "came", kept.Came)
		return fresh, r.audit("kept answer verified")
	case errors.As(err, &api) && api.Answer != "":
		r.note(api)
	case errors.As(err, &api): // it is the service's, and of no use
		kept.GivenUp = true
	}
	return fresh, err
}

// note takes in that a kept answer could not be verified: how long that has been
// so of a key set that came decides whether it is given up.
func (r *renewal) note(api *digime.Error) {
	kept, now := *r.old.Unverified, r.serverTime(time.Now())
	var unreached *digime.Error
	news := false
	switch {
	case errors.As(api.Err, &unreached):
		kept.Refuted = time.Time{}
	case kept.Refuted.IsZero():
		kept.Refuted, news = now, true
	case now.Sub(kept.Refuted) >= verifyEnough && !kept.GivenUp:
		kept.GivenUp = true
		r.Log.Error("a kept answer of digi.me fits no key that it shows, for long: the old token is tried, and the consent may have ended",
			"library", r.lib.Name, "came", kept.Came)
	}
	if kept == *r.old.Unverified {
		return
	}
	r.old.Unverified = &kept
	if err := r.save(r.old); err != nil {
		r.hold(r.old)
	}
	var err error
	switch {
	case kept.GivenUp:
		err = r.audit("kept answer given up")
	case news:
		r.Log.Warn("an answer of digi.me cannot be verified yet; it is kept, and looked at again", "library", r.lib.Name, "why", said(api))
		err = r.audit("answer kept, cannot be verified yet")
	}
	if err != nil {
		r.Log.Warn("the audit log could not be written", "library", r.lib.Name, "err", err)
	}
}

func (r *renewal) audit(event string) error {
	if r.Store == nil { // of a command beside the daemon
		return nil
	}
	return r.storeFault(r.Store.Audit(event, store.File{Library: r.lib.Name}))
}

// errWhose is a consent that was answered, and that only a person can place.
var errWhose = errors.New("whose consent was given cannot be told for sure")

// whose sees to it that a consent which nobody has looked at is not another
// person's than this library's, or one that another library has.
func (r *renewal) whose(fresh digime.Token) error {
	if fresh.UserID == "" {
		return errWhose
	}
	names, err := r.Vault.List()
	if err != nil {
		return fmt.Errorf("%w: %w", errWhose, err)
	}
	mine, _ := TokenLibrary(r.lib.Name)
	for _, name := range names {
		library, _ := TokenLibrary(name)
		if name == r.lib.Name {
			continue
		}
		other, err := r.token(name)
		if err != nil || library == mine && other.UserID != fresh.UserID || library != mine && other.UserID == fresh.UserID {
			return errWhose
		}
	}
	return nil
}

// verifyKept looks at the answers that are kept, again and again until ctx ends.
func (e *Engine) verifyKept(ctx context.Context) error {
	e.findKept()
	for pause := time.Duration(0); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(pause, firstVerify)):
		}
		if pause = min(2*max(pause, firstVerify), lastVerify); !e.verifyAll(ctx) {
			pause = 0
		}
	}
}

// findKept finds the answers that an earlier process has kept.
func (e *Engine) findKept() {
	names, _ := e.Vault.List() // what cannot be read, the guard says
	for _, name := range names {
		_, _ = e.token(name) // notes it
	}
}

// verifyAll looks at each kept answer once, and says whether there were any.
func (e *Engine) verifyAll(ctx context.Context) bool {
	e.mu.Lock()
	names := slices.Sorted(maps.Keys(e.kept))
	e.mu.Unlock()
	for _, name := range names {
		lib, ok := e.libraryOf(name)
		if !ok || ctx.Err() != nil {
			continue
		}
		still := false
		_, err := e.Refresh(ctx, lib, func(t digime.Token) bool {
			still = t.Unverified != nil && !t.Unverified.GivenUp
			return still
		})
		if err == nil && !still {
			e.mu.Lock()
			delete(e.kept, name)
			e.mu.Unlock()
		}
	}
	return len(names) > 0
}

// unverifiedReason is what status says of a library whose answer is kept.
func unverifiedReason(u *digime.Unverified) string {
	what := "digi.me's answer to the token refresh of "
	if u.Exchanged {
		what = "digi.me's answer to the consent of "
	}
	what += u.Came.Local().Format(time.DateTime) + " cannot be verified "
	if u.GivenUp {
		return what + "although digi.me has shown its keys for long: it is kept, and the consent may have ended"
	}
	return what + "yet: it fits no key that digi.me shows. It is kept, and nothing is pushed before it is verified"
}

func unverifiedHint(u *digime.Unverified, library string) string {
	if u.GivenUp {
		return ConsentHint(library)
	}
	return "nothing to do: it is looked at again at least every minute; at once: digime-sync token refresh " + library
}

// unverifiedHold holds a library until its answer is verified.
func (e *Engine) unverifiedHold(library string, api *digime.Error) store.Hold {
	kept := &digime.Unverified{Came: time.Now()}
	if tok, err := e.token(library); err == nil && tok.Unverified != nil {
		kept = tok.Unverified
	}
	return store.Hold{Library: library, Reason: unverifiedReason(kept) + " (" + said(api) + ")", Hint: unverifiedHint(kept, library), Since: time.Now()}
}
