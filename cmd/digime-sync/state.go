package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/engine"
)

func (a *app) stateCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "state", Short: "Back up, restore and examine the state folder"}
	cmd.AddCommand(a.backupCommand(), a.restoreCommand(), a.stateCheckCommand())
	return cmd
}

func (a *app) backupCommand() *cobra.Command {
	return &cobra.Command{
		Use: "backup FILE", Short: "Write a consistent copy of the state folder to a new FILE",
		Long: "backup writes a consistent copy of the state folder to a new FILE (a tar file), also while the daemon\n" +
			"runs: what was delivered and what is queued, the audit log, and the consents with the key they are\n" +
			"sealed with. So the file is as secret as the state folder: whoever has it can push to these libraries.\n" +
			"It is made readable by its owner only; keep it so. Keys and configuration are not in it.",
		Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error { return a.backupState(args[0]) },
	}
}

func (a *app) backupState(path string) error {
	cfg, log, err := a.open()
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return failure(exitError, "name a file that does not exist yet", "write backup: %s exists", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".digime-*.tmp") // only its owner can read it
	if err != nil {
		return cannotMake("write backup", path, err)
	}
	ctx, stop := interruptible()
	defer stop()
	err = withDaemon(ctx, cfg, log,
		func() error { return ask(ctx, cfg.StateDir, http.MethodGet, "/state/backup", nil, f) },
		func(e *engine.Engine) error { return e.Store.Backup(f) })
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	var m *store.Manifest
	if err == nil {
		m, err = store.ReadBackup(f.Name(), "") // what is on the disk, not what was meant to be
	}
	if err == nil {
		err = store.Move(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write backup: %w", err), os.Remove(f.Name()))
	}
	fmt.Fprintf(a.out, "state backed up to %s: database %d bytes, audit log %d bytes, %d token files\n",
		plain(path), m.Files["state.db"].Size, m.Files["audit.log"].Size, m.Tokens())
	fmt.Fprintf(a.err, "it holds the consents: whoever has it can push to these libraries\n")
	return nil
}

func (a *app) restoreCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Bring the state folder back from a backup",
		Long: "restore brings the state folder back from a backup, while no daemon runs. Where there is state already\n" +
			"it refuses, unless --force is given: database and audit log are then kept beside the restored ones under\n" +
			"dated names, and nothing that they know to be delivered is pushed again. A consent in place is replaced\n" +
			"only by a newer one, since the service makes old ones void.",
		Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error { return a.restoreState(args[0], force) },
	}
	cmd.Flags().BoolVar(&force, "force", false, "restore although there is state, which is set aside")
	return cmd
}

func (a *app) restoreState(path string, force bool) error {
	cfg, log, err := a.open()
	if err != nil {
		return err
	}
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		return cannotRead("restore state", path, err)
	}
	done, err := store.Restore(cfg.StateDir, path, store.RestoreOptions{Force: force, Newer: newerToken, Log: log})
	var (
		locked  *store.LockedError
		damaged *store.DamagedError
	)
	switch {
	case errors.As(err, &locked):
		return failure(exitRunning, "stop the service first, and start it when the state is restored", "restore state: %w", err)
	case errors.Is(err, store.ErrStateExists):
		return failure(exitError, "to restore nevertheless, and set aside what is there: digime-sync state restore --force "+path,
			"restore state: %s: %w", cfg.StateDir, err)
	case errors.As(err, &damaged) && damaged.Path == path:
		return failure(exitError, "nothing was changed; copy the backup here again, or restore another: digime-sync state restore FILE", "restore state: %w", err)
	case err != nil:
		return fmt.Errorf("restore state: %w", err)
	}
	fmt.Fprintf(a.out, "state of %s restored: %d deliveries are known, %d of them since the backup\n",
		done.Made.Local().Format("2006-01-02 15:04"), done.Deliveries, done.Later)
	for _, name := range done.Tokens {
		fmt.Fprintf(a.out, "consent of library %s: from the backup\n", tokenName(name))
	}
	for _, name := range done.Kept {
		fmt.Fprintf(a.out, "consent of library %s: the one in place is newer, or another person's, and was kept\n", tokenName(name))
	}
	if len(done.Tokens) > 0 {
		fmt.Fprintf(a.out, "a consent that was renewed since the backup is void in it: should digi.me refuse one, digime-sync authorize LIBRARY.\n"+
			"And let no other machine run with these consents: whichever renews one first ends the other's\n")
	}
	for _, name := range done.Aside {
		fmt.Fprintf(a.out, "set aside: %s\n", plain(name))
	}
	fmt.Fprintln(a.out, "what was delivered since the backup and is known to none of these is pushed again, if it still lies in its folder")
	return nil
}

// newerToken says whether a backup's token is to replace the one in place: only
// if it was given or refreshed later, and not to another person.
func newerToken(_ string, backup, inPlace []byte) bool {
	old, err := digime.ParseToken(backup)
	if err != nil {
		return false
	}
	now, err := digime.ParseToken(inPlace)
	switch {
	case err != nil:
		return true
	case old.UserID != "" && now.UserID != "" && old.UserID != now.UserID:
		return false
	case old.Refresh.Expiry != now.Refresh.Expiry:
		return old.Refresh.Expiry > now.Refresh.Expiry
	}
	return old.Access.Expiry > now.Access.Expiry
}

// backupStall bounds how long a command may stop reading a backup: it keeps a
// reader of the database open.
const backupStall = 10 * time.Second

// stateHandlers adds what the daemon does for these commands.
func stateHandlers(mux *http.ServeMux, d *daemon) {
	mux.HandleFunc("GET /state/check", func(w http.ResponseWriter, _ *http.Request) {
		e := d.current()
		c, err := e.Store.Check(e.Vault)
		answer(w, c, err)
	})
	mux.HandleFunc("GET /state/backup", func(w http.ResponseWriter, r *http.Request) {
		out := &impatient{w: w, control: http.NewResponseController(w), ctx: r.Context()}
		err := d.current().Store.Backup(out)
		switch {
		case err != nil && !out.begun:
			answer(w, nil, err)
		case err != nil:
			panic(http.ErrAbortHandler) // the command sees that it is cut off
		}
	})
}

// impatient writes to somebody who must go on reading.
type impatient struct {
	w       io.Writer
	control *http.ResponseController
	ctx     context.Context
	begun   bool
}

func (i *impatient) Write(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	i.begun = true
	if err := i.control.SetWriteDeadline(time.Now().Add(backupStall)); err != nil {
		return 0, err
	}
	return i.w.Write(p)
}
