package sandbox

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

func (r *rig) control(method, path, body string) answer {
	r.t.Helper()
	return r.must(request{method: method, url: r.http.URL + "/sandbox/" + path, body: strings.NewReader(body)})
}

// TestControls goes the way of a script that has nothing but HTTP.
func TestControls(t *testing.T) {
	r := newRig(t, Options{})
	ok := func(method, path, body string) answer {
		t.Helper()
		a := r.control(method, path, body)
		if a.status != http.StatusOK {
			t.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
		}
		return a
	}
	if got := string(ok("GET", "deliveries", "").body); got != "[]" {
		t.Errorf("deliveries: %s", got)
	}
	ok("POST", "fail", `{"kind":"push","do":"refuse","status":413,"code":"TooLarge","message":"no","retry_after":"5"}`)
	r.wantRefusal(r.push("x"), 413, "TooLarge", "no")
	ok("POST", "fail", `{"do":"lose"}`)
	ok("DELETE", "fail", "")

	r.token = parseToken(t, ok("POST", "users", `{"contract":"write-1","access":"1m","refresh":"2m"}`).body)
	if in := time.Until(time.Unix(r.token.RefreshToken.Expiry, 0)); in > 2*time.Minute || in < time.Minute {
		t.Errorf("the refresh token lives %v, want 2m", in)
	}
	ok("POST", "users/"+r.token.User.ID+"/expire-access", "")
	r.wantRefusal(r.push("x"), 401, "InvalidToken", "expired")
	ok("POST", "users/"+r.token.User.ID+"/kill-refresh", "")
	r.wantRefusal(r.refreshRequest(r.token.RefreshToken.Value), 401, "InvalidToken", "invalid")
	more := parseToken(t, ok("POST", "users", `{"contract":"write-1","user":"`+r.token.User.ID+`"}`).body)
	if more.User.ID != r.token.User.ID {
		t.Errorf("further token of %q", more.User.ID)
	}
	r.token = more
	ok("POST", "skew", `{"skew":"-2m"}`)
	if a := r.must(r.push("x")); a.status != http.StatusOK {
		t.Errorf("push: %d %s", a.status, a.body)
	}

	var deliveries []Delivery
	if err := json.Unmarshal(ok("GET", "deliveries", "").body, &deliveries); err != nil || len(deliveries) != 1 || deliveries[0].User != more.User.ID {
		t.Errorf("deliveries: %+v %v", deliveries, err)
	}
	var state sandboxState
	body := ok("GET", "state", "").body
	if err := json.Unmarshal(body, &state); err != nil {
		t.Fatal(err)
	}
	if state.Skew != "-2m0s" || state.Deliveries != 1 || len(state.Grants) != 3 || !state.Grants[1].Revoked || len(state.Contracts) != 3 || len(state.Faults) != 0 {
		t.Errorf("state: %s", body)
	}
	for _, secret := range []string{more.AccessToken.Value, more.RefreshToken.Value} {
		if strings.Contains(string(body), secret) {
			t.Errorf("the state shows a token: %s", body)
		}
	}
}

func TestControlRefusals(t *testing.T) {
	r := newRig(t, Options{})
	for _, c := range []struct {
		path, body string
		status     int
	}{
		{"fail", `{"do":"explode"}`, 400},
		{"fail", `{"do":"lose","colour":"red"}`, 400},
		{"fail", ``, 400},
		{"skew", `{"skew":"5"}`, 400},
		{"users", `{"contract":"write-1","access":"soon"}`, 400},
		{"users", `{"contract":"write-1","refresh":"soon"}`, 400},
		{"users", `{"contract":"nobody"}`, 404},
		{"users", `{"contract":"write-1","user":"nobody"}`, 404},
		{"users/nobody/expire-access", ``, 404},
		{"users/nobody/kill-refresh", ``, 404},
	} {
		a := r.control("POST", c.path, c.body)
		if code, _ := a.failure(t); a.status != c.status || code != "SandboxControl" {
			t.Errorf("%s %s: %d %s, want %d", c.path, c.body, a.status, a.body, c.status)
		}
	}
}
