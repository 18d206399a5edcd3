package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/store/failpoint"
	"github.com/digime-sync/digime-sync/sync/digime"
)

// refreshAhead is how long before its end an access token is renewed: longer
// than a clock that is a little wrong, shorter than the shortest lifetimes seen.
const refreshAhead = time.Minute

// refreshGrace is how long a stop waits for the answer to a refresh that has
// left: it may hold the only copy of a person's consent.
const refreshGrace = 25 * time.Second

// access returns a library's access token, refreshed where it is about to
// expire or is the rejected one.
func (e *Engine) access(ctx context.Context, lib Library, rejected string) (string, error) {
	tok, err := e.token(lib.Name)
	if err != nil {
		return "", err
	}
	if e.usable(lib.Name, tok, rejected) {
		return tok.Access.Value, nil
	}
	return e.Refresh(ctx, lib, func(t digime.Token) bool { return !e.usable(lib.Name, t, rejected) })
}

// usable says whether an access token is good, as far as the clock tells. One
// that has only just come is, whatever the clock says: a wrong one must not
// have it renewed before every push.
func (e *Engine) usable(library string, t digime.Token, rejected string) bool {
	now := time.Now()
	e.mu.Lock()
	came, known := e.refreshed[library]
	e.mu.Unlock()
	if known && now.Sub(came) < refreshAhead/2 && t.Access.Value != rejected {
		return true
	}
	return usable(t, rejected, e.serverTime(now))
}

func usable(t digime.Token, rejected string, now time.Time) bool {
	ahead := refreshAhead + rand.N(refreshAhead/2) // so that many libraries do not refresh at once
	return t.Access.Value != rejected && now.Add(ahead).Before(time.Unix(t.Access.Expiry, 0))
}

// Refresh renews a library's token if needed says so of the one in the vault,
// and returns the access token to use. Under the library's lock, which holds
// across processes, it re-reads, refreshes, saves, and only then hands out:
// the new refresh token must not be lost whatever becomes of the push. A
// refresh whose answer was lost is repeated at once with the old token, while
// the service may still take it.
func (e *Engine) Refresh(ctx context.Context, lib Library, needed func(digime.Token) bool) (string, error) {
	unlock, err := e.Vault.Lock(lib.Name)
	if err != nil {
		return "", fmt.Errorf("lock token: %w", err)
	}
	defer unlock()
	old, err := e.token(lib.Name)
	if err != nil {
		return "", err
	}
	if !needed(old) {
		return old.Access.Value, nil
	}
	// Saving what is already there proves that the vault can be written to
	// before the service is told to make the old pair void.
	if u := old.Unverified; u == nil || u.GivenUp {
		if err := e.saveToken(lib.Name, old); err != nil {
			return "", err
		}
	}
	stamp, err := e.Vault.Changed(lib.Name)
	if err != nil {
		return "", fmt.Errorf("look at token: %w", err)
	}
	if err := failpoint.Hit("refresh.send"); err != nil {
		return "", fmt.Errorf("save token: %w", err)
	}
	renewed := &renewal{Engine: e, lib: lib, old: old, stamp: stamp}
	fresh, err := renewed.run(ctx)
	if err != nil {
		return "", &refreshError{err: err, stamp: renewed.stamp}
	}
	e.Log.Info("token refreshed", "library", lib.Name, "access_expires", time.Unix(fresh.Access.Expiry, 0))
	renewed.hold(fresh)
	e.mu.Lock()
	e.refreshed[lib.Name] = time.Now()
	delete(e.kept, lib.Name)
	e.mu.Unlock()
	if err := failpoint.Hit("refresh.answered"); err != nil {
		return "", fmt.Errorf("save token: %w", err)
	}
	if err := e.saveToken(lib.Name, fresh); err != nil {
		return "", err
	}
	return fresh.Access.Value, nil
}

// refreshError is a refresh that was answered with err, and the stamp of the
// token in the vault, which the refresh itself had renewed: only another one
// than that says that somebody has brought a new token.
type refreshError struct {
	err   error
	stamp string
}

