package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/engine"
)

// mostToken bounds what is read as a token, in bytes.
const mostToken = 1 << 20

func (a *app) tokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Import, export, list and refresh the consent tokens"}
	cmd.AddCommand(
		a.importTokenCommand(),
		&cobra.Command{
			Use: "export LIBRARY [FILE]", Short: "Write a token in the SDKs' JSON form, to a new FILE or standard output (-)",
			Args: cobra.RangeArgs(1, 2), RunE: func(_ *cobra.Command, args []string) error { return a.exportToken(args) },
		},
		&cobra.Command{
			Use: "refresh LIBRARY…", Short: "Refresh tokens now, and save them",
			Args: cobra.MinimumNArgs(1), RunE: func(_ *cobra.Command, args []string) error { return a.refreshTokens(args) },
		},
		a.listTokensCommand(),
	)
	return cmd
}

// vault opens the configuration's token vault, and checks the libraries' names.
func (a *app) vault(libraries ...string) (*Config, *store.Vault, error) {
	cfg, err := LoadConfig(a.config())
	if err != nil {
		return nil, nil, err
	}
	for _, name := range libraries {
		if _, err := cfg.library(name); err != nil {
			return nil, nil, err
		}
	}
	v, err := store.OpenVault(cfg.StateDir)
	if err != nil {
		return nil, nil, fmt.Errorf("open token vault: %w", err)
	}
	return cfg, v, nil
}

func (a *app) importTokenCommand() *cobra.Command {
	var otherPerson bool
	cmd := &cobra.Command{
		Use: "import LIBRARY [FILE]", Short: "Take a token in the SDKs' JSON form, from FILE or standard input (-)",
		Long: "import takes a token in the SDKs' JSON form, from FILE or standard input (-). A token that belongs to\n" +
			"another library's person, or to another person than this library's token before, is refused.",
		Args: cobra.RangeArgs(1, 2), RunE: func(_ *cobra.Command, args []string) error { return a.importToken(args, otherPerson) },
	}
	cmd.Flags().BoolVar(&otherPerson, "other-person", false, "the library is another person's from now on")
	return cmd
}

func (a *app) importToken(args []string, otherPerson bool) error {
	library := args[0]
	cfg, v, err := a.vault(library)
	if err != nil {
		return err
	}
	from := io.Reader(a.in)
	if len(args) == 2 && args[1] != "-" {
		f, err := os.Open(args[1])
		if err != nil {
			return cannotRead("read token", args[1], err)
		}
		defer f.Close()
		from = f
	}
	data, err := io.ReadAll(io.LimitReader(from, mostToken))
	if err != nil {
		return cannotRead("read token", args[len(args)-1], err)
	}
	tok, err := digime.ParseToken(data)
	if err != nil {
		return failure(exitError, `the form is {"accessToken":{"value":"…","expiry":1700000000},"refreshToken":{"value":"…","expiry":1700000000}}`, "read token: %w", err)
	}
	unlock, err := v.Lock(library)
	if err != nil {
		return fmt.Errorf("lock token: %w", err)
	}
	defer unlock()
	if err := checkOwner(cfg, v, library, tok, otherPerson); err != nil {
		return err
	}
	if data, err = json.Marshal(tok); err != nil {
		return fmt.Errorf("encode token: %w", err)
	}
	if err := v.Save(library, data); err != nil {
		return fmt.Errorf("save token: %w", err)
	}
	a.sayNewKey(v)
	fmt.Fprintf(a.out, "token of library %s imported; access until %s, consent until %s\n", library, day(tok.Access), day(tok.Refresh))
	if time.Now().After(time.Unix(tok.Refresh.Expiry, 0)) {
		return failure(exitHeld, engine.ConsentHint(library), "this token's consent has already ended")
	}
	return nil
}

// sayNewKey says that a consent was sealed with a new key, since the old one is lost.
func (a *app) sayNewKey(v *store.Vault) {
	aside := v.NewKey()
	if len(aside) == 0 {
		return
	}
	fmt.Fprintln(a.err, "the key that the earlier consents were sealed with is lost: a new key was made; every other library needs a new consent, too")
	for _, name := range aside {
		fmt.Fprintf(a.err, "set aside: %s\n", plain(name))
	}
}

// checkOwner refuses a token by which files would go to the wrong person: one
// that another library has, or of another user than the library's token before.
func checkOwner(cfg *Config, v *store.Vault, library string, tok digime.Token, otherPerson bool) error {
	other, err := ownerElsewhere(cfg, v, library, tok)
	if err != nil {
		return err
	}
	if other != "" {
		return failure(exitError, "check whose token it is; each library needs its own person's",
			"this token is that of library %s: files of library %s would go to the wrong person; nothing was changed", other, library)
	}
	old, err := loadToken(v, library) // one that cannot be read is of no use to anybody
	if err == nil && old.UserID != "" && tok.UserID != "" && old.UserID != tok.UserID && !otherPerson {
		return failure(exitError, "check whose token it is; if the library is really another person's from now on: --other-person",
			"this token is another person's than the one library %s has: nothing was changed", library)
	}
	return nil
}

