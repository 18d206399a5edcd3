package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/digime-sync/digime-sync/store"
)

// startError is an error before an engine ran.
type startError struct{ err error }

func (e *startError) Error() string { return e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

// notStarted marks an error as one before an engine ran; nil stays nil.
func notStarted(err error) error {
	if err == nil {
		return nil
	}
	return &startError{err}
}

// waitEvery is how often it is looked whether what is waited out is over; tests
// look more often.
var waitEvery = 2 * time.Second

// keepServing serves under a manager. What keeps an engine from running at the
// start may pass: the configuration has a fault or is yet to be written, another
// process has the database, the state folder is full or not there. It is waited
// out and said, since a start that fails again and again tells nobody anything,
// and a service that has failed for good is not revived by what mends it.
//
// What no waiting mends is a state folder of a newer version. It ends the service
// with exit code 78 under systemd, which shows that and starts it no more. Windows
// and launchd do neither, so there it waits.
func (a *app) keepServing(ctx context.Context, boot *slog.Logger) error {
	l := newLife(a.config())
	for {
		err := a.serveOnce(ctx, l)
		var start *startError
		final := errors.Is(err, store.ErrNewer) && !withoutOutput()
		if !errors.As(err, &start) || ctx.Err() != nil || final {
			return err
		}
		if l.enter(nil, start.err) {
			a.sayWaiting(boot, start.err)
		}
		a.waitOut(ctx, l)
		if ctx.Err() != nil {
			return nil
		}
	}
}

// waitOut waits a moment, and as long as the configuration is being written: the
// first half of one may be a configuration too, but not the one that is meant.
func (a *app) waitOut(ctx context.Context, l *life) {
	for seen, settled := stampOf(a.config()), false; !settled && ctx.Err() == nil; {
		a.waitOnce(ctx, l)
		now := stampOf(a.config())
		seen, settled = now, now == seen
	}
}

// sayWaiting tells the log what is waited out: where there is no standard error
// and the configuration cannot be read, in the state folder it would be in.
func (a *app) sayWaiting(boot *slog.Logger, why error) {
	log := boot
	if withoutOutput() {
		if err := a.logToFile(stateDirOf(a.config())); err == nil {
			log, _ = a.logger("info")
		}
	}
	log.Error("the service waits, and pushes nothing until this is mended", "err", why, "hint", waitingHint(why))
}

// waitOnce waits a moment. Who asks meanwhile hears what for.
func (a *app) waitOnce(ctx context.Context, l *life) {
	notify("READY=1\nWATCHDOG=1")
	ctx, cancel := context.WithTimeout(ctx, waitEvery)
	defer cancel()
	_, why := l.now()
	var locked *store.LockedError
	if errors.As(why, &locked) {
		<-ctx.Done() // the other process may be a daemon that is about to listen
		return
	}
	listener, err := listenControl(stateDirOf(a.config()))
	if err != nil {
		<-ctx.Done() // the state folder is what is missing
		return
	}
	_ = serveControl(ctx, listener, waitingHandler(l)) // the next try listens anew
	<-ctx.Done()
}

// waitingHandler answers while no engine runs.
func waitingHandler(l *life) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { answer(w, l.heartbeat(), nil) })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		_, why := l.now()
		answer(w, nil, failure(exitError, waitingHint(why), "the service runs, but waits: %w", why))
	})
	return mux
}

// startedIn is how long reading the configuration may take before the manager is
// answered all the same.
const startedIn = 5 * time.Second

// configured reads the configuration, and answers the manager at once when it can
// be run. A service that waits goes on saying what for.
func (a *app) configured(l *life) (*Config, *slog.Logger, error) {
	slow := time.AfterFunc(startedIn, func() { notify("READY=1") })
	defer slow.Stop()
	cfg, log, err := a.openDaemon()
	if _, waits := l.now(); err == nil && waits == nil {
		notify("READY=1\nSTATUS=starting")
	}
	return cfg, log, err
}

// listenFor opens the control channel of a daemon that has its database.
func listenFor(cfg *Config) (net.Listener, error) {
	l, err := listenControl(cfg.StateDir)
	if err != nil {
		return nil, fmt.Errorf("open control channel: %w", err)
	}
	return l, nil
}
