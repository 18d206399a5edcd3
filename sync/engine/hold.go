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
		h = consentHold(lib.Name, "the consent for this library has ended: "+said(api))
		h.Code, h.Message = api.Code, api.Message
	case digime.Configuration:
		h.Reason = "digi.me does not accept our identity or contract: " + said(api)
		h.Hint = fmt.Sprintf("check application_id, and id and private_key_file of contract %s, in the configuration", lib.Contract.ID)
	case digime.ClientRefused:
		h.Reason, h.Hint = "digi.me does not accept this version of digime-sync any more: "+said(api), "install the newest version"
	case digime.Reauthorize:
		h.Reason, h.Hint = "the account at the provider must be authorized again: "+said(api), "let the person authorize the account again: "+ConsentHint(lib.Name)
	default:
		return store.Hold{}, false
	}
	return h, true
}
