package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
)

// A wrong clock looks like malformed requests. It holds the library, is said,
// and once it is right the files go by themselves.
func TestWrongClockHoldsAndIsSaid(t *testing.T) {
	r := newRig(t, nil, "alice")
	r.api.SetSkew(time.Hour)
	path := r.drop("alice", "one.txt", "one")
	r.once()
	f := r.state(path)
	if f.State != store.Held || !strings.Contains(f.Hint, "set this machine's clock") {
		t.Fatalf("%+v", f)
	}
	s, err := r.engine.Status("")
	must(t, err)
	words, found := strings.CutSuffix(s.ClockSkew, " behind digi.me's")
	if d, err := time.ParseDuration(words); !found || err != nil || (d-time.Hour).Abs() > 5*time.Second {
		t.Errorf("clock_skew %q, %v", s.ClockSkew, err)
	}
	r.api.SetSkew(0)
	r.restart()
	r.once()
	if f := r.state(path); f.State != store.Delivered {
		t.Errorf("%+v", f)
	}
}
