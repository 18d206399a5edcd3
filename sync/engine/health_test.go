package engine

import (
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
)

// The main loop goes round with nothing to do too: a manager restarts what does not.
func TestMainLoopGoesRound(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "alice")
	if round := r.engine.Round(); !round.IsZero() {
		t.Errorf("went round at %s before it ran", round)
	}
	r.start()
	var last time.Time
	for range 3 {
		r.until("another round", func() bool { return r.engine.Round().After(last) })
		last = r.engine.Round()
	}
}

func TestHealthCountsFiles(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "alice")
	r.start()
	path := r.drop("alice", "a.txt", "text")
	r.untilState(path, store.Delivered)
	h, err := r.engine.Health()
	if err != nil || h.Counts[store.Delivered] != 1 || h.Trouble != "" || len(h.Folders) != 1 || h.Round.IsZero() {
		t.Errorf("health %+v, %v", h, err)
	}
}
