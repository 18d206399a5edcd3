package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/engine"
)

// authorizeFlags are those of `authorize`.
type authorizeFlags struct {
	noBrowser, read bool
	timeout         time.Duration
}

func (a *app) authorizeCommand() *cobra.Command {
	var flags authorizeFlags
	cmd := &cobra.Command{
		Use:   "authorize LIBRARY",
		Short: "Ask a person for consent, or to renew it, and save the token",
		Long: "authorize opens digi.me's consent page in the browser and waits for the person's answer, which the\n" +
			"browser brings to the contract's redirect_uri on this machine. Where the browser is on another machine,\n" +
			"paste the address it ends up at. Held files of the library go by themselves once the token is saved.",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if flags.timeout <= 0 {
				return failure(exitUsage, "--timeout 10m", "--timeout %s leaves no time for an answer", flags.timeout)
			}
			return a.authorize(args[0], flags)
		},
	}
	cmd.Flags().BoolVar(&flags.noBrowser, "no-browser", false, "print the link instead of opening it")
	cmd.Flags().BoolVar(&flags.read, "read", false, "ask for the library's read contract, linked to the same person's library")
	cmd.Flags().DurationVar(&flags.timeout, "timeout", 10*time.Minute, "how long to wait for the person's answer")
	return cmd
}

// authorize asks a person and saves what he consents to. The port is taken
// before the service hears of anything, and the vault tried: what cannot work
// is said before a person is bothered.
func (a *app) authorize(library string, flags authorizeFlags) error {
	c, err := a.newConsent(library, flags.read)
	if err != nil {
		return err
	}
	r, err := newReceiver(c.contract.RedirectURI)
	if err != nil {
		return err
	}
	defer r.close()
	pastes := a.pastes(flags.noBrowser)
	if !r.listening() && pastes == nil {
		return failure(exitError, "digime-sync authorize "+library+" --no-browser   and paste the address the browser ends up at",
			"redirect_uri %s is not on this machine, so that the browser cannot bring the answer here", c.contract.RedirectURI)
	}
	ctx, stop := interruptible()
	defer stop()
	asked, err := c.ask(ctx)
	if err != nil {
		return c.refused(err)
	}
	r.expect(asked.State)
	a.invite(c, r, asked.URL, flags, pastes != nil)
	w := waiting{app: a, receiver: r, pastes: pastes}
	if !flags.noBrowser {
		w.opened = openBrowser(asked.URL)
	}
	ans, err := w.answer(ctx, flags.timeout)
	if err != nil {
		return err
	}
	shown, err := a.conclude(c, ans, asked)
	ans.show(shown)
	return err
}

// invite prints the link, on a line of its own, and what happens next.
func (a *app) invite(c *consent, r *receiver, link string, flags authorizeFlags, paste bool) {
	what := "The browser opens. If it does not, open"
	if flags.noBrowser {
		what = "Open"
	}
	fmt.Fprintf(a.out, "%s this link, as the person of library %s:\n\n%s\n\n", what, plain(c.library), link)
	if r.listening() {
		fmt.Fprintf(a.out, "Waiting at most %s for the answer at %s\n", flags.timeout, c.contract.RedirectURI)
	}
	if paste {
		fmt.Fprintln(a.out, "If the browser is on another machine, paste the address it ends up at here:")
	}
}

// conclude turns the person's answer into a token, and says what became of it:
// to the person in the browser, and here.
func (a *app) conclude(c *consent, ans decision, asked digime.Authorization) (page, error) {
	again := "digime-sync authorize " + c.library + c.flag()
	if ans.refused != "" {
		return pageDeclined, failure(exitHeld, again, "no consent for library %s: %s; nothing was changed", c.library, ans.refused)
	}
	tok, err := c.take(ans, asked.Verifier)
	switch {
	case errors.Is(err, errOtherPerson):
		return pageOther, failure(exitHeld, "let the person of library "+c.library+" answer: "+again+
			"; the other person's consent is got with the name of the library that is theirs", "consent for library %s is not saved: %w; nothing was changed", c.library, err)
	case errors.Is(err, errKept):
		return pageFailed, failure(exitHeld, "nothing to do while the service runs: it goes on by itself; else: digime-sync token refresh "+c.library,
			"consent for library %s was given: %w", c.library, err)
	case err != nil:
		return pageFailed, failure(exitError, "ask again: "+again, "consent for library %s was given, but is lost: %w", c.library, err)
	}
	a.sayNewKey(c.vault)
	fmt.Fprintf(a.out, "consent for library %s saved; access until %s, consent until %s\n", tokenName(c.token), day(tok.Access), day(tok.Refresh))
	return pageSaved, nil
}

