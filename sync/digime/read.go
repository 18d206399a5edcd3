package digime

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// maxList bounds a list of files, in bytes: some hundred thousand of them.
const maxList = 32 << 20

// States of a reading, as List gives them.
const (
	ReadPending   = "pending"
	ReadRunning   = "running"
	ReadPartial   = "partial" // it is over, and some sources could not be read
	ReadCompleted = "completed"
)

// FileList is what a reading has found so far.
type FileList struct {
	State string // one of the Read… constants
	Files []RemoteFile
}

// Done says whether the list will not grow any more.
func (l FileList) Done() bool { return l.State == ReadPartial || l.State == ReadCompleted }

// RemoteFile is a file in a library. Its name is the service's, and may be anything.
type RemoteFile struct {
	Name    string
	Updated time.Time // zero where the service does not say
}

// Trigger starts a reading of the library that the access token of a read
// contract opens, and returns the key of its session, for List and Fetch.
// Errors are *Error, or the bare one of a context that ended.
func (c *Client) Trigger(ctx context.Context, k Contract, access string) (session string, err error) {
	var said struct {
		Session struct {
			Key string `json:"key"`
		} `json:"session"`
	}
	q := query{op: opTrigger, method: http.MethodPost, contract: k, access: access, where: c.base.JoinPath("permission-access/trigger"), body: c.agentBody()}
	if err := c.ask(ctx, q, maxTokenBody, &said); err != nil {
		return "", err
	}
	if !inPath(said.Session.Key) {
		return "", misread(opTrigger, "it holds no session")
	}
	return said.Session.Key, nil
}

// List asks a session for the files of the library. Until it is Done, there
// may be more of them. Errors are as of Trigger; a session that is not known any
// more is Class Refused with Status 404: trigger another.
func (c *Client) List(ctx context.Context, k Contract, access, session string) (FileList, error) {
	if !inPath(session) {
		return FileList{}, &Error{Op: opList, Class: Refused, what: "the session has no key that can be used"}
	}
	var said struct {
		Status struct {
			State string `json:"state"`
		} `json:"status"`
		Files []struct {
			Name    string          `json:"name"`
			Updated json.RawMessage `json:"updatedDate"`
		} `json:"fileList"`
	}
	q := query{op: opList, method: http.MethodGet, contract: k, access: access, where: c.session(session), secret: session}
	if err := c.ask(ctx, q, maxList, &said); err != nil {
		return FileList{}, err
	}
	list := FileList{State: said.Status.State, Files: make([]RemoteFile, 0, len(said.Files))}
	switch list.State {
	case ReadPending, ReadRunning, ReadPartial, ReadCompleted:
	default:
		return FileList{}, misread(opList, "its state is not known: "+clean(list.State, access, session))
	}
	for _, f := range said.Files {
		if f.Name == "" {
			return FileList{}, misread(opList, "a file in it has no name")
		}
		list.Files = append(list.Files, RemoteFile{Name: f.Name, Updated: fromMillis(f.Updated)})
	}
	return list, nil
}

// session is the address of a reading.
func (c *Client) session(key string) *url.URL {
	return c.base.JoinPath("permission-access/query", url.PathEscape(key))
}

// query is a call about a library that pushes nothing.
type query struct {
	op, method string
	contract   Contract
	access     string
	where      *url.URL
	body       []byte // JSON, nil for none
	secret     string // besides the access token: what the answer must not be quoted with
}

// ask makes such a call and fills into from the JSON of its answer, of at most
// limit bytes. Nothing is changed by these calls: none is ever in doubt.
func (c *Client) ask(caller context.Context, q query, limit int64, into any) error {
	ctx, cancel := context.WithTimeoutCause(caller, callTimeout, errTooLong)
	defer cancel()
	req, err := c.request(ctx, q)
	if err != nil {
		return err
	}
	a, _, err := c.call(ctx, q.op, req, limit)
	switch {
	case err != nil:
		return unanswered(caller, ctx, q.op, false, err)
	case !a.ok() || a.html():
		return c.refused(q.op, a, q.access, q.secret)
	case a.err != nil:
		return unanswered(caller, ctx, q.op, false, a.err)
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		return misread(q.op, "it is not the JSON that was asked for") // err may quote it
	}
	return nil
}

// request signs a query.
func (c *Client) request(ctx context.Context, q query) (*http.Request, error) {
	req, err := c.signed(ctx, q.method, q.where, q.contract, jwt.MapClaims{"access_token": q.access}, q.body)
	if err != nil {
		return nil, &Error{Op: q.op, Class: Configuration, what: err.Error(), Err: err}
	}
	return req, nil
}

// misread makes an error of an answer that came but does not say what it must.
func misread(op, what string) *Error {
	return &Error{Op: op, Class: BadAnswer, what: "the answer cannot be used: " + what}
}

// fromMillis reads milliseconds since 1970; what is not such a number is the zero time.
func fromMillis(raw json.RawMessage) time.Time {
	var ms float64
	if json.Unmarshal(raw, &ms) != nil || ms <= 0 || ms > 1e14 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms))
}
