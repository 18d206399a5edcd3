package engine

import (
	"fmt"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
)

// holdFor returns the hold that an error of the service means for a library,
// if it needs a person.
func (e *Engine) holdFor(lib Library, api *digime.Error) (store.Hold, bool) {
	h := store.Hold{Library: lib.Name, Code: api.Code, Message: api.Message, Since: time.Now()}
	switch api.Class {
	case digime.ConsentGone:
		h = consentHold(lib.Name, "the consent for this library has ended: "+api.Error())
		h.Code, h.Message = api.Code, api.Message
	case digime.Configuration:
		h.Reason = "digi.me does not accept our identity or contract: " + api.Error()
		h.Hint = fmt.Sprintf("check application_id, and id and private_key_file of contract %s, in the configuration", lib.Contract.ID)
	case digime.ClientRefused:
		h.Reason, h.Hint = "digi.me does not accept this version of digime-sync any more: "+api.Error(), "install the newest version"
	case digime.Reauthorize:
		h.Reason, h.Hint = "the account at the provider must be authorized again: "+api.Error(), "let the person authorize the account again, then bring the new token: digime-sync token import "+lib.Name+" FILE"
	default:
		return store.Hold{}, false
	}
	return h, true
}

// clockHint says what to check where requests are called malformed: first the
// clock, since a wrong one looks just like that.
func (e *Engine) clockHint() string {
	if skew, ok := e.Client.Skew(); ok && skew.Abs() > 2*time.Minute {
		return fmt.Sprintf("set this machine's clock: it differs from digi.me's by %s", skew.Round(time.Second))
	}
	return "check the sidecar; it is tried again in an hour, or with: digime-sync push FILE"
}
