package engine

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
)

// A stop waits for the answer to a refresh that has left: the service has made
// the old pair void by then, and no consent is to be lost. It says so. A refresh
// that has not left is not waited for.
func TestStopWaitsForARefreshThatHasLeft(t *testing.T) {
	long(t)
	t.Parallel()
	for _, left := range []bool{true, false} {
		t.Run(fmt.Sprintf("left=%v", left), func(t *testing.T) { testStopDuringARefresh(t, left) })
	}
}

func testStopDuringARefresh(t *testing.T, left bool) {
	r := newRig(t, nil, "alice")
	asked, answer := make(chan bool, 4), make(chan bool)
	letGo := sync.OnceFunc(func() { close(answer) })
	t.Cleanup(letGo)
	next := r.server.Config.Handler
	r.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if token := strings.HasSuffix(req.URL.Path, "/oauth/token"); token == left && (token || strings.HasSuffix(req.URL.Path, "/jwks/oauth")) {
			asked <- true
			<-answer
		}
		next.ServeHTTP(w, req)
	})
	log := new(keptLog)
	r.log = log
	r.restart()
	r.consent("alice", -time.Minute)
	before, err := r.engine.token("alice")
	must(t, err)
	path := r.drop("alice", "one.txt", "one")
	r.start()
	<-asked
	said := func() bool { return log.count("waits for the answer to a token refresh") > 0 }
	began := time.Now()
	r.cancel()
	if left {
		r.until("what it waits for is said", said)
		select {
		case err := <-r.done:
			r.done <- err
			t.Errorf("it did not wait for the answer: %v", err)
		case <-time.After(7 * time.Second): // longer than everything else is waited for
		}
		letGo()
	}
	must(t, <-r.done) // though nothing is answered, where the refresh has not left
	r.cancel = nil
	if took := time.Since(began); !left && (took > refreshGrace || said()) {
		t.Errorf("stopped after %s, said that it waits: %v", took, said())
	}
	after, err := r.engine.token("alice")
	must(t, err)
	if fresh := before != after; fresh != left {
		t.Errorf("saved %v", fresh)
	}
	if f, _, err := r.store.Get(path); err != nil || f.State != store.Queued {
		t.Errorf("%+v, %v", f, err)
	}
}
