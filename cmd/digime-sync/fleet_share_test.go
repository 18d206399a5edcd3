package main

import (
	"errors"
	"testing"
	"testing/synctest"
)

// A share that hangs costs one wait and one goroutine, however often it is asked,
// and is asked again once it has answered.
func TestShareHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, answer := 0, make(chan struct{})
		hangs := func() error { asked++; <-answer; return nil }
		for range 3 {
			if err := onShare(t.Context(), "/hangs", hangs); !errors.Is(err, errShareHangs) {
				t.Error(err)
			}
		}
		if asked != 1 {
			t.Errorf("asked %d times", asked)
		}
		must(t, onShare(t.Context(), "/other", func() error { return nil }))
		close(answer)
		synctest.Wait()
		must(t, onShare(t.Context(), "/hangs", hangs))
		if asked != 2 {
			t.Errorf("asked %d times", asked)
		}
	})
}
