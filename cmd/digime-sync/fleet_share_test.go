package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A share that hangs costs one wait and one goroutine, however often it is asked,
// and is asked again once it has answered.
func TestShareHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		answer := make(chan struct{})
		hangs := func() error { asked.Add(1); <-answer; return nil }
		for range 3 {
			if err := onShare(t.Context(), "/hangs", hangs); !errors.Is(err, errShareHangs) {
				t.Error(err)
			}
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
		must(t, onShare(t.Context(), "/other", func() error { return nil }))
		close(answer)
		synctest.Wait()
		must(t, onShare(t.Context(), "/hangs", hangs))
		if n := asked.Load(); n != 2 {
			t.Errorf("asked %d times", n)
		}
	})
}

// Whoever ends a command that waits for a share waits no longer, and half a look
// does not pass for a whole one.
func TestWaitingForAShareIsBrokenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		answer, began := make(chan struct{}), time.Now()
		go cancel()
		if err := onShare(ctx, "/slow", func() error { <-answer; return nil }); !errors.Is(err, context.Canceled) || time.Since(began) > 0 {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		close(answer)
		synctest.Wait()
		if list, err := new(app).readReports(ctx, t.TempDir()); list != nil || !errors.Is(err, errReportsUnread) {
			t.Errorf("%v, %v", list, err)
		}
	})
}

// A look that was broken off says nothing of the fleet.
func TestBrokenOffFetchKeepsTheOutcome(t *testing.T) {
	r := newFleetRig(t)
	r.put("common.yaml", fleetText(1, "alice"))
	if _, fault := r.fetch(); fault != "" {
		t.Fatal(fault)
	}
	must(t, os.Remove(filepath.Join(r.dir, "common.yaml")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := fetchFleet(ctx, r.cfg(), r.config); err == nil {
		t.Error("what is gone was fetched")
	}
	if o := readOutcome(r.state); o.Trouble != "" {
		t.Errorf("trouble %q", o.Trouble)
	}
}
