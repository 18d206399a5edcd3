package digime

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// What every status means for a push, by the first and last of them: whether
// the answer comes before the body or after it makes no difference but for a
// success. None leaves a doubt: an answer has come. But what a gateway says for
// a service whose answer it has not got leaves a delivery that comes later
// unsure, where the whole body was sent. Again says that the file is
// sent again by itself, once what its class asks for was done; host, that it is
// found out first whether the host answers.
var statuses = []struct {
	first, last int
	class       Class // 0: delivered, if the whole body was sent
	again, host bool
}{
	{101, 101, Passing, true, false},
	{200, 299, 0, true, true},
	{300, 300, Passing, true, true}, {301, 301, Configuration, true, true}, {302, 307, Passing, true, true},
	{308, 308, Configuration, true, true}, {309, 399, Passing, true, true},
	{400, 400, Refused, false, false}, {401, 401, TokenExpired, true, false}, {402, 403, Refused, false, false},
	{404, 405, Configuration, true, false}, {406, 406, Malformed, true, false}, {407, 407, Configuration, true, true},
	{408, 408, Passing, true, false}, {409, 424, Refused, false, false}, {425, 425, Passing, true, false},
	{426, 428, Refused, false, false}, {429, 429, Passing, true, false}, {430, 499, Refused, false, false},
	{500, 510, Passing, true, true}, {511, 511, Reauthorize, true, false}, {512, 599, Passing, true, true},
}

func TestEveryStatus(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var status int
		var when string
		if _, err := fmt.Sscanf(r.URL.Path, "/%d/%s", &status, &when); err != nil {
			t.Error(err)
		}
		if when[:5] == "after" {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		if when[:5] == "inter" { // before the body, and a success after it
			w.WriteHeader(status)
			_, _ = io.Copy(io.Discard, r.Body)
			status = 200
		}
		w.Header().Set("Connection", "close")
		w.WriteHeader(status)
	}))
	defer server.Close()
	push := func(status int, when string, u *upload) error {
		c := newClient(t, Options{BaseURL: fmt.Sprintf("%s/%d/%s/", server.URL, status, when), ApplicationID: "app"})
		return c.Push(background(), aContract(), "token", u.Upload)
	}
	seen := 0
	var wg sync.WaitGroup
	for _, row := range statuses {
		for status := row.first; status <= row.last; status++ {
			if seen++; status < 200 {
				continue // no server of Go's can answer so: TestSwitchingProtocols
			}
			wg.Go(func() {
				err := push(status, "after", newUpload([]byte("x")))
				if row.class == 0 && err != nil || row.class != 0 && !is(err, row.class, status, row.host) || unsure(err) != (status == 502 || status == 504) {
					t.Errorf("%d after the body: %v", status, err)
				}
				u := newUpload(pattern(200))
				u.Open = func() (io.ReadCloser, error) { return &slowSource{closed: make(chan struct{})}, nil }
				class := row.class
				if class == 0 {
					class = Passing
				}
				if err := push(status, "before", u); !is(err, class, status, row.host) || unsure(err) {
					t.Errorf("%d before the body: %v", status, err)
				}
			})
		}
		if again := row.class != Refused; again != row.again {
			t.Errorf("%d: sent again %v", row.first, again)
		}
		wg.Wait()
	}
	for status := 100; status < 200; status++ {
		if status == http.StatusSwitchingProtocols {
			continue
		}
		if err := push(status, "interim", newUpload(pattern(200))); err != nil {
			t.Errorf("%d before a success: %v", status, err)
		}
	}
	if seen != 401 {
		t.Errorf("%d statuses in the table", seen)
	}
}

// is says whether an error is what an answer means: never in doubt.
func is(err error, class Class, status int, host bool) bool {
	e, ok := err.(*Error)
	return ok && e.Class == class && e.Status == status && e.Host == host && !e.Doubt && !e.Lost
}

func unsure(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Unsure
}

// Whatever the address of the API is turned to, it answers no 101.
func TestSwitchingProtocols(t *testing.T) {
	for _, status := range []int{101, 99} {
		for _, after := range []bool{false, true} {
			base := rawServer(t, func(conn net.Conn, req *http.Request) {
				if after {
					_, _ = io.Copy(io.Discard, req.Body)
				}
				fmt.Fprintf(conn, "HTTP/1.1 %03d X\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", status)
			})
			u := newUpload(pattern(200))
			if !after {
				u.Open = func() (io.ReadCloser, error) { return &slowSource{closed: make(chan struct{})}, nil }
			}
			c := newClient(t, Options{BaseURL: base, ApplicationID: "app"})
			err := c.Push(background(), aContract(), "token", u.Upload)
			if e := wantError(t, err, Passing); e.Status != status || e.Doubt != after {
				t.Errorf("%d after the body %v: %+v", status, after, e)
			}
			var api *Error
			_, err = c.Accounts(background(), aContract(), "token")
			if !errors.As(err, &api) || api.Doubt {
				t.Errorf("%d to another call: %v", status, err)
			}
		}
	}
}

// To a refresh it is an answer that is lost.
func TestNoFinalAnswerToARefresh(t *testing.T) {
	s := newService(t)
	if err := s.keys1(background()); err != nil {
		t.Fatal(err)
	}
	s.tokenDo = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprint(conn, "HTTP/1.1 099 X\r\n\r\n")
		conn.Close()
	})
	_, err := s.Refresh(background(), aContract(), oldToken(), nil, nil)
	if e := wantError(t, err, Passing); !e.Lost {
		t.Errorf("%+v", e)
	}
}

// What a request without a file makes of every status: nothing ends a consent
// but the service's own word, and nothing that is not 2xx is a success.
func TestEveryStatusOfOtherCalls(t *testing.T) {
	t.Parallel()
	status, kind := 0, ""
	s := newService(t)
	s.tokenDo = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
	})
	other := serve(t, func(w http.ResponseWriter, r *http.Request) { s.tokenDo.ServeHTTP(w, r) })
	for _, kind = range []string{"application/json", "text/html"} {
		for status = 200; status < 600; status++ {
			_, refreshed := s.Refresh(background(), aContract(), oldToken(), nil, nil)
			_, listed := other.Accounts(background(), aContract(), "token")
			for what, err := range map[string]error{"refresh": refreshed, "keys": other.Reach(background()), "accounts": listed} {
				e, ok := err.(*Error)
				if !ok || e.Class == ConsentGone || e.Class == 0 || e.Doubt {
					t.Fatalf("%s answered %d %s: %v", what, status, kind, err)
				}
			}
		}
	}
}
