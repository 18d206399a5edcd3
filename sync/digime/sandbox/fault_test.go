package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestFaultAnswers: faults that answer in place of the sandbox, after which everything is as before.
func TestFaultAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		fault  Fault
		status int
		body   string
		header http.Header
	}{
		{"refused", Fault{Do: DoRefuse}, 503, `{"error":{"code":"","message":"","reference":"`, nil},
		{"refused with all", Fault{Do: DoRefuse, Status: 429, Code: "Busy", Message: "Later", RetryAfter: "120"}, 429,
			`{"error":{"code":"Busy","message":"Later","reference":"`, http.Header{"Retry-After": {"120"}, "X-Error-Code": {"Busy"}}},
		{"refused after the body", Fault{Do: DoRefuse, Status: 507, AfterBody: true}, 507, `{"error":`, nil},
		{"portal", Fault{Do: DoAnswer, Body: "<html>sign in</html>"}, 200, "<html>sign in</html>", http.Header{"Content-Type": {"text/html"}}},
		{"401 of another shape", Fault{Do: DoAnswer, Status: 401, Body: "no", Type: "text/plain"}, 401, "no", http.Header{"Content-Type": {"text/plain"}}},
		{"no JSON", Fault{Do: DoAnswer, Body: "{", Type: "application/json", AfterBody: true}, 200, "{", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, Options{})
			r.Fail(c.fault)
			a := r.must(r.push("content"))
			if a.status != c.status || !strings.HasPrefix(string(a.body), c.body) {
				t.Errorf("got %d %q, want %d %q", a.status, a.body, c.status, c.body)
			}
			for name := range c.header {
				if a.header.Get(name) != c.header.Get(name) {
					t.Errorf("%s is %q, want %q", name, a.header.Get(name), c.header.Get(name))
				}
			}
			if len(r.Deliveries()) != 0 {
				t.Error("the fault's request was recorded")
			}
			if a := r.must(r.push("content")); a.status != http.StatusOK || len(r.Deliveries()) != 1 {
				t.Errorf("after the fault: %d %s", a.status, a.body)
			}
		})
	}
}

// TestFaultBreaks: faults that end without an answer, and whether the delivery counts.
func TestFaultBreaks(t *testing.T) {
	large := strings.Repeat("x", 8<<20)
	for _, c := range []struct {
		name      string
		fault     Fault
		recorded  int
		wantError string
	}{
		{"cut", Fault{Do: DoCut, Bytes: 100_000}, 0, ""}, // reset, or a pipe closed: whichever side of the client notices first
		{"lost", Fault{Do: DoLose}, 1, "EOF"},
		{"garbage", Fault{Do: DoGarbage, AfterBody: true}, 0, "malformed HTTP"},
	} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s tls=%v", c.name, secure), func(t *testing.T) {
				r := newRig(t, Options{})
				if secure {
					r.http = httptest.NewTLSServer(r.Server)
					t.Cleanup(r.http.Close)
				}
				r.Fail(c.fault)
				a, err := r.send(r.push(large))
				if err == nil || !strings.Contains(err.Error(), c.wantError) {
					t.Errorf("got %d, %v; want an error with %q", a.status, err, c.wantError)
				}
				if got := len(r.Deliveries()); got != c.recorded {
					t.Errorf("%d deliveries, want %d", got, c.recorded)
				}
			})
		}
	}
}

func TestFaultOverHTTP2(t *testing.T) {
	r := newRig(t, Options{})
	r.http = httptest.NewUnstartedServer(r.Server)
	r.http.EnableHTTP2 = true
	r.http.StartTLS()
	t.Cleanup(r.http.Close)
	r.Fail(Fault{Do: DoLose})
	if a, err := r.send(r.push("content")); err == nil {
		t.Errorf("the answer was not lost: %d", a.status)
	}
	if len(r.Deliveries()) != 1 {
		t.Error("the delivery was not recorded")
	}
}

// TestEarlyRefusal: a client that waits for 100-continue is refused before it sends a byte of the body.
func TestEarlyRefusal(t *testing.T) {
	r := newRig(t, Options{})
	r.http.Client().Transport.(*http.Transport).ExpectContinueTimeout = time.Minute
	for _, spoil := range []func(q request){
		func(request) { r.Fail(Fault{Do: DoRefuse}) },
		func(q request) { q.header.Set("Content-Type", "text/plain") },
		func(request) { r.ExpireAccess(r.user) },
	} {
		var sent atomic.Int64
		q := r.push("")
		q.header.Set("Expect", "100-continue")
		q.body = countingReader{io.LimitReader(zeros{}, 1<<20), &sent}
		spoil(q)
		if a := r.must(q); a.status < 400 || sent.Load() != 0 {
			t.Errorf("answered %d after %d bytes", a.status, sent.Load())
		}
	}
}

type countingReader struct {
	r io.Reader
	n *atomic.Int64
}

