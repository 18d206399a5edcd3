package engine

import (
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
)

// How many pushes run at a time: of one library, and in all.
const (
	pushesPerLane = 4
	pushesInAll   = 16
)

// lane is what the drain knows of one library's queue. Only the drain's
// goroutine touches it.
type lane struct {
	name     string
	running  map[string]*flight // by path
	failures int                // passing failures since the destination last answered
	asked    time.Time          // the end of a pause that the service asked for
	paused   time.Time          // nothing starts before
	next     time.Time          // when its first file is due; zero: look into the store
	empty    bool
	held     bool   // by the hold recorded in the store
	stamp    string // the token's, when it was held: another one releases it
	unread   bool   // its token could not be looked at, and the log says so
}

// sayUnread logs once that the token of a held lane cannot be looked at, and once that it can.
func (l *lane) sayUnread(err error, log *slog.Logger) {
	switch unread := err != nil; {
	case unread && !l.unread:
		log.Warn("token cannot be looked at", "library", l.name, "err", err)
	case l.unread && !unread:
		log.Info("token can be looked at again", "library", l.name)
	}
	l.unread = err != nil
}

// ready says whether a push may start now. A lane whose destination failed is
// tried by one file at a time: the probe, not the queue, finds out that it is
// back. That is the next file, not the one that failed: a file that fails for
// its own sake does not stop the others. Nor does one that is silent: it leaves
// its place to another, one at a time, until mostSilent are.
func (l *lane) ready(now time.Time) bool {
	most, silent := pushesPerLane, l.silent()
	if l.failures > 0 || silent > 0 {
		most = 1
	}
	return !l.held && !l.empty && len(l.running)-silent < most && silent < mostSilent && !now.Before(l.paused) && !now.Before(l.next)
}

// wait returns when ready may turn true without anything else happening,
// zero if never.
func (l *lane) wait() time.Time {
	if l.held || l.empty || len(l.running) > 0 {
		return time.Time{}
	}
	if l.paused.After(l.next) {
		return l.paused
	}
	return l.next
}

// outcome is what a push says to the drain about its lane.
type outcome struct {
	path    string
	lane    string
	answers bool        // the destination works
	failed  bool        // it does not, in passing
	after   time.Time   // Retry-After's end, zero if it gave none
	asked   bool        // after is what the service asked for
	hold    *store.Hold // it needs a person
	stamp   string      // with hold: the token's stamp before the push
	fault   error       // of the store

	reached   bool          // the host has answered, whatever it said
	unreached *digime.Error // a fault of the host, or of the way to it
	round     int           // of trust in the host in which the push began
}

// note takes in what an error of the service says of its host.
func (o *outcome) note(api *digime.Error) {
	switch {
	case api.Host:
		o.unreached = api
	case api.Status != 0:
		o.reached = true
	}
}

// spread adds some chance to a time that the service has asked many to wait
// for, so that they do not all come back in the same second.
func spread(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d + rand.N(min(max(d/10, time.Second), lastBackoff))
}

// learn takes in an outcome.
func (l *lane) learn(o outcome, now time.Time) {
	delete(l.running, o.path)
	l.next, l.empty = time.Time{}, false
	switch {
	case o.hold != nil:
		l.held, l.stamp = true, o.stamp
	case l.held: // a push that began before the hold says nothing about it
		return
	case o.failed:
		l.failures++
		l.paused = now.Add(backoff(l.failures))
	case o.answers:
		l.failures, l.paused = 0, time.Time{}
	}
	if o.after.After(l.paused) {
		l.paused = o.after
		if o.asked {
			l.asked = o.after
		}
	}
}

// Backoff between attempts: doubling from the first, up to the last.
const (
	firstBackoff = time.Second
	lastBackoff  = 5 * time.Minute
)

// backoff returns how long to wait after the nth failure in a row: doubled each
// time, of which half is chance, so that a fleet does not come back at once.
func backoff(n int) time.Duration {
	d := lastBackoff
	if n < 1 {
		n = 1
	}
	if n < 20 {
		d = min(firstBackoff<<(n-1), lastBackoff)
	}
	return d/2 + rand.N(d/2+1)
}
