package sandbox

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
)

// What a Fault does to a request.
const (
	// DoRefuse answers with Status, Code, Message and RetryAfter in the shape of the API.
	DoRefuse = "refuse"
	// DoAnswer answers with Status and Body as they are: a portal's page, a 401 that is no error of the API.
	DoAnswer = "answer"
	// DoGarbage answers with bytes that are not HTTP.
	DoGarbage = "garbage"
	// DoCut resets the connection once Bytes of the body were read.
	DoCut = "cut"
	// DoStall never answers: until the client gives up, or Close. The client's going is only noticed when the body
	// was read (AfterBody) or there is none, since it is the body that stands before the end of the connection.
	DoStall = "stall"
	// DoLose does what was asked, records it, rotates tokens, and closes the connection without an answer.
	DoLose = "lose"
	// DoForeignKey signs the token in the answer with a key that is not in the key set, under the right kid.
	DoForeignKey = "foreign-key"
	// DoForeignJKU signs it with a key whose set is somewhere else, at JKU: a forged answer that is sound in itself.
	DoForeignJKU = "foreign-jku"
	// DoUnknownKid names a key that is not in the key set.
	DoUnknownKid = "unknown-kid"
)

// foreignKid is the name of the key that DoForeignJKU signs with, and foreignKeysPath where its set is served. To see
// whether a client follows any JKU, serve the sandbox on a second listener and name that path there.
const (
	foreignKid      = "foreign"
	foreignKeysPath = controlPath + "foreign-keys"
)

// Fault is one way in which requests go wrong. It strikes after the bearer was verified (a faulty client is told so
// even then) and before the token in it is looked at. DoLose and those that spoil a token strike only requests that
// succeed, and stay for the next one otherwise.
type Fault struct {
	Kind  string `json:"kind,omitempty"`  // which requests, one of the Req… constants; "" any
	User  string `json:"user,omitempty"`  // whose; "" anybody's
	Count int    `json:"count,omitempty"` // how many of them; 0 is one, less than 0 all until ClearFaults
	Do    string `json:"do"`              // one of the Do… constants

	Status     int    `json:"status,omitempty"`      // DoRefuse, DoAnswer; 0 is 503 and 200
	Code       string `json:"code,omitempty"`        // DoRefuse
	Message    string `json:"message,omitempty"`     // DoRefuse
	RetryAfter string `json:"retry_after,omitempty"` // DoRefuse: seconds or an HTTP date, as it is
	Body       string `json:"body,omitempty"`        // DoAnswer
	Type       string `json:"type,omitempty"`        // DoAnswer: the Content-Type; "" is text/html
	AfterBody  bool   `json:"after_body,omitempty"`  // DoRefuse, DoAnswer, DoGarbage, DoStall: read the request's body first
	Bytes      int64  `json:"bytes,omitempty"`       // DoCut
	JKU        string `json:"jku,omitempty"`         // DoForeignJKU; "" is an address that does not exist
}

// What a fault may name.
var (
	kinds = []string{"", ReqPush, ReqProvider, ReqPostbox, ReqRefresh, ReqExchange, ReqKeys, ReqAuthorize, ReqReference,
		ReqTrigger, ReqList, ReqFile, ReqAccounts}
	deeds         = append([]string{DoRefuse, DoAnswer, DoGarbage, DoCut, DoStall, DoLose}, forgeries...)
	forgeries     = []string{DoForeignKey, DoForeignJKU, DoUnknownKid}
	signedAnswers = []string{ReqRefresh, ReqExchange, ReqAuthorize, ReqReference} // whose answers hold a signed token
)

func (f *Fault) check() error {
	if !slices.Contains(kinds, f.Kind) {
		return fmt.Errorf("fault: unknown kind %q", f.Kind)
	}
	if !slices.Contains(deeds, f.Do) {
		return fmt.Errorf("fault: unknown do %q", f.Do)
	}
	if f.Status != 0 && (f.Status < 200 || f.Status > 599) {
		return fmt.Errorf("fault: no answer can have the status %d", f.Status)
	}
	return nil
}

