package main

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// wire stands before the sandbox. It keeps for each request, by its nonce, from
// which daemon it came and whether it was answered, and can kill in between.
type wire struct {
	next http.Handler

	mu    sync.Mutex
	life  int              // of the daemon that runs now
	trips map[string]*trip // by nonce
	busy  int              // requests under way
	at    string           // where to strike next, one of the places; "" nowhere
	hit   func()           // what happens there, once
}

// trip is one request.
type trip struct {
	life     int
	answered bool // an answer was sent
	doubt    bool // its daemon could not know how it ended
}

// Places on the wire at which the daemon can be killed.
const (
	placeMidway    = "wire: in the middle of a body"
	placeDelivered = "wire: delivered, before the answer"
	placeRefreshed = "wire: refreshed, before the answer"
)

var wirePlaces = []string{placeMidway, placeDelivered, placeRefreshed}

func (w *wire) begin(life int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.life, w.at, w.hit = life, "", nil
}

// strike has fn called at the next request that comes to the place.
func (w *wire) strike(at string, fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at, w.hit = at, fn
}

func (w *wire) reached(place string) {
	w.mu.Lock()
	hit := w.hit
	if w.at != place {
		hit = nil
	} else {
		w.at, w.hit = "", nil
	}
	w.mu.Unlock()
	if hit != nil {
		hit()
	}
}

// quiet waits until no request is under way, and says whether that came.
func (w *wire) quiet(patience time.Duration) bool {
	deadline := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		w.mu.Lock()
		busy := w.busy
		w.mu.Unlock()
		if busy == 0 {
			return true
		}
		select {
		case <-tick.C:
		case <-deadline:
			return false
		}
	}
}

// trip returns what is known of the request with a nonce.
func (w *wire) trip(nonce string) trip {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.trips[nonce]; t != nil {
		return *t
	}
	return trip{}
}

func (w *wire) doubt(nonce string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trips[nonce].doubt = true
}

func (w *wire) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	t := &trip{}
	w.mu.Lock()
	w.busy++
	t.life = w.life
	w.trips[nonceOf(r)] = t
	w.mu.Unlock()
	defer func() { // also when the sandbox breaks off by a panic
		w.mu.Lock()
		defer w.mu.Unlock()
		w.busy--
		t.doubt = t.doubt || !t.answered
	}()
	place := ""
	switch {
	case strings.HasSuffix(r.URL.Path, "/permission-access/import"):
		place = placeDelivered
		r.Body = &midway{body: r.Body, half: r.ContentLength / 2, wire: w}
	case strings.HasSuffix(r.URL.Path, "/oauth/token"):
		place = placeRefreshed
	}
	w.next.ServeHTTP(&answerer{ResponseWriter: out, wire: w, trip: t, place: place}, r)
}

// nonceOf reads the nonce of a request's bearer.
func nonceOf(r *http.Request) string {
	parts := strings.Split(r.Header.Get("Authorization"), ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct{ Nonce string }
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	return claims.Nonce
}

// answerer notes that an answer leaves.
type answerer struct {
	http.ResponseWriter
	wire  *wire
	trip  *trip
	place string
}

func (a *answerer) WriteHeader(status int) {
	if status == http.StatusOK {
		a.wire.reached(a.place)
	}
	a.wire.mu.Lock()
	a.trip.answered = true
	a.wire.mu.Unlock()
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap lets the sandbox take the connection over.
func (a *answerer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// midway is a body that tells when half of it was read.
type midway struct {
	body io.ReadCloser
	half int64
	wire *wire
}

func (m *midway) Read(p []byte) (int, error) {
	n, err := m.body.Read(p)
	if m.half -= int64(n); m.half <= 0 && n > 0 {
		m.wire.reached(placeMidway)
	}
	return n, err
}

func (m *midway) Close() error { return m.body.Close() }
