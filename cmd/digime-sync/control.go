package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/engine"
)

// The control channel is HTTP over a channel only the owner can open
// (control_unix.go, control_windows.go):
//
//	GET  /health                heartbeat, at little cost
//	GET  /status?path=P&brief   engine.Status of what lies at or below P, "" for all; brief: Overview
//	POST /push    path=…&again  queues these files, waits, answers []engine.FileStatus
//	POST /release path=…        sends what is held back there, answers []engine.FileStatus
//	POST /reload                takes the configuration over, answers {}
//	GET  /state/check           examines the state folder, answers store.Checked
//	GET  /state/backup          answers a backup of the state folder, a tar file
//
// Errors are answered as controlError with status 400.
type controlError struct {
	Error string `json:"error"`
	Hint  string `json:"hint"`
	Code  int    `json:"code"` // the command's exit code
}

// serveControl answers commands until ctx ends.
func serveControl(ctx context.Context, l net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	err := server.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve control channel: %w", err)
}

func controlHandler(d *daemon) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { answer(w, d.life.heartbeat(), nil) })
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		s, err := d.status(r.FormValue("path"), r.FormValue("brief") != "")
		answer(w, s, err)
	})
	mux.HandleFunc("POST /push", func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			answer(w, nil, &engine.UsageError{Reason: err.Error()})
			return
		}
		files, err := pushNow(r.Context(), d.current(), r.Form["path"], r.Form.Has("again"))
		answer(w, files, err)
	})
	handleFiles(mux, d)
	handlePause(mux, d)
	mux.HandleFunc("POST /release", func(w http.ResponseWriter, r *http.Request) {
		files, err := d.current().Release(r.FormValue("path"))
		answer(w, statuses(files), err)
	})
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, d.reload(r.Context()))
	})
	stateHandlers(mux, d)
	return mux
}

func statuses(files []store.File) []engine.FileStatus {
	list := []engine.FileStatus{}
	for _, f := range files {
		list = append(list, engine.NewFileStatus(f))
	}
	return list
}

// pushNow queues the files all at once and waits for each.
func pushNow(ctx context.Context, e *engine.Engine, paths []string, again bool) ([]engine.FileStatus, error) {
	for _, path := range paths {
		if err := e.Submit(ctx, path, again); err != nil {
			return nil, err
		}
	}
	var list []engine.FileStatus
	for _, path := range paths {
		f, err := e.Outcome(ctx, path)
		if err != nil {
			return nil, err
		}
		list = append(list, engine.NewFileStatus(f))
	}
	return list, nil
}

func answer(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		e := explain(err)
		w.WriteHeader(http.StatusBadRequest)
		v = controlError{Error: err.Error(), Hint: e.hint, Code: e.code}
	}
	_ = json.NewEncoder(w).Encode(v) // the command has gone, nobody is left to tell
}

// startPatience is how long a process may hold the database without listening
// yet, or any more. A daemon whose socket was deleted listens again within 5 s.
const startPatience = 8 * time.Second

// withDaemon asks the running daemon, or does by itself what it would have
// done where none runs.
func withDaemon(ctx context.Context, cfg *Config, log *slog.Logger, ask func() error, own func(*engine.Engine) error) error {
	return untilHeard(ctx, ask, func() error {
		p, err := openParts(cfg, log)
		if err != nil {
			return err
		}
		defer p.close()
		return own(p.engine)
	})
}

// untilHeard asks the running daemon, and goes on alone where none runs. One that
// has the database and does not listen, as it is just starting or stopping, is
// waited for.
func untilHeard(ctx context.Context, ask, alone func() error) error {
	patience := time.After(startPatience)
	for {
		err := ask()
		if !errors.Is(err, errNoDaemon) {
			return err
		}
		err = alone()
		var locked *store.LockedError
		if !errors.As(err, &locked) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-patience:
			return failure(exitRunning, "wait until it is done, if it is a digime-sync sync or push, or has just been started; else: digime-sync service status",
				"%w, which does not answer", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// askRunning asks the running daemon, which a command cannot do without.
func askRunning(ctx context.Context, stateDir, method, path string, form url.Values) error {
	return untilHeard(ctx,
		func() error { return ask(ctx, stateDir, method, path, form, &struct{}{}) },
		func() error {
			if err := store.InUse(stateDir); err != nil {
				return err
			}
			return failure(exitError, "digime-sync service start, or digime-sync run; digime-sync sync makes one pass without it", "no daemon is running")
		})
}

// errHangs says that a daemon took the question and does not answer it.
var errHangs = errors.New("the service does not answer")

// askSoon asks what a daemon that is well answers within that time.
func askSoon(ctx context.Context, limit time.Duration, stateDir, path string, form url.Values, v any) error {
	soon, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := ask(soon, stateDir, http.MethodGet, path, form, v)
	if err != nil && soon.Err() != nil && ctx.Err() == nil {
		return failure(exitError, "digime-sync service status; digime-sync service restart", "%w for %s", errHangs, limit)
	}
	return err
}

// ask sends one request to the running daemon and decodes its answer into v, or
// writes it there if v is an *os.File;
// errNoDaemon when none runs.
func ask(ctx context.Context, stateDir, method, path string, form url.Values, v any) error {
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dialControl(ctx, stateDir) },
	}}
	defer client.CloseIdleConnections()
	target := "http://daemon" + path
	var body io.Reader
	if method == http.MethodGet {
		target += "?" + form.Encode()
	} else {
		body = bytes.NewBufferString(form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return fmt.Errorf("ask the daemon: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return failure(exitError, "digime-sync status", "the daemon stopped before it answered")
	}
	if err != nil {
		return fmt.Errorf("ask the daemon: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var e controlError
		if err := json.NewDecoder(resp.Body).Decode(&e); err != nil {
			return fmt.Errorf("ask the daemon: it answered %s", resp.Status)
		}
		return &cliError{err: errors.New(e.Error), hint: e.Hint, code: e.Code}
	}
	if f, whole := v.(*os.File); whole {
		_, err = io.Copy(f, resp.Body)
	} else {
		err = json.NewDecoder(resp.Body).Decode(v)
	}
	if err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	return nil
}