// ownerElsewhere names another library of the configuration that this token, or
// this person's consent to the same contract, belongs to; "" if none does.
func ownerElsewhere(cfg *Config, v *store.Vault, library string, tok digime.Token) (other string, err error) {
	names, _ := v.List() // files that are damaged are not among them: nobody can use them, and a new token mends that
	mine, err := cfg.library(library)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		lib, err := cfg.library(name)
		if err != nil || name == library {
			continue // not a library of this configuration any more, or this one
		}
		old, err := loadToken(v, name)
		if err != nil {
			continue // what cannot be read is of no use to anybody
		}
		sameUser := old.UserID != "" && old.UserID == tok.UserID
		if old.Refresh.Value == tok.Refresh.Value || sameUser && lib.Contract.ID == mine.Contract.ID {
			return name, nil
		}
	}
	return "", nil
}

// loadToken reads a token of the vault. Errors are Vault.Load's and ParseToken's.
func loadToken(v *store.Vault, name string) (digime.Token, error) {
	data, err := v.Load(name)
	if err != nil {
		return digime.Token{}, err
	}
	return digime.ParseToken(data)
}

func day(p digime.TokenPart) string { return time.Unix(p.Expiry, 0).Local().Format("2006-01-02 15:04") }

func (a *app) exportToken(args []string) error {
	_, v, err := a.vault(args[0])
	if err != nil {
		return err
	}
	data, err := v.Load(args[0])
	if errors.Is(err, fs.ErrNotExist) {
		return failure(exitError, "digime-sync token list", "there is no token of library %s", args[0])
	}
	if err != nil {
		return fmt.Errorf("load token: %w", err)
	}
	data = append(data, '\n')
	if len(args) == 1 || args[1] == "-" {
		_, err = a.out.Write(data)
		return err
	}
	f, err := os.OpenFile(args[1], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return cannotMake("write token", args[1], err)
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write token: %w", err)
	}
	fmt.Fprintf(a.err, "token of library %s written to %s; whoever has it can push to this library\n", args[0], filepath.Clean(args[1]))
	return nil
}

func (a *app) refreshTokens(libraries []string) error {
	cfg, v, err := a.vault(libraries...)
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
	e := engine.New(engine.Options{Vault: v, Client: client, StateDir: cfg.StateDir, Log: log})
	ctx, stop := interruptible()
	defer stop()
	for _, name := range libraries {
		lib, err := cfg.library(name)
		if err != nil {
			return err
		}
		if _, err := e.Refresh(ctx, lib, func(digime.Token) bool { return true }); err != nil {
			return refreshFailure(name, err)
		}
		fmt.Fprintf(a.out, "token of library %s refreshed and saved\n", name)
	}
	return nil
}

func refreshFailure(library string, err error) error {
	var api *digime.Error
	if errors.As(err, &api) && api.Class == digime.ConsentGone {
		return failure(exitHeld, engine.ConsentHint(library), "refresh token of library %s: the consent has ended: %w", library, err)
	}
	return fmt.Errorf("refresh token of library %s: %w", library, err)
}

func (a *app) listTokensCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "When each library's access and consent end", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.listTokens(asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) listTokens(asJSON bool) error {
	cfg, v, err := a.vault()
	if err != nil {
		return err
	}
	names, damage := v.List()
	names = append(names, cfg.libraryList()...)
	slices.Sort(names)
	list := []engine.LibraryStatus{}
	for _, name := range slices.Compact(names) {
		list = append(list, engine.TokenStatus(v, name))
	}
	if asJSON {
		err = a.printJSON(list)
	} else {
		a.printTokens(list)
	}
	if errors.Is(v.Ready(), store.ErrKeyLost) && err == nil {
		return failure(exitHeld, engine.KeyLostHint, "%w", store.ErrKeyLost)
	}
	if damage != nil && err == nil {
		return failure(exitHeld, "digime-sync state restore, of a backup; or let the person consent again: digime-sync authorize LIBRARY", "%w", damage)
	}
	return err
}

func (a *app) printTokens(list []engine.LibraryStatus) {
	fmt.Fprintf(a.out, "%-20s %-8s %-17s %s\n", "LIBRARY", "STATE", "ACCESS UNTIL", "CONSENT UNTIL")
	for _, l := range list {
		fmt.Fprintf(a.out, "%-20s %-8s %-17s %s\n", tokenName(l.Name), l.State, minute(l.AccessExpires), minute(l.RefreshExpires))
		if l.Hint != "" {
			fmt.Fprintf(a.out, "%-20s do: %s\n", "", l.Hint)
		}
	}
}

// tokenName shows people which of a library's tokens it is.
func tokenName(token string) string {
	library, read := engine.TokenLibrary(token)
	if read {
		return plain(library) + " (read)"
	}
	return plain(library)
}

func minute(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04")
}
