package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
)

// logger returns the daemon's log, to standard error. The flag wins over the
// configuration's level.
func (a *app) logger(level string) (*slog.Logger, error) {
	level = cmp.Or(a.logLevel, level)
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, failure(exitUsage, "--log-level debug|info|warn|error", "unknown log level %q", level)
	}
	log := slog.New(withEvents(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: l})))
	slog.SetDefault(log)
	return log, nil
}

// commandLog returns the log of a command, which a person reads: what is as
// important as least, in plain words. With the flag it is the daemon's log.
func (a *app) commandLog(least slog.Level) (*slog.Logger, error) {
	if a.logLevel != "" {
		return a.logger(a.logLevel)
	}
	log := slog.New(&wordsHandler{out: a.err, least: least})
	slog.SetDefault(log)
	return log, nil
}

// wordsHandler says what is logged as a warning to a person.
type wordsHandler struct {
	out   io.Writer
	least slog.Level
	attrs []slog.Attr
}

// Enabled says whether a record is important enough.
func (h *wordsHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.least }

// Handle prints a record on one line.
func (h *wordsHandler) Handle(_ context.Context, r slog.Record) error {
	var about, why string
	say := func(attr slog.Attr) bool {
		text := strings.Join(strings.Fields(attr.Value.String()), " ")
		switch attr.Key {
		case "err", "error", "reason", "what", "why":
			why += ": " + text
		default:
			about += ", " + attr.Key + " " + text
		}
		return true
	}
	for _, attr := range h.attrs {
		say(attr)
	}
	r.Attrs(say)
	_, err := fmt.Fprintf(h.out, "digime-sync: warning: %s\n", plain(r.Message+about+why))
	return err
}

// WithAttrs returns a handler that says these with every record.
func (h *wordsHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &wordsHandler{out: h.out, least: h.least, attrs: append(slices.Clone(h.attrs), attrs...)}
}

// WithGroup changes nothing: people are told no groups.
func (h *wordsHandler) WithGroup(string) slog.Handler { return h }
