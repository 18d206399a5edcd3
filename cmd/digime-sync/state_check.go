package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/engine"
)

func (a *app) stateCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "Examine database, audit log and tokens",
		Long: "check reads every page and record of the database, every line of the audit log and every token file,\n" +
			"says each fault with what to do about it, and changes nothing. It works beside the running daemon.\n" +
			"What may well be meant, such as a library without a consent yet, is said as a remark.\n" +
			"It ends with 0 when all is well, with 3 when it found a fault, with 1 when it could not look.",
		Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return a.checkState() },
	}
}

func (a *app) checkState() error {
	cfg, log, err := a.open()
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	c := new(store.Checked)
	err = untilHeard(ctx,
		func() error { return ask(ctx, cfg.StateDir, http.MethodGet, "/state/check", nil, c) },
		func() (err error) {
			c, err = store.CheckDir(cfg.StateDir, log)
			return err
		})
	if errors.Is(err, fs.ErrNotExist) {
		return failure(exitError, "digime-sync run   (makes it)", "check state: %w", err)
	}
	if err != nil {
		return fmt.Errorf("check state: %w", err)
	}
	fmt.Fprintf(a.out, "database   %d files, %d deliveries, %d bytes\n", c.Files, c.Deliveries, c.Bytes)
	fmt.Fprintf(a.out, "audit log  %d lines, %d bytes\n", c.AuditLines, c.AuditBytes)
	fmt.Fprintf(a.out, "tokens     %d files\n", c.Tokens)
	remarks := append(consentsMissing(cfg, c), stateMissing(cfg, c)...)
	for _, fault := range c.Faults {
		a.printFault("FAULT", fault)
	}
	for _, remark := range remarks {
		a.printFault("remark", remark)
	}
	if len(c.Faults) > 0 {
		return errHeld
	}
	fmt.Fprintln(a.out, "no faults")
	return nil
}

func (a *app) printFault(kind string, f store.Fault) {
	hint := f.Hint
	if f.Library != "" {
		hint = strings.ReplaceAll(hint, "digime-sync authorize LIBRARY", engine.ConsentHint(f.Library))
	}
	fmt.Fprintf(a.out, "%s: %s\n  do: %s\n", kind, plain(f.What), hint)
}

// consentsMissing adds the libraries to the faults that had a consent, since they
// have got something, and have none now. It returns as remarks those that have
// none yet, and those that nobody speaks of any more.
func consentsMissing(cfg *Config, c *store.Checked) (remarks []store.Fault) {
	const give = "digime-sync authorize LIBRARY"
	names := append(cfg.libraryList(), slices.Collect(maps.Keys(c.Delivered))...)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if name == "" || slices.Contains(c.Consents, name) {
			continue
		}
		switch {
		case !c.Delivered[name]:
			remarks = append(remarks, store.Fault{What: "library " + name + " has no consent yet: what is for it waits", Hint: give, Library: name})
		case !cfg.serves(name):
			remarks = append(remarks, store.Fault{What: "library " + name + " has got files, but has no consent any more, and neither the configuration nor a subfolder names it",
				Hint: "nothing, if it was meant to go; else bring back what names it, and " + give, Library: name})
		default:
			c.Faults = append(c.Faults, store.Fault{What: "the consent of library " + name + " is lost: it has got files, and there is no token file for it",
				Hint: "bring it back from a backup: digime-sync state restore FILE --force; or have the consent given again: " + give, Library: name})
		}
	}
	return remarks
}

// serves says whether files can come up for a library: it is named, or has its subfolder.
func (cfg *Config) serves(library string) bool {
	return slices.Contains(cfg.libraryList(), library) || slices.ContainsFunc(cfg.Folders, func(f FolderConfig) bool {
		_, err := os.Stat(filepath.Join(f.Path, library))
		return f.Library == engine.BySubfolder && err == nil
	})
}

// stateMissing says what it means that there is neither database nor audit log:
// a fault where a receipt beside its file proves that there was one, a remark
// where consents may only have been given ahead.
func stateMissing(cfg *Config, c *store.Checked) (remarks []store.Fault) {
	if !c.Empty {
		return nil
	}
	for _, folder := range cfg.folders() {
		receipt, err := engine.FirstReceipt(&folder)
		if err == nil && receipt != "" {
			c.Faults = append(c.Faults, store.Fault{
				What: "there is neither database nor audit log, but " + receipt + " tells of a delivery: they were lost, or their disk is not mounted; nothing knows any more what was delivered",
				Hint: "mount it, or digime-sync state restore FILE. Without either, the service pauses at its start, and digime-sync resume sends what lies in the folders, also what was sent before"})
			return nil
		}
	}
	if len(c.Consents) == 0 {
		return nil
	}
	return []store.Fault{{
		What: "there are consents, but neither database nor audit log: no service has run here yet, or they were lost, and nothing knows any more what was delivered",
		Hint: "nothing, if none has run; else, before the service starts: digime-sync state restore FILE, or what lies in the folders is sent again"}}
}
