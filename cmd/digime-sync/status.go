package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
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
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:   "status [PATH]",
		Short: "What became of my file, or of everything",
		Long: "status says how libraries and folders stand, and every file that is not simply done; with PATH, how that\n" +
			"file or what lies below that folder stands. Of a folder's files in the same state it shows the first, 100\n" +
			"where somebody may have to do something and 20 else, and how many more there are; --all and --json have\n" +
			"all. It asks the running daemon, or reads the database where none runs.\n\n" +
			"It ends with 3 when something is held, refused or paused; with --json that is in the JSON only. It ends\n" +
			"with 1 when nothing is known of PATH; the JSON has the reason then.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := absolute(first(args))
			if err != nil {
				return err
			}
			s, err := a.status(path, !asJSON && !all)
			if err != nil {
				return err
			}
			switch {
			case asJSON:
				return errors.Join(a.printJSON(s), unknown(s, path))
			case path != "":
				return a.filesBelow(s, path)
			}
			if _, notice := a.newest(); notice != "" {
				fmt.Fprintln(a.out, notice)
			}
			return a.summary(s)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&all, "all", false, "show every file that is asked for, however many there are")
	return cmd
}

// status asks how things stand. While the configuration is bad, the daemon still
// runs on the last good one, and just then people ask.
func (a *app) status(path string, brief bool) (s engine.Status, err error) {
	cfg, log, err := a.open()
	if err == nil {
		return readStatus(cfg, log, path, brief)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if askStatus(ctx, stateDirOf(a.config()), path, brief, &s) == nil {
		return s, nil
	}
	return s, err
}

func readStatus(cfg *Config, log *slog.Logger, path string, brief bool) (s engine.Status, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err = withDaemon(ctx, cfg, log,
		func() error { return askStatus(ctx, cfg.StateDir, path, brief, &s) },
		func(e *engine.Engine) (err error) {
			s, err = statusOf(e, path, brief)
			return err
		})
	return s, err
}

func askStatus(ctx context.Context, stateDir, path string, brief bool, s *engine.Status) error {
	form := url.Values{"path": {path}}
	if brief {
		form.Set("brief", "1")
	}
	return askSoon(ctx, time.Minute, stateDir, "/status", form, s)
}

func statusOf(e *engine.Engine, path string, brief bool) (engine.Status, error) {
	if brief {
		return e.Overview(path)
	}
	return e.Status(path)
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

// unknown is the error that nothing is known of the path that was asked for; nil
// if something is.
func unknown(s engine.Status, path string) error {
	if s.Reason == "" {
		return nil
	}
	return failure(exitError, plain(s.Hint), "nothing is known of %s: %s", plain(path), plain(s.Reason))
}

// filesBelow answers "what became of my file".
func (a *app) filesBelow(s engine.Status, path string) error {
	if err := unknown(s, path); err != nil {
		return err
	}
	if len(s.Files) == 1 && s.Files[0].Path == path {
		a.printFile(s.Files[0])
		return held(s)
	}
	for _, f := range s.Folders {
		if f.Path == path || strings.HasPrefix(f.Path, strings.TrimSuffix(path, string(filepath.Separator))+string(filepath.Separator)) {
			a.printFolder(f)
		}
	}
	a.printCounts(s)
	for _, f := range s.Files {
		a.printFile(f)
	}
	a.printMore(s, path)
	return held(s)
}

// held says by its error that something needs a person.
func held(s engine.Status) error {
	if s.Counts[store.Held]+s.Counts[store.Refused] > 0 {
		return errHeld
	}
	return nil
}

// printMore says what an overview leaves out.
func (a *app) printMore(s engine.Status, path string) {
	for _, m := range s.More {
		fmt.Fprintf(a.out, "… and %d more %s in %s   (%s)\n", m.Files, m.State, plain(m.Folder), strings.TrimSpace("digime-sync status --all "+plain(path)))
	}
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
		fmt.Fprintf(a.out, "TROUBLE: %s\n", strings.ReplaceAll(s.Trouble, "\n", "\n         "))
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
	a.printCounts(s)
	for _, f := range s.Files {
		if f.State != store.Delivered && f.State != store.Duplicate && f.State != store.Ignored || f.Reason != "" && f.State == store.Delivered {
			a.printFile(f)
		}
	}
	a.printMore(s, "")
	if len(s.Paused) > 0 {
		return errHeld
	}
	return held(s)
}

func (a *app) printCounts(s engine.Status) {
	var counts []string
	for _, state := range slices.Sorted(maps.Keys(s.Counts)) {
		counts = append(counts, strconv.Itoa(s.Counts[state])+" "+string(state))
	}
	if len(counts) == 0 {
		counts = []string{"none yet"}
	}
	fmt.Fprintf(a.out, "files: %s\n", strings.Join(counts, ", "))
}

func (a *app) printFolder(f engine.FolderStatus) {
	fmt.Fprintf(a.out, "folder   %-8s %s", f.State, plain(f.Path))
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
