package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/engine"
)

// readFlags are those of `read`.
type readFlags struct {
	out    string
	tags   []string
	since  string
	verify bool
}

func (a *app) readCommand() *cobra.Command {
	var flags readFlags
	cmd := &cobra.Command{
		Use:   "read LIBRARY",
		Short: "Read back what is in a library, and compare it with what was delivered",
		Long: "read asks a library, by its read contract, for the files that were pushed to it, and lists them. With --out\n" +
			"it writes them, each with its sidecar, into a folder, where it overwrites nothing. With --verify it compares\n" +
			"every content with the record of deliveries, and names what is missing, different or extra (exit code 3).\n" +
			"--tag and --since choose what is listed and written; --verify compares everything all the same.",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.read(args[0], flags) },
	}
	cmd.Flags().StringVar(&flags.out, "out", "", "write the files into the folder `DIR`, which is made if need be")
	cmd.Flags().StringArrayVar(&flags.tags, "tag", nil, "only files with this `TAG`; again for further ones")
	cmd.Flags().StringVar(&flags.since, "since", "", "only files that came since then: a `DATE` like 2026-01-31, or a duration like 36h or 7d")
	cmd.Flags().BoolVar(&flags.verify, "verify", false, "compare the contents with what was delivered")
	return cmd
}

func (a *app) read(library string, flags readFlags) error {
	since, err := parseSince(flags.since, time.Now())
	if err != nil {
		return err
	}
	cfg, v, err := a.vault(library)
	if err != nil {
		return err
	}
	lib, err := cfg.library(library)
	if err != nil {
		return err
	}
	log, err := a.commandLog(slog.LevelWarn)
	if err != nil {
		return err
	}
	client, err := newClient(cfg, log)
	if err != nil {
		return err
	}
	b := &readBack{app: a, since: since, readFlags: flags}
	if flags.out != "" {
		if b.folder, err = openOutFolder(cfg, flags.out); err != nil {
			return err
		}
	}
	ctx, stop := interruptible()
	defer stop()
	e := engine.New(engine.Options{Vault: v, Client: client, StateDir: cfg.StateDir, Log: log})
	began := time.Now()
	if b.reading, err = e.Read(ctx, lib, func(l digime.FileList) { a.sayList(library, l) }); err != nil {
		return readFailure(library, err)
	}
	if err := b.run(ctx); err != nil {
		return readFailure(library, err)
	}
	return b.conclude(cfg, log, library, began)
}

// parseSince reads --since; the zero time when it is not given.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, form := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(form, text, time.Local); err == nil {
			return t, nil
		}
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil && n > 0 {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, failure(exitUsage, "--since 2026-01-31, --since '2026-01-31 15:04', --since 36h or --since 7d", "--since %q is neither a date nor a duration", text)
}

// sayList tells how far a reading is.
func (a *app) sayList(library string, l digime.FileList) {
	switch {
	case l.State == digime.ReadPartial:
		fmt.Fprintf(a.err, "library %s: %d files; the list is not complete, some of its sources could not be read\n", library, len(l.Files))
	case l.Done():
		fmt.Fprintf(a.err, "library %s: %d files\n", library, len(l.Files))
	default:
		fmt.Fprintf(a.err, "library %s: %s, %d files so far\n", library, l.State, len(l.Files))
	}
}

func readFailure(library string, err error) error {
	var api *digime.Error
	var usage *engine.UsageError
	switch {
	case errors.As(err, &usage):
		return err
	case errors.Is(err, context.Canceled):
		return failure(exitError, "", "stopped before all of library %s was read", library)
	case errors.As(err, &api) && (api.Class == digime.ConsentGone || api.Class == digime.TokenExpired):
		return failure(exitHeld, engine.ConsentHint(engine.ReadToken(library)), "read library %s: the consent to read has ended: %w", library, err)
	case errors.As(err, &api) && api.Class == digime.Configuration:
		return failure(exitError, "check application_id, and id and private_key_file of the read contract, in the configuration", "read library %s: %w", library, err)
	}
	return fmt.Errorf("read library %s: %w", library, err)
}

// readBack is the fetching of a library's files.
type readBack struct {
	readFlags
	app     *app
	reading *engine.Reading
	folder  *outFolder // nil: nothing is written
	since   time.Time

	mu     sync.Mutex // guards the rest, and the screen
	files  []backFile
	done   int // of those that were to be fetched
	failed int
	chosen int       // by --tag and --since
	said   time.Time // when progress was shown last
}

// backFile is a file that was read back.
type backFile struct {
	name     string // the service's
	metadata digime.Metadata
	sha256   string // hex
	size     int64  // bytes
}

