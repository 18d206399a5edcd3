package main

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
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