// consent is one asking of a person, from the link to the saved token.
type consent struct {
	library  string
	token    string // the name under which the vault holds it
	contract digime.Contract
	write    engine.Library
	old      *digime.Token // of this contract; nil when there is none that can be read
	linked   string        // the user of the write contract's token that a read contract is linked by
	certain  bool          // the service itself binds the link to the person

	cfg    *Config
	vault  *store.Vault
	client *digime.Client
	engine *engine.Engine
	log    *slog.Logger
}

func (a *app) newConsent(library string, read bool) (*consent, error) {
	cfg, v, err := a.vault(library)
	if err != nil {
		return nil, err
	}
	c := &consent{library: library, token: library, cfg: cfg, vault: v}
	if c.write, err = cfg.library(library); err != nil {
		return nil, err
	}
	c.contract = c.write.Contract
	if read {
		name := cfg.Libraries[library].ReadContract
		if name == "" {
			return nil, failure(exitError, "add read_contract: NAME to the library in the configuration, and the contract NAME under contracts", "library %s has no read contract", library)
		}
		c.token, c.contract = engine.ReadToken(library), cfg.contract(name)
	}
	if c.contract.RedirectURI == "" {
		return nil, failure(exitError, "add redirect_uri to it in the configuration: one of those registered for it, like http://localhost:8421/callback", "contract %s has no redirect_uri", c.contract.ID)
	}
	if c.log, err = a.commandLog(slog.LevelWarn); err != nil {
		return nil, err
	}
	if c.client, err = newClient(cfg, c.log); err != nil {
		return nil, err
	}
	c.engine = engine.New(engine.Options{Vault: v, Client: c.client, StateDir: cfg.StateDir, Log: c.log})
	unlock, err := v.Lock(c.token) // it can be written to, as far as that can be told before
	if err != nil {
		return nil, err
	}
	unlock()
	return c, c.remember()
}

