package digime

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
)

// reading is a session over the rig's library, through a read contract.
type reading struct {
	*rig
	k       Contract
	access  string
	session string
}

func (r *rig) read(t testing.TB) *reading {
	t.Helper()
	k, token := r.also(t, "read")
	session, err := r.Trigger(background(), k, token.Access.Value)
	if err != nil {
		t.Fatal(err)
	}
	return &reading{r, k, token.Access.Value, session}
}

func (r *reading) list(t testing.TB) FileList {
	t.Helper()
	list, err := r.List(background(), r.k, r.access, r.session)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func (r *reading) fetch(name string, w io.Writer) (Metadata, int64, error) {
	return r.Fetch(background(), r.k, r.access, r.session, name, noLimit, w)
}

// What was pushed comes back, byte for byte and field by field.
func TestReadBack(t *testing.T) {
	r := newRig(t)
	contents := [][]byte{nil, []byte("x"), pattern(16), pattern(100_000), pattern(3<<20 + 1)}
	descriptors := []Descriptor{
		{MimeType: "application/pdf", Accounts: []Account{{"P-1"}}},
		{MimeType: "text/plain", Accounts: []Account{{"P-1"}, {"P-2"}}, Reference: []string{"Ä.txt"}, Tags: []string{"lab"}, ContractID: "", AppID: "a",
			ProviderName: "p", ObjectTypes: []ObjectType{{Name: "n", References: []string{"r"}}}, ServiceGroups: []int{1, 2}},
	}
	for i, content := range contents {
		u := newUpload(content)
		u.Descriptor = descriptors[i%2]
		if err := r.Push(background(), r.contract, r.token.Access.Value, u.Upload); err != nil {
			t.Fatal(err)
		}
	}
	reading := r.read(t)
	var list FileList
	for _, want := range []string{ReadPending, ReadRunning, ReadCompleted} {
		if list = reading.list(t); list.State != want || list.Done() != (want == ReadCompleted) {
			t.Errorf("state %q, done %v, want %q", list.State, list.Done(), want)
		}
	}
	if len(list.Files) != len(contents) {
		t.Fatalf("%d files", len(list.Files))
	}
	for i, f := range list.Files {
		var got bytes.Buffer
		m, n, err := reading.fetch(f.Name, &got)
		if err != nil || n != int64(len(contents[i])) || !bytes.Equal(got.Bytes(), contents[i]) {
			t.Errorf("file %d: %d bytes, %v", i, n, err)
		}
		want := descriptors[i%2]
		want.ContractID = r.contract.ID
		if !reflect.DeepEqual(m.Descriptor, want) || time.Since(m.Created).Abs() > time.Hour || time.Since(f.Updated).Abs() > time.Hour {
			t.Errorf("file %d: %+v of %v", i, m, f.Updated)
		}
	}
}

func TestReadingEnds(t *testing.T) {
	r := newRig(t)
	if err := r.Push(background(), r.contract, r.token.Access.Value, newUpload([]byte("x")).Upload); err != nil {
		t.Fatal(err)
	}
	reading := r.read(t)
	name := r.sandbox.Deliveries()[0].Nonce
	calls := map[string]func(k Contract, access string) error{
		sandbox.ReqAccounts: func(k Contract, a string) error { _, err := r.Accounts(background(), k, a); return err },
		sandbox.ReqTrigger:  func(k Contract, a string) error { _, err := r.Trigger(background(), k, a); return err },
		sandbox.ReqList:     func(k Contract, a string) error { _, err := r.List(background(), k, a, reading.session); return err },
		sandbox.ReqFile: func(k Contract, a string) error {
			_, _, err := r.Fetch(background(), k, a, reading.session, name, noLimit, io.Discard)
			return err
		},
	}
	for kind, call := range calls {
		for class, f := range map[Class]sandbox.Fault{
			Passing: {Do: sandbox.DoRefuse, Status: 503, RetryAfter: "7"}, ClientRefused: {Do: sandbox.DoRefuse, Status: 403, Code: "SDKInvalid"},
			TokenExpired: {Do: sandbox.DoRefuse, Status: 401}, Reauthorize: {Do: sandbox.DoRefuse, Status: 511}, Malformed: {Do: sandbox.DoRefuse, Status: 406},
		} {
			f.Kind = kind
			r.sandbox.Fail(f)
			if e := wantError(t, call(reading.k, reading.access), class); e.Status != f.Status || (e.RetryAfter != 0) != (class == Passing) {
				t.Errorf("%s: %+v", kind, e)
			}
		}
		for _, f := range []sandbox.Fault{{Do: sandbox.DoLose}, {Do: sandbox.DoGarbage}, {Do: sandbox.DoAnswer, Body: "<html>"}} {
			f.Kind = kind
			r.sandbox.Fail(f)
			if e := wantError(t, call(reading.k, reading.access), Passing); e.Doubt || e.Lost {
				t.Errorf("%s, %s: %v", kind, f.Do, e)
			}
		}
		if kind != sandbox.ReqFile {
			for _, body := range []string{"", "null", "{}", "[{}]", "[1]", `"x"`, `{"session":{"key":".."}}`, `{"status":{"state":"dancing"}}`, `{"status":{"state":"completed"},"fileList":[{}]}`} {
				r.sandbox.Fail(sandbox.Fault{Kind: kind, Do: sandbox.DoAnswer, Type: "application/json", Body: body})
				wantError(t, call(reading.k, reading.access), BadAnswer, "cannot be used")
			}
		}
		if kind != sandbox.ReqAccounts {
			wantError(t, call(r.contract, r.token.Access.Value), Configuration, "InsufficientScope")
		}
		ctx, cancel := context.WithCancel(background())
		cancel()
		if _, err := r.Trigger(ctx, reading.k, reading.access); err != context.Canceled {
			t.Errorf("cancelled: %v", err)
		}
		wantError(t, call(Contract{ID: "x"}, "token"), Configuration, "private key")
		if err := call(reading.k, reading.access); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	_, err := r.List(background(), reading.k, reading.access, "unknown")
	if e := wantError(t, err, Refused, "does not know the session"); e.Status != 404 {
		t.Error(e)
	}
	_, _, err = reading.fetch("unknown", io.Discard)
	wantError(t, err, Refused, "or the file any more")
	_, err = r.List(background(), reading.k, reading.access, "..")
	wantError(t, err, Refused, "session")
	r.sandbox.ExpireAccess(r.token.UserID)
	for _, call := range calls {
		wantError(t, call(reading.k, reading.access), TokenExpired)
	}
}

// Go's transport would send a GET again, with the very same nonce, where a
// connection that it kept breaks off.
func TestSignedGetIsSentOnce(t *testing.T) {
	var requests atomic.Int64
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if len(r.TransferEncoding) != 0 || r.ContentLength != 0 {
			t.Errorf("%s has a body: %v, %d", r.Method, r.TransferEncoding, r.ContentLength)
		}
		if requests.Add(1) == 1 {
			answerJSON(w, 200, []any{})
			return
		}
		panic(http.ErrAbortHandler)
	})
	accounts := func() error { _, err := client.Accounts(background(), aContract(), "token"); return err }
	if err := accounts(); err != nil {
		t.Fatal(err)
	}
	wantError(t, accounts(), Passing, "broke off")
	_, _, err := fetch(client, "file", noLimit, io.Discard)
	wantError(t, err, Passing)
	if n := requests.Load(); n != 3 {
		t.Errorf("%d requests for three calls", n)
	}
}

