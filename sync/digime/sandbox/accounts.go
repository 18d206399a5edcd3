package sandbox

import (
	"net/http"
	"strconv"
	"time"
)

// account is the account in a user's library to which a provider push goes, with the fields the SDK requires (Node.js
// read-accounts.ts). Times are in Unix milliseconds.
type account struct {
	ID                   string `json:"id"`
	Reference            string `json:"reference"`
	Type                 string `json:"type"`
	CreatedDate          int64  `json:"createdDate"`
	UpdatedDate          int64  `json:"updatedDate"`
	ServiceGroupID       int    `json:"serviceGroupId"`
	ServiceGroupName     string `json:"serviceGroupName"`
	ServiceTypeID        int    `json:"serviceTypeId"`
	ServiceTypeName      string `json:"serviceTypeName"`
	ServiceTypeReference string `json:"serviceTypeReference"`
	SourceID             int    `json:"sourceId"`
	Sample               bool   `json:"sample"`
}

// newAccount is the account every user of the sandbox has.
func newAccount(serial int, now time.Time) account {
	return account{
		ID: "1_" + strconv.Itoa(serial), Reference: randomID(), Type: "PUSH",
		CreatedDate: now.UnixMilli(), UpdatedDate: now.UnixMilli(),
		ServiceGroupID: 3, ServiceGroupName: "Health & Fitness", ServiceTypeID: 1, ServiceTypeName: "Sandbox",
		ServiceTypeReference: "sandbox", SourceID: 1, Sample: true,
	}
}

// serveAccounts answers permission-access/accounts.
func (s *Server) serveAccounts(c *call) (reply, error) {
	g, err := s.authorized(c)
	if err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, []account{g.user.account}), nil
}
