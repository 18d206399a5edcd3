package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
)

// failed sorts out what a broken push means, for the file and for its lane.
func (p *push) failed(err error, api *digime.Error) {
	f := p.file
	if api != nil {
		p.outcome.note(api)
	}
	if api != nil && api.Doubt {
		p.doubt(err, api)
		return
	}
	f.Begun, f.Released = false, false
	if api == nil {
		p.unsent(f, err)
		return
	}
	f.Code, f.Message = api.Code, api.Message
	if api.Unsure {
		f.Doubtful = true
		defer func() {
			p.outcome.fault = errors.Join(p.outcome.fault, p.engine.Store.Audit(store.EventGateway, p.file))
		}()
	}
	switch api.Class {
	case digime.Changed:
		if systemSays(err) && !inUse(err) { // it is gone, or cannot be read
			p.outcome.fault = p.engine.lookFailed(p.folder, f, err)
			return
		}
		p.engine.watcher.Look(f.Folder, f.Path)
		due := time.Now().Add(p.folder.Settle + time.Second)
		if inUse(err) {
			p.deferTo(f, store.Retrying, openElsewhere, closeIt, due)
			return
		}
		p.deferTo(f, store.Queued, "the file changed while it was sent", "", due)
	case digime.Refused:
		p.outcome.answers = true
		v := &verdict{state: store.Refused, reason: said(api), code: api.Code, message: api.Message, depends: dependsOnService,
			hint: "correct the file or its sidecar; it is pushed again when either changes, or with: digime-sync push " + f.Path}
		p.outcome.fault = p.answered(f, func() error { return p.engine.settleVerdict(f, v) })
	case digime.Malformed:
		p.malformed(f, api)
	default:
		p.laneFailed(f, api)
	}
}

// clockHold holds the library where requests are called malformed because of
// the clock: a wrong one makes that of every request. It is tried every minute.
func (p *push) clockHold(f store.File, api *digime.Error) bool {
	now := time.Now()
	if skew, ok := p.engine.Client.Skew(); ok && skew.Abs() > clockTolerance {
		hold := store.Hold{Library: f.Library, Code: api.Code, Message: api.Message, Since: now,
			Reason: "digi.me refuses requests because of this machine's clock, which is " + clockWords(skew),
			Hint:   "set this machine's clock; the files go by themselves within a minute then"}
		p.holdLane(f, hold, now.Add(time.Minute))
		return true
	}
	return false
}

// malformed handles a request that was called malformed twice, each time with
// a fresh signature: if that is not the clock, this file alone is held.
func (p *push) malformed(f store.File, api *digime.Error) {
	if p.clockHold(f, api) {
		return
	}
	p.outcome.answers = true
	p.deferTo(f, store.Held, said(api), "check the sidecar; it is tried again in an hour, or with: digime-sync push "+f.Path, time.Now().Add(heldRetry))
	p.outcome.fault = errors.Join(p.outcome.fault, p.engine.noteOf(f.Path))
}

// holdLane holds the file's library; until is when it is tried all the same,
// zero for never.
func (p *push) holdLane(f store.File, hold store.Hold, until time.Time) {
	hold.Until = until
	p.outcome.hold, p.outcome.after = &hold, until
	p.deferTo(f, store.Held, hold.Reason, hold.Hint, time.Now())
	p.outcome.fault = errors.Join(p.outcome.fault, p.engine.noteOf(f.Path))
}

// holdFile holds this file alone, for what does not concern the library's other
// files: its account at a provider.
func (p *push) holdFile(f store.File, reason, hint string) {
	p.deferTo(f, store.Held, reason, hint+"; it is tried again every few minutes", time.Now().Add(fileRetry))
	p.outcome.fault = errors.Join(p.outcome.fault, p.engine.noteOf(f.Path))
}

// said is what went wrong in plain words, without the step, which the reader
// knows.
func said(api *digime.Error) string { return strings.TrimPrefix(api.Error(), api.Op+": ") }

// unsent handles what is neither the service's nor the file's doing: we stop,
// the path has other content by now, or the store failed before the last chunk.
func (p *push) unsent(f store.File, err error) {
	switch {
	case errors.Is(err, errStopping), errors.Is(err, context.Canceled):
		p.deferTo(f, store.Queued, "", "", time.Now())
	case errors.Is(err, store.ErrNotPushing): // its new content has its own place in the queue
	default:
		p.outcome.fault = err
	}
}

// laneFailed handles the errors that are about the destination, not the file.
func (p *push) laneFailed(f store.File, api *digime.Error) {
	e, now := p.engine, time.Now()
	if p.folder.Push == PushProvider && api.Class == digime.Reauthorize {
		p.outcome.answers = true
		p.holdFile(f, said(api), "let the person authorize the account at the provider again: "+ConsentHint(f.Library))
		return
	}
	if api.Class == digime.Malformed && p.clockHold(f, api) { // of a refresh
		return
	}
	if api.Answer != "" {
		p.holdLane(f, e.unverifiedHold(f.Library, api), now.Add(laneRetry)) // goes as soon as there is another token
		return
	}
	if hold, ok := e.holdFor(p.desc.library, api); ok {
		var until time.Time
		if api.Class != digime.ConsentGone {
			until = now.Add(laneRetry)
		}
		p.holdLane(f, hold, until)
		return
	}
	p.outcome.failed = true
	if api.RetryAfter > 0 {
		p.outcome.after = now.Add(spread(api.RetryAfter))
	}
	hint, reason := passingHint(api), said(api)
	if api.RetryAfter > 0 {
		reason += "; " + askedToWait(p.outcome.after)
		p.outcome.asked = true
	}
	if api.Code == digime.StatusPending { // with a fresh token, too
		p.outcome.after = now.Add(pendingRetry)
		hint = "nothing to do: it is tried again by itself; if it stays so for days, " + ConsentHint(f.Library)
	}
	why := api.Code
	if api.Status == 0 {
		why = said(api) // of the network: these words are ours, and hold no names
	}
	e.Log.Warn("push failed, it is tried again", e.file(f.Path), "library", f.Library, "status", api.Status, "why", why, "attempts", f.Attempts)
	due := now.Add(backoff(f.Attempts))
	if p.outcome.after.After(due) {
		due = p.outcome.after
	}
	p.deferTo(f, store.Retrying, reason, hint, due)
}

