package main

import (
	"bufio"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/digime-sync/digime-sync/sync/digime"
)

// decision is what the person's browser brought back: a code, or why there is none.
type decision struct {
	code, refused string
	postbox       *digime.Postbox
	shown         chan<- page // what the browser is to show; nil when the answer was pasted
}

func (ans decision) show(p page) {
	if ans.shown != nil {
		ans.shown <- p
	}
}

// page is what a person is shown in the browser, after the answer.
type page struct {
	status      int
	Title, Text string
}

var (
	pageSaved     = page{http.StatusOK, "Thank you", "Your consent was received and saved."}
	pageDeclined  = page{http.StatusOK, "You did not share", "No consent was given, and nothing was changed. If you did not mean that, ask for a new link."}
	pageOther     = page{http.StatusConflict, "This is another person's library", "The link was for somebody else, or you are logged in with another digi.me than before. This consent was not saved, and nothing was changed."}
	pageFailed    = page{http.StatusBadGateway, "It did not work", "Your consent arrived, but it could not be saved. Nothing was changed. Please ask for a new link."}
	pageTaken     = page{http.StatusGone, "This was answered already", "An answer is taken once. It was received before; there is nothing left to do here."}
	pageWrong     = page{http.StatusBadRequest, "This belongs to another request", "The answer does not belong to the link that is waiting for one. Nothing was changed. Please open the newest link again."}
	pageIncorrect = page{http.StatusBadRequest, "This is not an answer", "The address holds neither a consent nor a refusal. Nothing was changed."}
	pageNothing   = page{http.StatusNotFound, "There is nothing here", "Only digi.me's answers are received at this address."}
	pageMethod    = page{http.StatusMethodNotAllowed, "There is nothing here", "Answers come as an ordinary page visit."}
)

var pageTemplate = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{.Title}}</title>
<style>body { font: 1.1em/1.5 sans-serif; max-width: 34em; margin: 3em auto; padding: 0 1em }</style>
</head>
<body>
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
<p>You can close this window.</p>
</body>
</html>
`))

// write sends the page. Its address holds the code, which is kept from caches,
// from other sites, and from the log.
func (p page) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	w.WriteHeader(p.status)
	_ = pageTemplate.Execute(w, p) // a browser that is gone does not change the answer
}

// receiver takes the answer, from the browser or pasted. It is served on the
// address of the redirect URI where that is on this machine.
type receiver struct {
	redirect *url.URL
	server   *http.Server // nil: answers can only be pasted
	serving  sync.WaitGroup
	answers  chan decision // the one answer there is
	said     chan string   // what is to be said of those that were not taken

	mu    sync.Mutex
	state string // "" until expect
	taken bool
}

// newReceiver listens for answers. A redirect URI elsewhere, or one with TLS,
// for which there is no certificate here, leaves pasting.
func newReceiver(redirect string) (*receiver, error) {
	u, err := url.Parse(redirect)
	if err != nil {
		return nil, failure(exitConfig, "write for example http://localhost:8421/callback", "redirect_uri is not a URL")
	}
	r := &receiver{redirect: u, answers: make(chan decision, 1), said: make(chan string, 8)}
	hosts := loopback(u)
	if len(hosts) == 0 {
		return r, nil
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	listeners, err := listenAll(hosts, port)
	if err != nil {
		return nil, failure(exitError, "end the program that uses the port (another digime-sync authorize?), or register another redirect_uri for the contract",
			"the browser brings the answer to %s, but that port cannot be used: %w", redirect, err)
	}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	r.server.SetKeepAlivesEnabled(false)
	for _, l := range listeners {
		r.serving.Go(func() { _ = r.server.Serve(l) }) // ends by close alone
	}
	return r, nil
}

// loopback returns the addresses of this machine to which the URI leads, none
// if it leads elsewhere. Browsers take either address for localhost.
func loopback(u *url.URL) []string {
	addr, err := netip.ParseAddr(u.Hostname())
	switch {
	case u.Scheme != "http" || u.Port() == "0":
		return nil
	case strings.EqualFold(u.Hostname(), "localhost"):
		return []string{"127.0.0.1", "::1"}
	case err == nil && addr.IsLoopback():
		return []string{addr.String()}
	}
	return nil
}

// listenAll listens at the port of all hosts, leaving out those this machine
// does not have at all. A port that is another program's at one of them is an
// error: the answer might go there.
func listenAll(hosts []string, port string) (list []net.Listener, fault error) {
	for _, host := range hosts {
		l, err := net.Listen("tcp", net.JoinHostPort(host, port))
		switch {
		case err == nil:
			list = append(list, l)
		case hasAddress(host):
			for _, l := range list {
				_ = l.Close()
			}
			return nil, err
		default:
			fault = err
		}
	}
	if len(list) > 0 {
		fault = nil
	}
	return list, fault
}

// hasAddress says whether this machine has the address: some have no IPv6.
func hasAddress(host string) bool {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err == nil {
		_ = l.Close()
	}
	return err == nil
}

func (r *receiver) listening() bool { return r.server != nil }

// expect says which state the answer must bring back.
func (r *receiver) expect(state string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = state
}

// close waits for the page that is being shown.
func (r *receiver) close() {
	if r.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if r.server.Shutdown(ctx) != nil { // browsers open connections they never use
		_ = r.server.Close()
	}
	r.serving.Wait()
}

// ServeHTTP takes the answer from the browser, which waits for what became of it.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	path := r.redirect.EscapedPath()
	switch {
	case req.URL.EscapedPath() != path && (path != "" || req.URL.Path != "/"):
		pageNothing.write(w)
		return
	case req.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		pageMethod.write(w)
		return
	}
	shown := make(chan page, 1)
	if problem, ok := r.receive(req.URL.Query(), shown); !ok {
		problem.write(w)
		return
	}
	select {
	case p := <-shown:
		p.write(w)
	case <-req.Context().Done():
	}
}

// receive takes an answer that is one, the first time. Otherwise it returns
// what is to be shown instead.
func (r *receiver) receive(q url.Values, shown chan<- page) (problem page, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ans, problem := r.judge(q)
	if problem.status != 0 {
		return problem, false
	}
	r.taken, ans.shown = true, shown
	r.answers <- ans // there is room: it is the only one
	return page{}, true
}

// judge decides about an answer; the caller holds mu. A refusal may come
// without the state: it can do no more than end the asking.
func (r *receiver) judge(q url.Values) (decision, page) {
	state := q.Get("state")
	refusal := q.Get("code") == "" && (strings.EqualFold(q.Get("success"), "false") || q.Get("errorCode") != "")
	right := r.state != "" && subtle.ConstantTimeCompare([]byte(state), []byte(r.state)) == 1
	switch {
	case r.taken:
		return decision{}, pageTaken
	case !right && !(refusal && state == "" && r.state != ""):
		r.say("an answer came that does not belong to this link (its state is wrong); it was not taken, and the waiting goes on")
		return decision{}, pageWrong
	case refusal:
		return decision{refused: refusalWords(q.Get("errorCode"))}, page{}
	case q.Get("code") == "" || strings.EqualFold(q.Get("success"), "false"):
		r.say("an answer came that holds neither a consent nor a refusal; the waiting goes on")
		return decision{}, pageIncorrect
	}
	return decision{code: q.Get("code"), postbox: r.postbox(q)}, page{}
}

// say never blocks: what nobody reads in time is dropped.
func (r *receiver) say(text string) {
	select {
	case r.said <- text:
	default:
	}
}

// postbox reads what legacy contracts add to the answer.
func (r *receiver) postbox(q url.Values) *digime.Postbox {
	box := &digime.Postbox{ID: q.Get("postboxId"), PublicKey: q.Get("publicKey")}
	if box.ID == "" && box.PublicKey == "" {
		return nil
	}
	if _, err := parsePublicKey([]byte(box.PublicKey)); err != nil || box.ID == "" {
		r.say("the answer's postbox cannot be used: it lacks its id or its public key")
		return nil
	}
	return box
}

var plainCode = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// refusalWords says why there is no consent. The SDKs document no list of
// codes; what is not plain is not shown, since anybody can make such an address.
func refusalWords(code string) string {
	switch {
	case strings.Contains(strings.ToLower(code), "cancel") && plainCode.MatchString(code):
		return "the person declined (" + code + ")"
	case plainCode.MatchString(code):
		return "the person declined, or could not go on (digi.me says " + code + ")"
	}
	return "the person declined, or could not go on (digi.me does not say why)"
}

// paste takes an answer from a line that somebody pasted.
func (r *receiver) paste(line string) {
	line = strings.Trim(strings.TrimSpace(line), `"'<>`)
	if line == "" {
		return
	}
	_, query, found := strings.Cut(line, "?")
	query, _, _ = strings.Cut(query, "#")
	q, err := url.ParseQuery(query)
	if !found || err != nil {
		r.say("that is not the address the browser ended up at; it begins with " + r.redirect.Redacted() + "?")
		return
	}
	r.receive(q, nil)
}

