package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/engine"
	"github.com/digime-sync/digime-sync/watcher"
)

// Heartbeat states.
const (
	stateRunning  = "running"
	stateDegraded = "degraded" // it runs, and somebody should know what it lacks
)

// heartbeat is what the daemon says of itself: GET /health of the control channel.
type heartbeat struct {
	Version   string              `json:"version"`
	PID       int                 `json:"pid"`
	Started   time.Time           `json:"started"`
	Config    string              `json:"config"`
	State     string              `json:"state"`
	Reasons   []string            `json:"reasons"` // why it is degraded
	Hint      string              `json:"hint,omitempty"`
	LastRound *time.Time          `json:"last_round"` // of the main loop
	Counts    map[store.State]int `json:"counts"`
}

// life is what one process of the daemon goes through: it may wait for what an
// engine needs, and then runs one.
type life struct {
	config  string
	started time.Time

	mu     sync.Mutex
	waits  error     // what it waits out; nil when it does not wait
	daemon *daemon   // nil before it runs an engine
	begun  time.Time // when that came, or the waiting
}

func newLife(config string) *life { return &life{config: config, started: time.Now()} }

// enter notes that the daemon runs, or what it waits out, and tells the manager.
// It says whether that is news.
func (l *life) enter(d *daemon, waits error) (news bool) {
	l.mu.Lock()
	news = d != l.daemon || fmt.Sprint(waits) != fmt.Sprint(l.waits)
	l.daemon, l.waits = d, waits
	if news {
		l.begun = time.Now()
	}
	l.mu.Unlock()
	if news {
		l.tell()
	}
	return news
}

// now returns the daemon that runs, or nil and what is waited out.
func (l *life) now() (*daemon, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.daemon, l.waits
}

// longRound is from when on a main loop that does not go round is said to hang.
const longRound = 30 * time.Second

// heartbeat says how the service stands.
func (l *life) heartbeat() heartbeat {
	h := heartbeat{Version: version, PID: os.Getpid(), Started: l.started, Config: l.config, State: stateRunning, Reasons: []string{}}
	d, waits := l.now()
	l.mu.Lock()
	begun := l.begun
	l.mu.Unlock()
	switch {
	case waits != nil:
		h.lacks("it waits: "+waits.Error(), waitingHint(waits))
	case d == nil:
		h.lacks("it is starting", "")
	default:
		d.health(&h, time.Since(begun))
	}
	return h
}

// lacks notes why the service does not do all it should, unless that is "".
func (h *heartbeat) lacks(why, hint string) {
	if why == "" {
		return
	}
	h.State, h.Reasons, h.Hint = stateDegraded, append(h.Reasons, why), cmp.Or(h.Hint, hint)
}

// waitingHint says what to do about what the service waits out. It need not be
// started again for it.
func waitingHint(err error) string {
	var (
		locked *store.LockedError
		config *ConfigError
	)
	switch {
	case errors.Is(err, errNotConfigured), errors.As(err, &config) && errors.Is(err, fs.ErrNotExist):
		return "write the configuration (README.md shows the smallest); it is taken over by itself"
	case errors.As(err, &config):
		return "correct the configuration (digime-sync check); it is taken over by itself"
	case errors.As(err, &locked):
		return "nothing, if that process ends soon; else end it"
	case errors.Is(err, fs.ErrPermission):
		return "give the state folder, with all in it, to the user the service runs as; nothing need be restarted"
	case errors.Is(err, syscall.EROFS):
		return openHint()
	}
	return explain(err).hint
}

// health adds to a heartbeat how the engine stands. Of a young one it says
// nothing that it has not come to.
func (d *daemon) health(h *heartbeat, age time.Duration) {
	d.mu.Lock()
	e, refused := d.engine, d.refused
	d.mu.Unlock()
	now, err := e.Health()
	if err != nil {
		h.lacks(err.Error(), "")
	}
	h.Counts = now.Counts
	if !now.Round.IsZero() {
		h.LastRound = &now.Round
	}
	if time.Since(now.Round) > longRound && age > longRound {
		h.lacks("the main loop does not go round", "digime-sync service restart")
	}
	h.lacks(now.Trouble, "digime-sync check")
	for _, p := range e.Store.Pauses() {
		h.lacks("paused: "+engine.PauseWords(p), engine.ResumeHint(p))
	}
	if refused != nil {
		h.lacks("the changed configuration was not taken over, the one before still holds: "+refused.Error(), explain(refused).hint)
	}
	for _, words := range d.fleet.Troubles() {
		h.lacks(words, "digime-sync check")
	}
	h.folders(now.Folders)
}

// folders adds what is the matter with the watched folders.
func (h *heartbeat) folders(folders []engine.FolderStatus) {
	for _, f := range folders {
		switch shut := shutOut(f); {
		case shut != "":
			h.lacks("folder "+f.Path+" "+shut, openHint())
		case f.State != watcher.StateUnseen && f.State != watcher.StateOK:
			h.lacks("folder "+f.Path+" is "+f.State+because(f.Reason), "digime-sync check")
		}
	}
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// line is a heartbeat in one line.
func (h heartbeat) line() string {
	var words []string
	for _, s := range []store.State{store.Queued, store.Pushing, store.Retrying, store.Waiting, store.Held, store.Refused, store.Delivered} {
		if n := h.Counts[s]; n > 0 {
			words = append(words, strconv.Itoa(n)+" "+string(s))
		}
	}
	text := h.State
	if len(h.Reasons) > 0 {
		text += ": " + h.Reasons[0]
		if more := len(h.Reasons) - 1; more > 0 {
			text += fmt.Sprintf(" (and %d more)", more)
		}
	}
	if len(words) > 0 {
		text += "; files: " + strings.Join(words, ", ")
	}
	return text
}

// tell says to systemd how the service stands, in one line.
func (l *life) tell() {
	if underSystemd() {
		notify("STATUS=" + strings.Join(strings.Fields(l.heartbeat().line()), " "))
	}
}

// beatEvery is how often systemd hears how the service stands.
const beatEvery = 15 * time.Second

// beat tells systemd how the service stands until ctx ends, and feeds its
// watchdog as long as the main loop goes round.
func (l *life) beat(ctx context.Context) error {
	if !underSystemd() {
		return nil
	}
	every := beatEvery
	if limit := watchdog(); limit > 0 {
		every = min(every, limit/4)
	}
	var p pulse
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if d, _ := l.now(); d != nil && p.felt(d.current().Round()) {
			notify("WATCHDOG=1")
		}
		l.tell()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// pulse finds out from one look to the next whether a main loop goes round. It
// compares times and measures nothing, so that a clock that jumps deceives
// nobody.
type pulse struct{ last time.Time }

// felt says whether the loop has gone round since the last look. One that has
// not begun yet counts as well: what goes before may wait for a folder.
func (p *pulse) felt(round time.Time) bool {
	if round.IsZero() {
		return true
	}
	moved := !round.Equal(p.last)
	p.last = round
	return moved
}