func askedToWait(until time.Time) string {
	return "digi.me asked to wait until " + until.Local().Format(time.DateTime)
}

// tokenFailed handles an access token that could not be had: nothing was sent.
func (p *push) tokenFailed(ctx context.Context, err error) {
	f := p.file
	f.Begun, f.Released = false, false
	var api *digime.Error
	var refresh *refreshError
	if errors.As(err, &refresh) {
		p.outcome.stamp = refresh.stamp
	}
	switch {
	case ctx.Err() != nil:
		p.deferTo(f, store.Queued, "", "", time.Now())
	case errors.As(err, &api):
		p.outcome.note(api)
		f.Attempts++
		f.Code, f.Message = api.Code, api.Message
		p.laneFailed(f, api)
	case errors.Is(err, fs.ErrPermission):
		p.holdLane(f, store.Hold{Library: f.Library, Since: time.Now(), Reason: "the tokens in the state folder cannot be written, or not be read: " + err.Error(),
			Hint: "let the service read and write " + filepath.Join(p.engine.StateDir, "tokens") + " (its owner, rights and attributes); the files go by themselves within half a minute then"},
			time.Now().Add(shutRetry))
	case passingDisk(err):
		p.outcome.fault = err
	default:
		reason, until := "there is no consent for this library yet", time.Time{}
		switch {
		case errors.Is(err, errNoPostbox):
			reason = err.Error()
		case errors.Is(err, errNoAccount):
			p.holdFile(f, err.Error(), "correct account_reference of the folder's provider:, or give its account_id")
			return
		case !errors.Is(err, errNoToken):
			reason, until = "the token of this library cannot be used: "+tokenFault(err), time.Now().Add(laneRetry)
		}
		hold := consentHold(f.Library, reason)
		hold.Hint = tokenHint(err, f.Library)
		p.holdLane(f, hold, until)
	}
}

// deferTo puts the file back into its queue with what is to be said of it.
func (p *push) deferTo(f store.File, state store.State, reason, hint string, due time.Time) {
	f.State, f.Reason, f.Hint, f.UpdatedAt = state, reason, hint, time.Now()
	if err := p.answered(f, func() error { return p.engine.Store.Defer(f, due) }); err != nil {
		p.outcome.fault = fmt.Errorf("record attempt: %w", err)
	}
	p.file = f
}

// answered records what became of the file. Where the store says that it may
// have been sent, that is held on to.
func (p *push) answered(f store.File, record func() error) error {
	if !p.file.Begun || p.stop == nil {
		return record()
	}
	return p.engine.holdOn(f, p.stop, record)
}

// holdFor returns the hold that an error of the service means for a library,
// if it needs a person.
func (e *Engine) holdFor(lib Library, api *digime.Error) (store.Hold, bool) {
	h := store.Hold{Library: lib.Name, Code: api.Code, Message: api.Message, Since: time.Now()}
	switch api.Class {
	case digime.ConsentGone:
		h = consentHold(lib.Name, said(api))
		h.Code, h.Message = api.Code, api.Message
	case digime.Configuration:
		h.Reason, h.Hint = configurationHold(lib, api)
	case digime.ClientRefused:
		h.Reason, h.Hint = "digi.me does not accept this version of digime-sync any more: "+said(api), "install the newest version"
	case digime.Reauthorize:
		h.Reason, h.Hint = "the account at the provider must be authorized again: "+said(api), "let the person authorize the account again: "+ConsentHint(lib.Name)
	default:
		return store.Hold{}, false
	}
	return h, true
}

// configurationHold says which setting an error is about.
func configurationHold(lib Library, api *digime.Error) (reason, hint string) {
	switch {
	case api.Status == http.StatusProxyAuthRequired:
		return said(api), "put the proxy's user and password into api.proxy; it is tried again every few minutes"
	case api.Code == "":
		return said(api), "check api.base_url and api.proxy: digime-sync check; it is tried again every few minutes"
	}
	return "digi.me does not accept our identity or contract: " + said(api),
		fmt.Sprintf("check application_id, and id and private_key_file of contract %s, in the configuration; it is tried again every few minutes", lib.Contract.ID)
}

// passingHint says whether something can be done about a fault that as a rule
// passes by itself.
func passingHint(api *digime.Error) string {
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.As(api, &untrusted):
		return "if this network reads TLS with a certificate of its own, name that in api.ca_file; else check api.base_url and the clock; it is tried again by itself"
	case strings.Contains(api.Error(), "proxy"):
		return "check api.proxy; it is tried again by itself"
	}
	return "nothing to do: it is tried again by itself"
}

// clockWords says how this machine's clock stands to digi.me's.
func clockWords(skew time.Duration) string {
	if skew < 0 {
		return (-skew).Round(time.Second).String() + " behind digi.me's"
	}
	return skew.Round(time.Second).String() + " ahead of digi.me's"
}
