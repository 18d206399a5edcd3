package main

import (
	"net/http"
	"testing"
	"time"
)

// The answer to a person's consent is signed with a key that the service's key set
// does not show yet: it is kept, since the code is used up, and taken over when the
// set does. Where it belongs to another person nothing of it stays.
func TestAuthorizeKeepsAnAnswer(t *testing.T) {
	for _, other := range []bool{false, true} {
		c := newClinic(t)
		if other {
			before := c.token(t, "alice")
			before.UserID = "somebody else"
			c.save(t, "alice", before)
		}
		before := c.token(t, "alice")
		y := c.types(t, "alice")
		callback := c.decide(t, y.link(t), true, "")
		show, err := c.server.RotateKey(false)
		if err != nil {
			t.Fatal(err)
		}
		shown := make(chan error, 1)
		go func() {
			resp, err := http.Get(callback)
			if err == nil {
				err = resp.Body.Close()
			}
			shown <- err
		}()
		deadline := time.After(30 * time.Second)
		for c.token(t, "alice").Unverified == nil {
			select {
			case <-deadline:
				t.Fatal("the answer is not kept")
			case <-time.After(10 * time.Millisecond):
			}
		}
		if kept := c.token(t, "alice"); !kept.Unverified.Exchanged || kept.Refresh != before.Refresh {
			t.Errorf("kept as %v", kept.Unverified.Exchanged)
		}
		show()
		if err := <-shown; err != nil {
			t.Error(err)
		}
		if other {
			y.ends(t, exitHeld, "another person answered")
		} else {
			y.ends(t, exitDone, "consent for library alice saved")
		}
		if after := c.token(t, "alice"); after.Unverified != nil || (after.Refresh == before.Refresh) != other {
			t.Errorf("of another person %v: %v", other, after)
		}
	}
}