func (c countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// TestStall: no answer until the client gives up, or until the sandbox closes.
func TestStall(t *testing.T) {
	log, struck := logOf("fault")
	r := newRig(t, Options{Log: log})
	r.Fail(Fault{Do: DoStall, Count: 2, AfterBody: true})
	ctx, giveUp := context.WithCancel(t.Context())
	stalled := make(chan error)
	start := func(ctx context.Context) {
		q := r.push("content")
		req, err := http.NewRequestWithContext(ctx, q.method, q.url, q.body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = q.header
		go func() {
			res, err := r.http.Client().Do(req)
			if err == nil {
				err = res.Body.Close()
			}
			stalled <- err
		}()
	}
	start(ctx)
	<-struck
	giveUp()
	if err := <-stalled; !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	start(t.Context())
	<-struck
	r.Close()
	if err := <-stalled; !errors.Is(err, io.EOF) {
		t.Errorf("closed: %v, want EOF", err)
	}
	if len(r.Deliveries()) != 0 {
		t.Error("a stalled push was recorded")
	}
}

// TestFaultMatching: by kind, by user, by count, in the order in which they were queued.
func TestFaultMatching(t *testing.T) {
	r := newRig(t, Options{})
	other := *r
	other.token = parseToken(t, r.NewUser("write-1", time.Hour, time.Hour))
	r.Fail(Fault{Kind: ReqRefresh, Do: DoRefuse, Status: 500})
	r.Fail(Fault{Kind: ReqPush, User: other.token.User.ID, Do: DoRefuse, Status: 501})
	r.Fail(Fault{Kind: ReqPush, Do: DoRefuse, Status: 502, Count: 2})
	r.Fail(Fault{User: r.user, Do: DoRefuse, Status: 504, Count: -1})
	want := func(who *rig, status int) {
		t.Helper()
		if a := who.must(who.push("x")); a.status != status {
			t.Errorf("push: %d, want %d", a.status, status)
		}
	}
	want(r, 502)
	want(&other, 501)
	want(&other, 502)
	want(&other, 200)
	want(r, 504)
	want(r, 504)
	if a := r.must(r.refreshRequest(r.token.RefreshToken.Value)); a.status != 500 {
		t.Errorf("refresh: %d, want 500", a.status)
	}
	if a := r.must(r.refreshRequest(r.token.RefreshToken.Value)); a.status != 504 {
		t.Errorf("refresh by user: %d, want 504", a.status)
	}
	r.ClearFaults()
	want(r, 200)
}

// TestLoseWaitsForSuccess: a refused request does not use up a fault that loses answers.
func TestLoseWaitsForSuccess(t *testing.T) {
	r := newRig(t, Options{})
	r.Fail(Fault{Do: DoLose})
	q := r.push("x")
	q.header.Set("Content-Type", "text/plain")
	r.wantRefusal(q, 415, "UnsupportedMediaType", "")
	if a, err := r.send(r.push("x")); err == nil {
		t.Errorf("the answer was not lost: %d", a.status)
	}
	if got := r.state().Faults; len(got) != 0 {
		t.Errorf("left: %+v", got)
	}
}

// TestFaultGivenBackLate: a fault with nothing left is kept as long as somebody may still give it back.
func TestFaultGivenBackLate(t *testing.T) {
	r := newRig(t, Options{})
	r.Fail(Fault{Do: DoLose, Count: 2})
	struck, spared := r.takeFault(&call{}), r.takeFault(&call{})
	if struck == nil || r.takeFault(&call{}) != nil {
		t.Fatal("the fault was not taken twice")
	}
	r.releaseFault(struck, true)
	r.releaseFault(spared, false)
	again := r.takeFault(&call{})
	if again == nil {
		t.Fatal("the fault that was given back is gone")
	}
	r.releaseFault(again, true)
	if got := r.state().Faults; len(got) != 0 {
		t.Errorf("left: %+v", got)
	}
}

// TestFaultCountUnderLoad: however many requests come at once, a fault strikes exactly as often as it was told.
func TestFaultCountUnderLoad(t *testing.T) {
	r := newRig(t, Options{})
	r.Fail(Fault{Kind: ReqPush, Do: DoRefuse, Status: 500, Count: 7})
	r.Fail(Fault{Kind: ReqPush, Do: DoLose, Count: 5})
	var wg sync.WaitGroup
	var refused, lost, taken atomic.Int64
	for range 30 {
		q := r.push("x")
		wg.Go(func() {
			switch a, err := r.send(q); {
			case err != nil:
				lost.Add(1)
			case a.status == 500:
				refused.Add(1)
			case a.status == 200:
				taken.Add(1)
			}
		})
	}
	wg.Wait()
	if refused.Load() != 7 || lost.Load() != 5 || taken.Load() != 18 || len(r.Deliveries()) != 23 {
		t.Errorf("%d refused, %d lost, %d taken, %d recorded", refused.Load(), lost.Load(), taken.Load(), len(r.Deliveries()))
	}
}

func TestSkew(t *testing.T) {
	r := newRig(t, Options{})
	r.SetSkew(time.Hour)
	q := r.push("x")
	date, err := http.ParseTime(r.must(q).header.Get("Date"))
	if off := time.Until(date); err != nil || off < 59*time.Minute || off > time.Hour {
		t.Errorf("Date is %v ahead, %v", off, err)
	}
	r.SetSkew(10 * time.Minute)
	r.wantRefusal(r.push("x"), 406, "InvalidRequest", "too far from the server's time")
	r.SetSkew(-4 * time.Minute)
	if a := r.must(r.push("x")); a.status != http.StatusOK {
		t.Errorf("within the window: %d %s", a.status, a.body)
	}
}

func TestImpossibleFaults(t *testing.T) {
	r := newRig(t, Options{})
	for _, f := range []Fault{{}, {Do: "explode"}, {Kind: "nothing", Do: DoLose}, {Do: DoRefuse, Status: 100}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v was accepted", f)
				}
			}()
			r.Fail(f)
		}()
	}
}