// remember reads the token there is. One that is damaged is none: this command
// is how to replace it.
func (c *consent) remember() error {
	tok, err := loadToken(c.vault, c.token)
	var damaged *store.DamagedError
	var broken *digime.TokenError
	switch {
	case err == nil:
		c.old = &tok
	case errors.As(err, &damaged), errors.As(err, &broken):
		c.log.Warn("the token there is cannot be read; whose it was cannot be compared", "library", c.library, "err", err)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return nil
}

func (c *consent) reads() bool { return c.token != c.library }

// flag is what the command line had besides the library.
func (c *consent) flag() string {
	if c.reads() {
		return " --read"
	}
	return ""
}

// ask has the service prepare the link. A token there is is renewed for its own
// person; where the service does not know it any more, anybody is asked, and
// take compares.
func (c *consent) ask(ctx context.Context) (digime.Authorization, error) {
	if c.reads() {
		return c.askLinked(ctx)
	}
	if c.old != nil && c.old.Access.Value != "" {
		asked, err := c.client.Reauthorize(ctx, c.contract, c.old.Access.Value)
		if !unknownToken(err) {
			c.certain = true
			return asked, err
		}
		c.log.Info("the service does not know the token any more: asking from scratch", "library", c.library)
	}
	return c.client.Authorize(ctx, c.contract, "")
}

func unknownToken(err error) bool {
	var api *digime.Error
	return errors.As(err, &api) &&
		(api.Class == digime.TokenExpired || api.Class == digime.ConsentGone || api.Status == http.StatusUnauthorized)
}

// askLinked asks for the read contract of the library to which the write
// contract's token belongs.
func (c *consent) askLinked(ctx context.Context) (asked digime.Authorization, err error) {
	c.certain = true
	for rejected, try := "", 1; ; try++ {
		access, err := c.engine.Refresh(ctx, c.write, func(t digime.Token) bool {
			return t.Access.Value == rejected || time.Now().Add(time.Minute).After(time.Unix(t.Access.Expiry, 0))
		})
		if err != nil {
			return asked, c.notLinked(err)
		}
		asked, err = c.client.Authorize(ctx, c.contract, access)
		if err == nil {
			return asked, c.link()
		}
		if !unknownToken(err) || try > 1 {
			return asked, err
		}
		rejected = access
	}
}

// link notes whose library it is.
func (c *consent) link() error {
	tok, err := loadToken(c.vault, c.library)
	c.linked = tok.UserID
	return err
}

// person is the user whose consent it must be, "" if nobody knows yet.
func (c *consent) person() string {
	if c.linked == "" && c.old != nil {
		return c.old.UserID
	}
	return c.linked
}

// notLinked explains why there is no access token to link the read contract by.
func (c *consent) notLinked(err error) error {
	var api *digime.Error
	_, missing := loadToken(c.vault, c.library)
	if errors.Is(missing, fs.ErrNotExist) || errors.As(err, &api) && api.Class == digime.ConsentGone {
		return failure(exitHeld, "first: digime-sync authorize "+c.library,
			"a read contract is linked to the library by the write contract's token, and there is none of library %s that works: %w", c.library, err)
	}
	return err
}

// refused says what stands in the way of asking.
func (c *consent) refused(err error) error {
	var api *digime.Error
	if errors.As(err, &api) && api.Class == digime.Configuration {
		return failure(exitError, "check application_id, and id, private_key_file and redirect_uri of contract "+c.contract.ID+", in the configuration", "ask for consent: %w", err)
	}
	return fmt.Errorf("ask for consent: %w", err)
}

var errOtherPerson = errors.New("another person answered than this library's")

// save puts the token into the vault, unless it is another person's than the
// one there: it may have been renewed or imported while the person was asked.
func (c *consent) save(tok *digime.Token) error {
	unlock, err := c.vault.Lock(c.token)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.remember(); err != nil {
		return err
	}
	switch {
	case tok.UserID == "" && c.certain:
		tok.UserID = c.person()
	case c.person() != "" && tok.UserID != c.person():
		return errOtherPerson
	}
	if other, err := c.elsewhere(*tok); err != nil || other != "" {
		return cmp.Or(err, fmt.Errorf("%w: that of library %s", errOtherPerson, other))
	}
	if tok.Postbox == nil && c.old != nil {
		tok.Postbox = c.old.Postbox
	}
	data, err := json.Marshal(tok)
	if err != nil {
		return fmt.Errorf("encode token: %w", err)
	}
	return c.vault.Save(c.token, data)
}

// elsewhere names another library whose person has answered. A read contract is
// linked to its own library by the service.
func (c *consent) elsewhere(tok digime.Token) (other string, err error) {
	if c.reads() {
		return "", nil
	}
	return ownerElsewhere(c.cfg, c.vault, c.library, tok)
}

// openBrowser opens the link in the person's browser, by the way each system
// has for it. The channel brings an error where that did not work.
func openBrowser(link string) <-chan error {
	command := []string{"xdg-open"}
	switch runtime.GOOS {
	case "darwin":
		command = []string{"open"}
	case "windows":
		command = []string{"rundll32", "url.dll,FileProtocolHandler"}
	}
	command = append(command, link)
	opened := make(chan error, 1)
	go func() { opened <- exec.Command(command[0], command[1:]...).Run() }()
	return opened
}

// pastes brings the lines of standard input where somebody may paste the
// callback's address: at a terminal, or when the browser is said to be
// elsewhere. Nil otherwise; closed when the input ends.
func (a *app) pastes(noBrowser bool) <-chan string {
	if f, ok := a.in.(*os.File); ok && !noBrowser {
		if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
			return nil
		}
	}
	lines := make(chan string)
	// A read of standard input cannot be broken off: this ends with the process.
	go readLines(a.in, lines)
	return lines
}
