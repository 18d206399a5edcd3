package engine

import (
	"sync"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
)

const (
	widenEvery   = 5 * time.Second // while pushes begin again, without a fault
	longestTrial = time.Minute     // between trials of a host that answers probes and takes no push
	mostInVain   = 20              // faults in a row that end a single pass
)

// host is what is known of the API's host and of the way to it. Once a push has
// met a fault of the host, nothing is pushed before a probe, one small request
// at a time, has found out that it answers: however many libraries wait, and
// without an attempt of any file. Then pushes begin again by one, and double
// while all is well.
//
// It decides and does nothing itself: the drain asks it what to do now, and
// tells it what became of that.
type host struct {
	mu      sync.Mutex // guards the rest
	since   time.Time  // unreachable since; zero: it answers
	why     string
	hint    string
	next    time.Time // of the next probe
	probing bool
	proven  bool // by a probe that it cannot be reached
	faults  int  // in a row, of probes and pushes
	most    int  // pushes at a time
	widen   time.Time
	round   int // of trust: what was pushed before says nothing against it now
}

func newHost() *host { return &host{most: pushesInAll} }

// room says whether another push may begin beside those that run.
func (h *host) room(running int, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.most < pushesInAll && !now.Before(h.widen) { // one long upload does not keep all others waiting
		h.widened(now)
	}
	return h.since.IsZero() && running < h.most
}

func (h *host) widened(now time.Time) {
	h.most = min(2*h.most, pushesInAll)
	h.widen = now.Add(widenEvery)
}

// slowed lets pushes begin by one again where those that run are silent, and
// none has been answered: what else is sent might be as much in doubt.
func (h *host) slowed(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.most, h.widen = 1, now.Add(widenEvery)
}

// trust is the round that a push beginning now belongs to.
func (h *host) trust() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.round
}

// answered is told of a push that the host has answered, whatever it said.
func (h *host) answered(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.since.IsZero() {
		h.next = now // so much for that: ask it
		return
	}
	h.faults = 0
	h.widened(now)
}

// failed is told of a push that began in a round and met a fault of the host.
// The first may be one connection's affair: a probe finds out at once. It
// returns whether that is news.
func (h *host) failed(round int, api *digime.Error, hint string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if round != h.round || !h.since.IsZero() {
		return false
	}
	h.round++
	h.faults++
	h.since, h.next, h.proven = now, now, false
	h.why, h.hint = said(api), hint
	if h.faults > 1 {
		h.next = now.Add(min(backoff(h.faults-1), longestTrial))
	}
	return true
}

// startProbe says whether a probe is to be made now; then it counts as begun.
func (h *host) startProbe(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.since.IsZero() || h.probing || now.Before(h.next) {
		return false
	}
	h.probing = true
	return true
}

// probed is told what a probe found: nil when the host answers. It returns
// whether that is news.
func (h *host) probed(api *digime.Error, hint string, now time.Time) (news bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.probing = false
	if api == nil {
		news = h.proven
		h.since, h.proven, h.most, h.widen = time.Time{}, false, 1, now.Add(widenEvery)
		return news
	}
	news = !h.proven
	h.faults++
	h.proven, h.why, h.hint = true, said(api), hint
	h.next = now.Add(max(backoff(h.faults-1), spread(api.RetryAfter)))
	return news
}

// abandoned is told that a probe was broken off and says nothing.
func (h *host) abandoned() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.probing = false
}

// anew begins with what is known of the host as if a push had just failed: a
// probe finds out.
func (h *host) anew(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next, h.proven, h.faults = now, false, 0
}

// hinted is told that the host may be back: the next probe is due now.
func (h *host) hinted(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next = now
}

// wait returns when the next probe is due, zero if none is.
func (h *host) wait() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.since.IsZero() || h.probing {
		return time.Time{}
	}
	return h.next
}

// undecided says whether a single pass should wait for a probe: a host that was
// asked and did not answer is given up, and one that takes nothing.
func (h *host) undecided() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.since.IsZero() && !h.proven && h.faults < mostInVain
}

// Outage is how it stands with a host that cannot be reached.
type Outage struct {
	Since  time.Time `json:"since"`
	Next   time.Time `json:"next"` // when it is tried again
	Reason string    `json:"reason"`
	Hint   string    `json:"hint"`
}

// outage is what to say of the host, nil while it answers or nobody has asked.
func (h *host) outage() *Outage {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.since.IsZero() || !h.proven {
		return nil
	}
	return &Outage{Since: h.since, Next: h.next, Reason: h.why, Hint: h.hint}
}

// settled is outage, once no probe is due or under way.
func (h *host) settled(now time.Time) *Outage {
	if at := h.wait(); at.IsZero() || !at.After(now) {
		return nil
	}
	return h.outage()
}

func (o *Outage) words() string {
	return o.lasts() + "; it is tried again at " + o.Next.Local().Format(time.TimeOnly) + ", and the files go by themselves then"
}

// lasts is what stays the same from one probe to the next.
func (o *Outage) lasts() string {
	return "digi.me cannot be reached since " + o.Since.Local().Format(time.DateTime) + ": " + o.Reason
}

// waitsForHost shows a file as the host stands: while that is unreachable,
// files rest in their queues and are not tried one by one. The next probe's time
// is none of the reason: the notes of all files would be written anew for each.
func waitsForHost(f store.File, o *Outage, now time.Time) store.File {
	if o == nil || f.State != store.Queued && f.State != store.Retrying || f.NextAttempt.After(o.Next) {
		return f
	}
	if f.State == store.Queued {
		f.State = store.Retrying
		if f.Since.Before(o.Since) {
			f.Since = o.Since
		}
	}
	next := o.Next
	if next.Before(now) {
		next = now
	}
	f.Reason, f.Hint, f.NextAttempt = o.lasts(), o.Hint, next
	return f
}

// troubled is what stops the whole service at the moment, "" when nothing does.
func (e *Engine) troubled() string {
	e.mu.Lock()
	trouble := e.trouble.words(time.Now())
	e.mu.Unlock()
	if o := e.host.outage(); trouble == "" && o != nil {
		return o.words()
	}
	return trouble
}
