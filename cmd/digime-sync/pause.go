package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/engine"
)

// Pausing, over the control channel:
//
//	POST /pause  library=…&reason=…  pauses a library, all for "", answers []store.Pause
//	POST /resume library=…           ends that, answers []store.Pause, what is paused still
func handlePause(mux *http.ServeMux, d *daemon) {
	mux.HandleFunc("POST /pause", func(w http.ResponseWriter, r *http.Request) {
		e := d.current()
		err := e.Pause(r.FormValue("library"), r.FormValue("reason"))
		answer(w, e.Store.Pauses(), err)
	})
	mux.HandleFunc("POST /resume", func(w http.ResponseWriter, r *http.Request) {
		left, err := d.current().Resume(r.FormValue("library"))
		answer(w, left, err)
	})
}

func (a *app) pauseCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "pause [LIBRARY]",
		Short: "Push nothing for the time being, of one library or of all",
		Long: "pause has nothing pushed into a library, or into any, until resume: also after a restart, and by push and\n" +
			"sync. Files are taken in and queued as ever, consents are kept alive; a push that is under way is\n" +
			"finished. status says what is paused and since when, and ends with 3 as long as something is.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if cfg, err := LoadConfig(a.config()); err == nil && len(args) == 1 {
				if _, err := cfg.library(args[0]); err != nil {
					return err
				}
			}
			form := url.Values{"library": args, "reason": {reason}}
			_, err := a.askPause("/pause", form, func(e *engine.Engine, library string) ([]store.Pause, error) { return nil, e.Pause(library, reason) })
			if err != nil {
				return err
			}
			p := store.Pause{Library: first(args)}
			fmt.Fprintf(a.out, "paused; files wait; %s\n", engine.ResumeHint(p))
			return nil
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "a `TEXT` that status shows")
	return cmd
}

func (a *app) resumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "resume [LIBRARY]",
		Short: "Push again what was paused",
		Long:  "resume ends the pause of a library, or that of all. A library that was paused by itself stays so until\nresume names it.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			left, err := a.askPause("/resume", url.Values{"library": args}, (*engine.Engine).Resume)
			if err != nil {
				return err
			}
			fmt.Fprintln(a.out, "resumed")
			for _, p := range left {
				fmt.Fprintf(a.out, "still paused: %s\n              %s\n", plain(engine.PauseWords(p)), plain(engine.ResumeHint(p)))
			}
			return nil
		},
	}
}

// askPause asks the daemon, or does it where none runs. A daemon can be asked
// while the configuration is bad and it runs on the last good one.
func (a *app) askPause(route string, form url.Values, own func(*engine.Engine, string) ([]store.Pause, error)) (list []store.Pause, err error) {
	ctx, stop := interruptible()
	defer stop()
	cfg, log, err := a.open()
	if err != nil {
		if ask(ctx, stateDirOf(a.config()), http.MethodPost, route, form, &list) == nil {
			return list, nil
		}
		return nil, err
	}
	err = withDaemon(ctx, cfg, log,
		func() error { return ask(ctx, cfg.StateDir, http.MethodPost, route, form, &list) },
		func(e *engine.Engine) (err error) {
			list, err = own(e, form.Get("library"))
			return err
		})
	return list, err
}
