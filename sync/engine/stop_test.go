package engine

import (
	"bytes"
	"net/http"
	"strings"
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
		r := newRig(t, nil, "alice")
		asked, answer := make(chan bool, 4), make(chan bool)
		next := r.server.Config.Handler
		r.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if token := strings.HasSuffix(req.URL.Path, "/oauth/token"); token == left && (token || strings.HasSuffix(req.URL.Path, "/jwks/oauth")) {
				asked <- true
				<-answer
			}
			next.ServeHTTP(w, req)
		})
		var log bytes.Buffer
		r.log = &log
		r.restart()
		r.consent("alice", -time.Minute)
		before, err := r.engine.token("alice")
		must(t, err)
		path := r.drop("alice", "one.txt", "one")
		r.start()
		<-asked
		go func() { // longer than everything else is waited for
			<-time.After(7 * time.Second)
			close(answer)
		}()
		took := r.stop()
		if waited := took > 6*time.Second; waited != left || took > 10*time.Second {
			t.Errorf("left %v: stopped after %s", left, took)
		}
		if said := strings.Contains(log.String(), "waits for the answer to a token refresh"); said != left {
			t.Errorf("left %v: said %v", left, said)
		}
		after, err := r.engine.token("alice")
		must(t, err)
		if fresh := before != after; fresh != left {
			t.Errorf("left %v: saved %v", left, fresh)
		}
		if f, _, err := r.store.Get(path); err != nil || f.State != store.Queued {
			t.Errorf("left %v: %+v, %v", left, f, err)
		}
		<-answer
	}
}
