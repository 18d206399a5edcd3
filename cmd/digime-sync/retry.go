package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/engine"
)

// What a person does about files that are not delivered: retry, forget, rescan.
// Over the control channel:
//
//	POST /retry  path=…&library=…  tries again what lies at or below path, "" for all
//	POST /forget path=…            drops what is known of a path
//	POST /rescan path=…            has a folder looked at now, "" for all
//
// The first two answer []engine.FileStatus, the last {}.
func handleFiles(mux *http.ServeMux, d *daemon) {
	mux.HandleFunc("POST /retry", func(w http.ResponseWriter, r *http.Request) {
		files, err := d.current().Retry(r.FormValue("path"), r.FormValue("library"))
		answer(w, statuses(files), err)
	})
	mux.HandleFunc("POST /forget", func(w http.ResponseWriter, r *http.Request) {
		f, err := d.current().Forget(r.FormValue("path"))
		answer(w, statuses([]store.File{f}), err)
	})
	mux.HandleFunc("POST /rescan", func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, d.current().RescanAt(r.FormValue("path")))
	})
}

func (a *app) retryCommand() *cobra.Command {
	var all bool
	var library string
	cmd := &cobra.Command{
		Use:   "retry PATH… | --all | --library NAME",
		Short: "Try again now what waits, is held or was refused",
		Long: "retry has files tried now instead of when their next attempt is due: the files named, or all below a\n" +
			"folder. Refused files are examined anew. What a folder's hold: keeps back is for release; what is held\n" +
			"because it may have arrived already is for push --again. Where a file waits all the same, it is said for what.",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 && !all && library == "" || len(args) > 0 && all {
				return failure(exitUsage, a.hintFor("retry"), "say what to try again: paths, --all or --library NAME")
			}
			if len(args) == 0 {
				args = []string{""}
			}
			tried := 0
			for _, arg := range args {
				files, err := a.act("/retry", arg, library, func(e *engine.Engine, path string) ([]store.File, error) { return e.Retry(path, library) })
				if err != nil {
					return err
				}
				for _, f := range files {
					if f.Reason == "" {
						fmt.Fprintf(a.out, "tried now  %s\n", plain(f.Path))
						continue
					}
					fmt.Fprintf(a.out, "waits      %s\n           %s\n", plain(f.Path), plain(f.Reason))
				}
				tried += len(files)
			}
			if tried == 0 {
				return failure(exitError, "digime-sync status", "nothing there waits for another attempt")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all files of all folders")
	cmd.Flags().StringVar(&library, "library", "", "only files for the library of this `NAME`")
	return cmd
}

func (a *app) hintFor(command string) string { return "digime-sync " + command + " --help" }

func (a *app) forgetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "forget PATH",
		Short: "Drop what is known of a file",
		Long: "forget drops what is known of a file, for example of one that was deleted while it waited. A content\n" +
			"that was delivered stays known: it is not sent twice (push --again does). A file that still lies in\n" +
			"its folder is looked at anew.",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			files, err := a.act("/forget", args[0], "", func(e *engine.Engine, path string) ([]store.File, error) {
				f, err := e.Forget(path)
				return []store.File{f}, err
			})
			for _, f := range files {
				fmt.Fprintf(a.out, "forgotten  %s\n", plain(f.Path))
			}
			return err
		},
	}
}

// act asks the daemon to do something with a path, or does it where none runs.
func (a *app) act(route, arg, library string, own func(*engine.Engine, string) ([]store.File, error)) ([]engine.FileStatus, error) {
	cfg, log, err := a.open()
	if err != nil {
		return nil, err
	}
	path, err := absolute(arg)
	if err != nil {
		return nil, err
	}
	ctx, stop := interruptible()
	defer stop()
	var list []engine.FileStatus
	err = withDaemon(ctx, cfg, log,
		func() error {
			return ask(ctx, cfg.StateDir, http.MethodPost, route, url.Values{"path": {path}, "library": {library}}, &list)
		},
		func(e *engine.Engine) error {
			files, err := own(e, path)
			if err == nil {
				list = statuses(files)
			}
			return err
		})
	return list, err
}

func (a *app) rescanCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rescan [FOLDER]",
		Short: "Have the daemon look at a folder, or all, now",
		Long:  "rescan has the running daemon look at all files of a folder now. It does so by itself every two minutes,\nand every five seconds where a folder is polled.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			cfg, _, err := a.open()
			if err != nil {
				return err
			}
			path, err := absolute(first(args))
			if err != nil {
				return err
			}
			ctx, stop := interruptible()
			defer stop()
			return askRunning(ctx, cfg.StateDir, http.MethodPost, "/rescan", url.Values{"path": {path}})
		},
	}
}