// readLines sends the lines, and closes the channel at the end of the input.
func readLines(in io.Reader, lines chan<- string) {
	defer close(lines)
	for s := bufio.NewScanner(in); s.Scan(); {
		lines <- s.Text()
	}
}

// waiting is for the person's answer.
type waiting struct {
	app      *app
	receiver *receiver
	pastes   <-chan string // nil: nobody can paste, or not any more
	opened   <-chan error  // nil: no browser was opened
}

// answer returns the first answer that is one. Others are said, and the waiting
// goes on.
func (w *waiting) answer(ctx context.Context, timeout time.Duration) (decision, error) {
	late := time.NewTimer(timeout)
	defer late.Stop()
	for {
		select {
		case ans := <-w.receiver.answers:
			w.flush()
			return ans, nil
		case text := <-w.receiver.said:
			w.say(text)
		case line, more := <-w.pastes:
			if more {
				w.receiver.paste(line)
				continue
			}
			if w.pastes = nil; !w.receiver.listening() {
				return w.last(failure(exitError, "start it again and paste the address the browser ends up at", "the input ended without an answer; nothing was changed"))
			}
		case err := <-w.opened:
			if w.opened = nil; err != nil {
				w.say(fmt.Sprintf("the browser cannot be opened (%v); open the link by hand", err))
			}
		case <-late.C:
			return w.last(failure(exitError, "ask again, with more time: --timeout 30m", "nobody answered within %s; nothing was changed", timeout))
		case <-ctx.Done():
			return w.last(errors.New("interrupted before an answer came; nothing was changed"))
		}
	}
}

// last returns the answer that came at the same moment, if one did, rather than
// the reason to stop waiting.
func (w *waiting) last(err error) (decision, error) {
	w.flush()
	select {
	case ans := <-w.receiver.answers:
		return ans, nil
	default:
		return decision{}, err
	}
}

// flush says what is left to be said.
func (w *waiting) flush() {
	for {
		select {
		case text := <-w.receiver.said:
			w.say(text)
		default:
			return
		}
	}
}

func (w *waiting) say(text string) { fmt.Fprintf(w.app.err, "digime-sync: %s\n", text) }