func (e *refreshError) Error() string { return e.err.Error() }
func (e *refreshError) Unwrap() error { return e.err }

// unsaved is a token that was refreshed while the vault could not be written.
type unsaved struct {
	token digime.Token
	stamp string // of the token in the vault that it replaces
}

// token loads a library's token; one that could be refreshed but not saved is
// saved first, unless somebody has brought a newer one by now.
func (e *Engine) token(library string) (digime.Token, error) {
	e.mu.Lock()
	fresh, pending := e.unsaved[library]
	e.mu.Unlock()
	if pending {
		stamp, err := e.Vault.Changed(library)
		if err != nil {
			return digime.Token{}, fmt.Errorf("look at token: %w", err)
		}
		if stamp == fresh.stamp {
			return fresh.token, e.saveToken(library, fresh.token)
		}
	}
	data, err := e.Vault.Load(library)
	if errors.Is(err, fs.ErrNotExist) {
		return digime.Token{}, errNoToken
	}
	if err != nil {
		return digime.Token{}, fmt.Errorf("load token: %w", err)
	}
	tok, err := digime.ParseToken(data)
	if tok.Unverified != nil {
		e.mu.Lock()
		e.kept[library] = true
		e.mu.Unlock()
	}
	return tok, err
}

// postbox returns where a library's postbox is: as configured, or as it came
// with the consent.
func (e *Engine) postbox(lib Library) (digime.PostboxAddress, error) {
	if lib.Postbox != nil {
		return *lib.Postbox, nil
	}
	tok, err := e.token(lib.Name)
	if err != nil {
		return digime.PostboxAddress{}, err
	}
	if tok.Postbox == nil {
		return digime.PostboxAddress{}, errNoPostbox
	}
	return tok.Postbox.Address()
}

// accountID looks up the id of a person's account with a provider by its
// reference. Two accounts of one reference are none: nothing is guessed.
func (e *Engine) accountID(ctx context.Context, lib Library, access, reference string) (string, error) {
	accounts, err := e.Client.Accounts(ctx, lib.Contract, access)
	if err != nil {
		return "", err
	}
	id := ""
	for _, a := range accounts {
		switch {
		case a.Reference != reference:
		case id != "" && id != a.ID:
			return "", fmt.Errorf("%w: more than one has the reference %q", errNoAccount, reference)
		default:
			id = a.ID
		}
	}
	if id == "" {
		return "", fmt.Errorf("%w: none has the reference %q", errNoAccount, reference)
	}
	return id, nil
}

var errNoAccount = errors.New("the account at the provider cannot be told")

var errNoPostbox = errors.New("nothing says where this library's postbox is")

var errNoToken = errors.New("there is no token for this library")

func (e *Engine) saveToken(library string, t digime.Token) error {
	data, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("encode token: %w", err)
	}
	if err := e.Vault.Save(library, data); err != nil {
		return fmt.Errorf("save token: %w", err)
	}
	e.mu.Lock()
	delete(e.unsaved, library)
	e.mu.Unlock()
	return nil
}

// readSuffix marks the token of a read contract. No library's name holds a
// slash, so that none can be taken for one.
const readSuffix = "/read"

// ReadToken is the name under which the vault holds the token of a library's
// read contract; that of its write contract is held under the library's own.
func ReadToken(library string) string { return library + readSuffix }

// TokenLibrary returns whose a token in the vault is, and whether it is the one
// of the library's read contract.
func TokenLibrary(token string) (library string, read bool) {
	return strings.CutSuffix(token, readSuffix)
}

// ConsentHint is what to type where a token in the vault has to be replaced.
func ConsentHint(token string) string {
	library, read := TokenLibrary(token)
	if read {
		return "digime-sync authorize " + library + " --read"
	}
	return "digime-sync authorize " + library + "   (or bring a token: digime-sync token import " + library + " FILE)"
}

// consentHold is a lane's hold for want of consent.
func consentHold(library, reason string) store.Hold {
	return store.Hold{Library: library, Reason: reason, Hint: ConsentHint(library), Since: time.Now()}
}