// title names the file for people.
func (f backFile) title() string {
	if len(f.metadata.Reference) > 0 && f.metadata.Reference[0] != "" {
		return f.metadata.Reference[0]
	}
	return f.name
}

// run fetches all files. What is wrong with one of them is said; the error is
// one for which none can be fetched.
func (b *readBack) run(ctx context.Context) error {
	var wanted []digime.RemoteFile
	for _, f := range b.reading.List.Files {
		if b.verify || !b.tooOld(f.Updated) {
			wanted = append(wanted, f)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(engine.ReadsAtOnce)
	for _, f := range wanted {
		g.Go(func() error { return b.one(ctx, f, len(wanted)) })
	}
	return g.Wait()
}

// tooOld says whether --since leaves out what came at a time, if that is known.
func (b *readBack) tooOld(came time.Time) bool {
	return !came.IsZero() && came.Before(b.since)
}

// fits says whether --tag and --since choose a file.
func (b *readBack) fits(remote digime.RemoteFile, m digime.Metadata) bool {
	came := remote.Updated
	if came.IsZero() {
		came = m.Created
	}
	tagged := len(b.tags) == 0 || slices.ContainsFunc(b.tags, func(t string) bool { return slices.Contains(m.Tags, t) })
	return tagged && !b.tooOld(came)
}

// one fetches a file and says what became of it.
func (b *readBack) one(ctx context.Context, remote digime.RemoteFile, all int) error {
	f, line, err := b.fetch(ctx, remote)
	b.mu.Lock()
	defer b.mu.Unlock()
	var api *digime.Error
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &api) && slices.Contains([]digime.Class{digime.ConsentGone, digime.TokenExpired, digime.Configuration, digime.ClientRefused}, api.Class):
		return err
	case err != nil:
		b.failed++
		fmt.Fprintf(b.app.err, "failed     %s: %v\n", plain(remote.Name), err)
	}
	if f.sha256 != "" {
		b.files = append(b.files, f)
	}
	if line != "" {
		b.chosen++
		fmt.Fprintln(b.app.out, line)
	}
	b.done++
	if b.done == all || time.Since(b.said) > time.Second {
		b.said = time.Now()
		fmt.Fprintf(b.app.err, "%d of %d files\n", b.done, all)
	}
	return nil
}

// fetch gets a file and writes it where it is chosen; line is what to say of it
// then. A file with a hash came whole, whatever the error.
func (b *readBack) fetch(ctx context.Context, remote digime.RemoteFile) (f backFile, line string, err error) {
	in, err := b.folder.incoming()
	if err != nil {
		return f, "", err
	}
	defer in.discard()
	f.name = remote.Name
	if f.metadata, err = b.reading.Fetch(ctx, remote.Name, b.folder.room(), in.begin); err != nil {
		return f, "", err
	}
	f.sha256, f.size = in.sum(), in.size
	if !b.fits(remote, f.metadata) {
		return f, "", nil
	}
	if b.folder != nil {
		path, err := b.folder.keep(in, fileName(f.metadata.Reference, remote.Name), f.metadata)
		if path == "" {
			return f, "", err
		}
		return f, "read       " + plain(path), err
	}
	if b.verify {
		return f, "", nil
	}
	line = fmt.Sprintf("found      %s  (%d bytes, %s, sha256 %s", plain(f.title()), f.size, plain(f.metadata.MimeType), f.sha256)
	if len(f.metadata.Tags) > 0 {
		line += ", tags " + plain(strings.Join(f.metadata.Tags, ", "))
	}
	return f, line + ")", nil
}

// conclude compares, where that is asked for, and sums up.
func (b *readBack) conclude(cfg *Config, log *slog.Logger, library string, began time.Time) error {
	if b.folder != nil {
		fmt.Fprintf(b.app.out, "%d files written to %s\n", b.chosen, b.folder.dir)
	}
	equal := true
	if b.verify {
		sent, err := deliveredFiles(cfg, log, library)
		if err != nil {
			return fmt.Errorf("compare with what was delivered: %w", err)
		}
		c := compare(sent, b.files, began, titles)
		b.app.sayComparison(c)
		equal = c.equal()
	}
	switch {
	case b.failed > 0:
		return failure(exitError, "try it again; what cannot be read then is for digi.me's support", "%d of %d files of library %s could not be read back", b.failed, len(b.reading.List.Files), library)
	case !equal && b.reading.List.State != digime.ReadCompleted:
		return failure(exitError, "try it again later", "the list of library %s is not complete: what is called missing may well be there", library)
	case !equal:
		return errHeld
	}
	return nil
}
