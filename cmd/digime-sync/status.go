package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/engine"
)

func (a *app) statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [PATH]",
		Short: "What became of my file, or of everything",
		Long:  "status says how every file, library and folder stands; with PATH, how that file or what lies below\nthat folder stands. It asks the running daemon, or reads the database where none runs.\n\nIt ends with 3 when something is held, refused or paused; with --json that is in the JSON only.",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := absolute(first(args))
			if err != nil {
				return err
			}
			s, err := a.status(path)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(s)
			}
			if path != "" {
				return a.filesBelow(s, path)
			}
			if _, notice := a.newest(); notice != "" {
				fmt.Fprintln(a.out, notice)
			}
			return a.summary(s)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// status asks how things stand. While the configuration is bad, the daemon still
// runs on the last good one, and just then people ask.
func (a *app) status(path string) (s engine.Status, err error) {
	cfg, log, err := a.open()
	if err == nil {
		return readStatus(cfg, log, path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if ask(ctx, stateDirOf(a.config()), http.MethodGet, "/status", url.Values{"path": {path}}, &s) == nil {
		return s, nil
	}
	return s, err
}

func readStatus(cfg *Config, log *slog.Logger, path string) (s engine.Status, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err = withDaemon(ctx, cfg, log,
		func() error { return ask(ctx, cfg.StateDir, http.MethodGet, "/status", url.Values{"path": {path}}, &s) },
		func(e *engine.Engine) (err error) {
			s, err = e.Status(path)
			return err
		})
	return s, err
}

func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	return nil
}

// first returns the argument of a command that may do without, else "".
func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// absolute makes an argument that names a file or folder absolute; "" stays.
func absolute(arg string) (string, error) {
	if arg == "" {
		return "", nil
	}
	path, err := filepath.Abs(arg)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", arg, err)
	}
	return path, nil
}

// filesBelow answers "what became of my file".
func (a *app) filesBelow(s engine.Status, path string) error {
	if len(s.Files) == 0 {
		return failure(exitError, "wait a few seconds and ask again; digime-sync status lists the folders that are watched",
			"nothing is known of %s%s", plain(path), whyUnknown(s, path))
	}
	held := false
	for _, f := range s.Files {
		a.printFile(f)
		held = held || f.State == store.Held || f.State == store.Refused
	}
	if held {
		return errHeld
	}
	return nil
}

func whyUnknown(s engine.Status, path string) string {
	for _, f := range s.Folders {
		if path == f.Path || strings.HasPrefix(path, f.Path+string(filepath.Separator)) {
			return ""
		}
	}
	return ": it lies in none of the watched folders"
}

// printFile says how one file stands, in a line or a few.
func (a *app) printFile(f engine.FileStatus) {
	fmt.Fprintf(a.out, "%-10s %s", f.State, plain(f.Path))
	if f.Library != "" {
		fmt.Fprintf(a.out, "  (library %s)", f.Library)
	}
	fmt.Fprintln(a.out)
	if f.DeliveredAt != nil {
		fmt.Fprintf(a.out, "           delivered %s\n", f.DeliveredAt.Local().Format(time.DateTime))
	}
	if f.MovedTo != "" {
		fmt.Fprintf(a.out, "           lies now in %s\n", plain(f.MovedTo))
	}
	if f.Reason != "" {
		fmt.Fprintf(a.out, "           why:  %s\n", strings.ReplaceAll(plain(f.Reason), "\n", "\n                 "))
	}
	if f.Hint != "" {
		fmt.Fprintf(a.out, "           do:   %s\n", plain(f.Hint))
	}
	if f.NextAttempt != nil && (f.State == store.Retrying || f.State == store.Queued) {
		fmt.Fprintf(a.out, "           next: %s, attempt %d\n", f.NextAttempt.Local().Format(time.DateTime), f.Attempts+1)
	}
}

// summary prints the counts and whatever is not simply done.
func (a *app) summary(s engine.Status) error {
	if !s.Running {
		fmt.Fprintln(a.out, "no daemon is running")
	}
	if s.Trouble != "" {
		fmt.Fprintf(a.out, "TROUBLE: %s\n", s.Trouble)
	}
	for _, p := range s.Paused {
		fmt.Fprintf(a.out, "PAUSED: %s\n        %s\n", plain(engine.PauseWords(p)), plain(engine.ResumeHint(p)))
	}
	if s.ClockSkew != "" {
		fmt.Fprintf(a.out, "CLOCK: this machine's clock is %s; set it\n", s.ClockSkew)
	}
	for _, f := range s.Folders {
		a.printFolder(f)
	}
	for _, l := range s.Libraries {
		fmt.Fprintf(a.out, "library  %-8s %s%s\n", l.State, plain(l.Name), count(l.Queued, " queued"))
		if l.Reason != "" {
			fmt.Fprintf(a.out, "                  why: %s\n                  do:  %s\n", plain(l.Reason), plain(l.Hint))
		}
	}
	var counts []string
	for _, state := range slices.Sorted(maps.Keys(s.Counts)) {
		counts = append(counts, strconv.Itoa(s.Counts[state])+" "+string(state))
	}
	if len(counts) == 0 {
		counts = []string{"none yet"}
	}
	fmt.Fprintf(a.out, "files: %s\n", strings.Join(counts, ", "))
	for _, f := range s.Files {
		if f.State != store.Delivered && f.State != store.Duplicate && f.State != store.Ignored || f.Reason != "" && f.State == store.Delivered {
			a.printFile(f)
		}
	}
	if s.Counts[store.Held]+s.Counts[store.Refused]+len(s.Paused) > 0 {
		return errHeld
	}
	return nil
}

func (a *app) printFolder(f engine.FolderStatus) {
	state := f.State
	if state == "" {
		state = "idle"
	}
	fmt.Fprintf(a.out, "folder   %-8s %s", state, plain(f.Path))
	if f.Watch != "" {
		fmt.Fprintf(a.out, "  (%s)", f.Watch)
	}
	fmt.Fprintf(a.out, "%s%s\n", count(f.Settling, " settling"), count(f.Ignored, " ignored"))
	if f.Reason != "" {
		fmt.Fprintf(a.out, "                  why: %s\n", plain(f.Reason))
	}
	if f.Notes != "" {
		fmt.Fprintf(a.out, "                  it cannot be written to; its notes lie in %s\n", plain(f.Notes))
	}
}

func count(n int, what string) string {
	if n == 0 {
		return ""
	}
	return ", " + strconv.Itoa(n) + what
}

// plain keeps a name from moving the cursor or forging a line.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && !unicode.IsPrint(r) || r == '\u202e' {
			return '\uFFFD'
		}
		return r
	}, s)
}
