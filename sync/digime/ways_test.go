package digime

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
)

type way func(c *Client, ctx context.Context, k Contract, access string, u Upload) error

// ways are all ways to push; what holds for one must hold for each.
var ways = map[string]way{
	"library":  (*Client).Push,
	"provider": toProvider("1_1"),
	"postbox":  toPostbox(PostboxAddress{ID: "box", Key: &testKey().PublicKey}),
}

func toProvider(account string) way {
	return func(c *Client, ctx context.Context, k Contract, access string, u Upload) error {
		return c.PushProvider(ctx, k, access, Provider{AccountID: account, Version: "stu3"}, u)
	}
}

func toPostbox(box PostboxAddress) way {
	return func(c *Client, ctx context.Context, k Contract, access string, u Upload) error {
		k.RedirectURI = "http://localhost:1/callback"
		return c.PushPostbox(ctx, k, access, box, "report.pdf", u)
	}
}

// destinations are the ways to push for the rig's user.
func (r *rig) destinations(t testing.TB) map[string]func(Upload) error {
	t.Helper()
	accounts, err := r.Accounts(background(), r.contract, r.token.Access.Value)
	if err != nil || len(accounts) != 1 || accounts[0].ID == "" || accounts[0].Reference == "" || accounts[0].Type != "PUSH" || accounts[0].ServiceType == "" {
		t.Fatalf("accounts %+v, %v", accounts, err)
	}
	post, token := r.also(t, "postbox")
	id, key, err := r.sandbox.Postbox(r.token.UserID)
	if err != nil {
		t.Fatal(err)
	}
	box, err := (&Postbox{ID: id, PublicKey: key}).Address()
	if err != nil {
		t.Fatal(err)
	}
	with := func(push way, k Contract, access string) func(Upload) error {
		return func(u Upload) error { return push(r.Client, background(), k, access, u) }
	}
	return map[string]func(Upload) error{
		"library":  with((*Client).Push, r.contract, r.token.Access.Value),
		"provider": with(toProvider(accounts[0].ID), r.contract, r.token.Access.Value),
		"postbox":  with(toPostbox(box), post, token.Access.Value),
	}
}

