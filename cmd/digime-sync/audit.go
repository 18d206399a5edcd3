package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/digime-sync/digime-sync/store"
)

// auditQuery says which entries of the audit log are asked for.
type auditQuery struct {
	path    string // they are about this file, or one below this folder; "" for all
	library string // "" for all
	since   span
	json    bool
}

func (a *app) auditCommand() *cobra.Command {
	var q auditQuery
	cmd := &cobra.Command{
		Use:   "audit [PATH]",
		Short: "What was delivered, and what people did, from the audit log",
		Long: "audit lists the entries of the audit log, oldest first: every delivery, with the SHA-256 and the library it\n" +
			"went to, and what was held in doubt, retried, forgotten, paused or mended. With PATH those about that\n" +
			"file, or the files below that folder. It reads beside the running daemon.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) (err error) {
			if q.path, err = absolute(first(args)); err != nil {
				return err
			}
			return a.audit(q)
		},
	}
	cmd.Flags().StringVar(&q.library, "library", "", "only what is about the library of this `NAME`")
	cmd.Flags().Var(&q.since, "since", "only the last `TIME`, such as 7d or 12h")
	cmd.Flags().BoolVar(&q.json, "json", false, "print JSON, one entry a line")
	return cmd
}

// span is a flag's value: a Go duration, or days.
type span time.Duration

// Set takes a flag's text.
func (g *span) Set(text string) error {
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d <= 0 {
		return errors.New("a time such as 7d, 12h or 30m is needed")
	}
	*g = span(d)
	return nil
}

func (g *span) String() string {
	if *g == 0 {
		return ""
	}
	return time.Duration(*g).String()
}

// Type is what help calls the value.
func (g *span) Type() string { return "TIME" }

func (a *app) audit(q auditQuery) error {
	cfg, err := LoadConfig(a.config())
	if err != nil {
		return err
	}
	var from time.Time
	if q.since > 0 {
		from = time.Now().Add(-time.Duration(q.since))
	}
	lines := json.NewEncoder(a.out)
	lines.SetEscapeHTML(false)
	found := false
	err = store.ReadAudit(cfg.StateDir, func(e store.Entry) error {
		below := q.path == "" || e.Path == q.path || strings.HasPrefix(e.Path, strings.TrimSuffix(q.path, string(filepath.Separator))+string(filepath.Separator))
		if !below || q.library != "" && e.Library != q.library || e.Time.Before(from) {
			return nil
		}
		found = true
		if q.json {
			return lines.Encode(e)
		}
		return a.printEntry(e)
	})
	if err == nil && !found {
		fmt.Fprintln(a.err, "the audit log has no such entry")
	}
	if damaged := new(store.DamagedError); errors.As(err, &damaged) {
		return failure(exitError, "digime-sync state check", "read audit log: %w", err)
	}
	return err
}

func (a *app) printEntry(e store.Entry) error {
	text := e.Time.Local().Format(time.DateTime) + "  " + e.Event
	if e.Path != "" {
		text += "  " + e.Path
	}
	if e.Library != "" {
		text += "  (library " + e.Library + ")"
	}
	if e.SHA256 != "" {
		text += "  sha256 " + e.SHA256
	}
	if e.MovedTo != "" {
		text += "  moved to " + e.MovedTo
	}
	if e.Doubtful {
		text += "  perhaps twice"
	}
	if e.Reason != "" {
		text += "  why: " + strings.ReplaceAll(e.Reason, "\n", " ")
	}
	_, err := fmt.Fprintln(a.out, plain(strings.ReplaceAll(text, "\n", "\uFFFD")))
	return err
}
