package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/engine"
)

func (a *app) pushCommand() *cobra.Command {
	var again bool
	cmd := &cobra.Command{
		Use:   "push FILE…",
		Short: "Push these files now, wait, and say the outcome",
		Long:  "push sends files that lie in configured folders at once, without waiting for them to settle.\nThe running daemon does it; without one, push does it itself.",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			cfg, log, err := a.open()
			if err != nil {
				return err
			}
			ctx, stop := interruptible()
			defer stop()
			paths := make([]string, len(args))
			for i, arg := range args {
				if paths[i], err = absolute(arg); err != nil {
					return err
				}
				if isFolder(ctx, paths[i]) {
					return failure(exitError, "name files; what lies in a watched folder goes by itself: digime-sync status "+plain(paths[i]), "%s is a folder", plain(paths[i]))
				}
			}
			files, err := pushFiles(ctx, cfg, log, paths, again)
			if err != nil {
				return err
			}
			return a.outcomes(files)
		},
	}
	cmd.Flags().BoolVar(&again, "again", false, "send also what was delivered before, or is held in doubt")
	return cmd
}

// isFolder says whether a path is a folder's, as far as a moment tells: of a share
// that hangs the daemon knows.
func isFolder(ctx context.Context, path string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	found := make(chan bool, 1)
	go func() {
		info, err := os.Stat(path)
		found <- err == nil && info.IsDir()
	}()
	select {
	case is := <-found:
		return is
	case <-ctx.Done():
		return false
	}
}

// pushFiles asks the daemon, and does it itself where none runs.
func pushFiles(ctx context.Context, cfg *Config, log *slog.Logger, paths []string, again bool) ([]engine.FileStatus, error) {
	form := url.Values{"path": paths}
	if again {
		form.Set("again", "1")
	}
	var list []engine.FileStatus
	err := withDaemon(ctx, cfg, log,
		func() error { return ask(ctx, cfg.StateDir, http.MethodPost, "/push", form, &list) },
		func(e *engine.Engine) error {
			files, err := e.Push(ctx, paths, again)
			list = statuses(files)
			return err
		})
	return list, err
}

// outcomes says what became of each file; its error tells the worst of them.
func (a *app) outcomes(files []engine.FileStatus) error {
	var held, open int
	for _, f := range files {
		a.printFile(f)
		switch f.State {
		case store.Delivered, store.Duplicate:
		case store.Refused, store.Held, store.Waiting:
			held++
		default:
			open++
		}
	}
	if held > 0 {
		return errHeld
	}
	return unsent(open, len(files))
}

func unsent(open, all int) error {
	if open == 0 {
		return nil
	}
	return failure(exitError, "digime-sync status", "%d of %d files could not be sent now; they stay queued and are tried again", open, all)
}

func (a *app) syncCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "sync",
		Short: "Push everything that is ready, once, then exit",
		Long:  "sync makes one pass over all folders, for cron and for trying things out.\nIt cannot run beside the daemon, which does the same all the time.",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, log, err := a.open()
			if err == nil {
				err = cfg.ready()
			}
			if err != nil {
				return err
			}
			p, err := openParts(cfg, log)
			if err != nil {
				return err
			}
			defer p.close()
			ctx, stop := interruptible()
			defer stop()
			if err := p.engine.Once(ctx); err != nil {
				return err
			}
			s, err := p.engine.Overview("")
			if err != nil {
				return err
			}
			if err := a.summary(s); err != nil {
				return err
			}
			all := 0
			for _, n := range s.Counts {
				all += n
			}
			return unsent(s.Unsent(), all)
		},
	}
}