// also is another contract and the token of the rig's user for it.
func (r *rig) also(t testing.TB, kind string) (Contract, Token) {
	t.Helper()
	k := Contract{ID: "also-" + kind, Key: r.contract.Key, RedirectURI: r.contract.RedirectURI}
	r.sandbox.AddContract(kind, k.ID, &k.Key.PublicKey, k.RedirectURI)
	data, err := r.sandbox.NewToken(r.token.UserID, k.ID, time.Hour, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	token, err := ParseToken(data)
	if err != nil {
		t.Fatal(err)
	}
	return k, token
}

// fhirOf is a FHIR object of at least this size.
func fhirOf(size int) []byte {
	head, tail := `{"resourceType":"Binary","data":"`, `"}`
	return []byte(head + strings.Repeat("A", max(0, size-len(head)-len(tail))) + tail)
}

var requestOf = map[string]string{"library": sandbox.ReqPush, "provider": sandbox.ReqProvider, "postbox": sandbox.ReqPostbox}

// The three fates of a push, in all ways and at all sizes that matter.
func TestFatesOfAllWays(t *testing.T) {
	r := newRig(t)
	for name, push := range r.destinations(t) {
		for _, size := range []int{0, 15, 16, 17, LastChunk - 1, LastChunk, LastChunk + 1, LastChunk + 16, expectAbove + 1, 3<<20 + 5} {
			if name == "provider" {
				size += 40
			}
			before := len(r.sandbox.Deliveries())
			u := newUpload(fhirOf(size))
			if name != "provider" {
				u = newUpload(pattern(size))
			}
			r.sandbox.Fail(sandbox.Fault{Kind: requestOf[name], Do: sandbox.DoRefuse, Status: 503, RetryAfter: "7", AfterBody: true})
			if e := wantError(t, push(u.Upload), Passing); e.Doubt || e.RetryAfter != 7*time.Second {
				t.Errorf("%s, %d bytes, refused: %+v", name, size, e)
			}
			r.sandbox.Fail(sandbox.Fault{Kind: requestOf[name], Do: sandbox.DoLose})
			if e := wantError(t, push(u.Upload), Passing, "may have arrived"); !e.Doubt {
				t.Errorf("%s, %d bytes, answer lost: %+v", name, size, e)
			}
			if err := push(u.Upload); err != nil {
				t.Fatalf("%s, %d bytes: %v", name, size, err)
			}
			got := r.sandbox.Deliveries()[before:]
			if len(got) != 2 {
				t.Fatalf("%s, %d bytes: %d deliveries, want 2", name, size, len(got))
			}
			for _, d := range got {
				if d.Kind != name || d.SHA256 != hex.EncodeToString(u.SHA256[:]) || d.Size != u.Size || d.User != r.token.UserID {
					t.Errorf("%s, %d bytes: delivered %+v", name, size, d)
				}
				if want := `{"mimeType":"application/pdf","accounts":[{"accountId":"P-1"}]}`; name == "postbox" && string(d.Descriptor) != want {
					t.Errorf("descriptor %s", d.Descriptor)
				}
			}
			if opened, closed, released := u.counts(); opened != 3 || closed != 3 || released != 3 {
				t.Errorf("%s, %d bytes: opened %d, closed %d, released %d times in three pushes", name, size, opened, closed, released)
			}
		}
	}
}

// A file that is not what was hashed is complete in no way.
func TestChangedFileInAllWays(t *testing.T) {
	for name, push := range ways {
		for _, size := range []int{1, LastChunk + 1, 200_000} {
			good := pattern(size)
			other := bytes.Clone(good)
			other[size-1] ^= 1
			for words, content := range map[string][]byte{"longer": append(bytes.Clone(good), 1), "shorter": good[:size-1], "content": other} {
				server := newSink()
				client := serve(t, server.ServeHTTP)
				u := newUpload(good)
				u.content = content
				e := wantError(t, push(client, background(), aContract(), "token", u.Upload), Changed, words)
				client.transport.CloseIdleConnections()
				server.mu.Lock()
				if most := int64(max(0, size-LastChunk) + 1000); e.Doubt || server.complete != 0 || server.received > most {
					t.Errorf("%s, %d bytes, %s: the server has %d bytes, %d complete; doubt %v", name, size, words, server.received, server.complete, e.Doubt)
				}
				server.mu.Unlock()
				if _, closed, released := u.counts(); released != 0 || closed != 1 {
					t.Errorf("%s, %d bytes, %s: released %d, closed %d times", name, size, words, released, closed)
				}
			}
		}
	}
}

// A source that gives little at a time, and all at once with its end.
func TestDrippingFileInAllWays(t *testing.T) {
	for name, push := range ways {
		var got int64
		client := serve(t, func(w http.ResponseWriter, r *http.Request) {
			got, _ = io.Copy(io.Discard, r.Body)
			if got != r.ContentLength {
				t.Errorf("%s: %d of %d bytes came", name, got, r.ContentLength)
			}
			answerJSON(w, 200, map[string]string{"status": "delivered"})
		})
		u := newUpload(pattern(LastChunk + 5000))
		u.Open = func() (io.ReadCloser, error) { return &dripSource{bytes.NewReader(u.content), 7}, nil }
		if err := push(client, background(), aContract(), "token", u.Upload); err != nil || got < u.Size {
			t.Errorf("%s: %v, %d bytes", name, err, got)
		}
	}
}

type dripSource struct {
	r    *bytes.Reader
	most int
}

func (d *dripSource) Read(p []byte) (int, error) {
	n, err := d.r.Read(p[:min(len(p), d.most)])
	if d.r.Len() == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

func (*dripSource) Close() error { return nil }

// What of refusals and ends is common to all ways.
func TestRefusalsOfAllWays(t *testing.T) {
	for name, push := range ways {
		for _, c := range []struct {
			status int
			code   string
			class  Class
		}{
			{401, "InvalidToken", TokenExpired}, {401, "", TokenExpired}, {401, "InvalidClient", Configuration}, {403, "InsufficientScope", Configuration},
			{403, "SDKInvalid", ClientRefused}, {400, "InvalidRedirectUri", Configuration}, {406, "InvalidRequest", Malformed}, {404, "NotFound", Refused},
			{413, "TooLarge", Refused}, {429, "", Passing}, {500, "", Passing}, {511, "ServiceAuthorizationError", Reauthorize},
		} {
			client := serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				answerJSON(w, c.status, map[string]any{"error": map[string]string{"code": c.code}})
			})
			e := wantError(t, push(client, background(), aContract(), "token", newUpload(pattern(100)).Upload), c.class, fmt.Sprint(c.status))
			if e.Doubt {
				t.Errorf("%s: an answer leaves a doubt: %v", name, e)
			}
		}
		full := errors.New("no space left")
		server := newSink()
		u := newUpload(pattern(200_000))
		u.Release = func() error { return full }
		if err := push(serve(t, server.ServeHTTP), background(), aContract(), "token", u.Upload); !errors.Is(err, full) || server.complete != 0 {
			t.Errorf("%s: got %v, %d complete", name, err, server.complete)
		}
		wantError(t, push(serve(t, server.ServeHTTP), background(), Contract{ID: "x"}, "token", newUpload(nil).Upload), Configuration, "private key")
	}
}

// Asked to go without Expect, a push has a new nonce and, to a postbox, new keys.
func TestSecondAttemptIsNewInAllWays(t *testing.T) {
	for name, push := range ways {
		var mu sync.Mutex
		var bearers []string
		var complete int
		client := patient(serve(t, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			bearers = append(bearers, r.Header.Get("Authorization"))
			if r.Header.Get("Expect") != "" {
				w.WriteHeader(http.StatusExpectationFailed)
				return
			}
			if n, err := io.Copy(io.Discard, r.Body); err == nil && n == r.ContentLength {
				complete++
			}
			answerJSON(w, 200, map[string]string{"status": "delivered"})
		}))
		u := newUpload(pattern(2 << 20))
		if err := push(client, background(), aContract(), "token", u.Upload); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(bearers) != 2 || bearers[0] == bearers[1] || complete != 1 {
			t.Errorf("%s: %d requests, %d complete", name, len(bearers), complete)
		}
		if _, _, released := u.counts(); released != 1 {
			t.Errorf("%s: released %d times", name, released)
		}
	}
}