// Fail queues a fault: each request suffers the first one queued that fits it. It panics at an
// unknown Kind or Do, or an impossible Status.
func (s *Server) Fail(f Fault) {
	if err := f.check(); err != nil {
		panic("sandbox: " + err.Error())
	}
	if f.Count == 0 {
		f.Count = 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &queuedFault{Fault: f})
}

// ClearFaults drops all faults that did not strike yet.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// queuedFault is a fault in the queue. Its Count is what is left of it; guarded by Server.mu.
type queuedFault struct {
	Fault
	taken int // requests under way that took it and may still give it back
}

// fits tells whether the fault is for this request. The caller holds Server.mu.
func (f *queuedFault) fits(kind, user string) bool {
	if f.Count == 0 || f.Kind != "" && f.Kind != kind || f.User != "" && f.User != user {
		return false
	}
	return !slices.Contains(forgeries, f.Do) || slices.Contains(signedAnswers, kind)
}

// takeFault gives the call the fault it is to suffer, nil for none, until releaseFault.
func (s *Server) takeFault(c *call) *queuedFault {
	s.mu.Lock()
	defer s.mu.Unlock()
	user := s.userOf(c.claims)
	for _, f := range s.faults {
		if f.fits(c.kind, user) {
			f.Count = max(f.Count-1, -1)
			f.taken++
			return f
		}
	}
	return nil
}

// releaseFault says whether the fault has struck; otherwise it is ready for the next request.
func (s *Server) releaseFault(f *queuedFault, struck bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.taken--
	if !struck && f.Count >= 0 {
		f.Count++
	}
	if f.Count == 0 && f.taken == 0 {
		s.faults = slices.DeleteFunc(s.faults, func(other *queuedFault) bool { return other == f })
	}
}

// before tells whether the fault strikes in place of serving the request.
func (f *Fault) before() bool { return f.Do != DoLose && !slices.Contains(forgeries, f.Do) }

// strike suffers a fault that strikes before the request is served. It returns only if that fault answers.
func (f *Fault) strike(s *Server, w http.ResponseWriter, c *call) reply {
	if f.AfterBody {
		// How the body ends is the client's affair: the fault strikes either way.
		_, _ = io.Copy(io.Discard, c.r.Body)
	}
	switch f.Do {
	case DoRefuse:
		e := &apiError{status: f.Status, code: f.Code, message: f.Message, retryAfter: f.RetryAfter}
		if e.status == 0 {
			e.status = http.StatusServiceUnavailable
		}
		return s.errorReply(e)
	case DoAnswer:
		return f.answer()
	case DoGarbage:
		disconnect(w, "\x00\x01 this is not HTTP \xff\r\n\r\n", false)
	case DoCut:
		_, _ = io.CopyN(io.Discard, c.r.Body, f.Bytes)
		disconnect(w, "", true)
	case DoStall:
		select {
		case <-c.r.Context().Done():
		case <-s.closing:
		}
	}
	disconnect(w, "", false)
	return reply{}
}

func (f *Fault) answer() reply {
	p := reply{status: f.Status, body: []byte(f.Body), header: http.Header{"Content-Type": {f.Type}}}
	if p.status == 0 {
		p.status = http.StatusOK
	}
	if f.Type == "" {
		p.header.Set("Content-Type", "text/html")
	}
	return p
}

// disconnect ends the connection without an answer, after writing raw to it. A reset tells the client at once, even
// while it is writing; otherwise the connection is closed in order. It does not return.
func disconnect(w http.ResponseWriter, raw string, reset bool) {
	if conn, buffered, err := http.NewResponseController(w).Hijack(); err == nil {
		// The client may be gone already; there is nobody to tell.
		_, _ = buffered.WriteString(raw)
		_ = buffered.Flush()
		if tcp := tcpOf(conn); tcp != nil && reset {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
	// HTTP/2 cannot be hijacked: there the stream is reset.
	panic(http.ErrAbortHandler)
}

func tcpOf(conn net.Conn) *net.TCPConn {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	tcp, _ := conn.(*net.TCPConn)
	return tcp
}