// Names come from the service: whatever they are, they stay one step of the address.
func TestNamesInAddresses(t *testing.T) {
	var paths []string
	p := packed{key: &testKey().PublicKey, aes: 32}
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.EscapedPath()+"|"+r.URL.RawQuery)
		p.ServeHTTP(w, r)
	})
	for name, want := range map[string]string{
		"a.json": "a.json", "../../../oauth/token": "..%2F..%2F..%2Foauth%2Ftoken", "a?b#c": "a%3Fb%23c", "/etc/passwd": "%2Fetc%2Fpasswd",
		`a\b`: "a%5Cb", "Ä ;=%2e": "%C3%84%20%3B=%252e", "\x00\n": "%00%0A", "...": "...", "http://evil.example/": "http:%2F%2Fevil.example%2F",
	} {
		paths = nil
		if _, _, err := fetch(client, name, noLimit, io.Discard); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if want = "/v1.7/permission-access/query/session/" + want + "|"; len(paths) != 1 || paths[0] != want {
			t.Errorf("%q was asked for as %q, want %q", name, paths, want)
		}
	}
	paths = nil
	for _, name := range []string{"", ".", ".."} {
		_, _, err := fetch(client, name, noLimit, io.Discard)
		wantError(t, err, Refused, "no name that can be asked for")
	}
	if len(paths) != 0 {
		t.Errorf("asked for %q", paths)
	}
}
