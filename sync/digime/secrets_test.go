package digime

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
)

// Whatever a server throws back at us, no secret gets into an error or the log.
func TestSecretsStayHere(t *testing.T) {
	const access, refresh, session = "ACCESS-s3cr3t-0123456789", "REFRESH-s3cr3t-0123456789", "SESSION-s3cr3t-0123456789"
	secretsOf := func(r *http.Request) string { // a server can only throw back what it was sent
		if strings.HasSuffix(r.URL.Path, "oauth/token") {
			return access + " " + refresh
		}
		if strings.Contains(r.URL.Path, session) {
			return access + " " + session
		}
		return access
	}
	echoes := map[string]http.HandlerFunc{
		"error object": func(w http.ResponseWriter, r *http.Request) {
			text := secretsOf(r) + " " + r.Header.Get("Authorization") + " " + r.Header.Get("FileDescriptor")
			answerJSON(w, 422, map[string]any{"error": map[string]string{"code": text, "message": text, "reference": text}})
		},
		"flat error": func(w http.ResponseWriter, r *http.Request) {
			answerJSON(w, 401, map[string]any{"error": access, "message": secretsOf(r) + r.Header.Get("Authorization")})
		},
		"headers": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Error-Code", secretsOf(r))
			w.Header().Set("X-Error-Message", r.Header.Get("Authorization"))
			w.WriteHeader(406)
		},
		"redirect": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://portal.example/?token="+access+refresh)
			w.WriteHeader(302)
		},
		"no HTTP": func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				fmt.Fprintf(conn, "%s %s %s\r\n\r\n", access, refresh, r.Header.Get("Authorization"))
				conn.Close()
			}
		},
		"bad header": func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\n%s %s %s\r\n\r\n", access, refresh, r.Header.Get("Authorization"))
				conn.Close()
			}
		},
		"token that is none": func(w http.ResponseWriter, r *http.Request) {
			answerJSON(w, 200, map[string]any{"token": r.Header.Get("Authorization") + access + refresh})
		},
		"status": func(w http.ResponseWriter, r *http.Request) {
			answerJSON(w, 200, map[string]any{"status": secretsOf(r) + r.Header.Get("Authorization")})
		},
		"state and compression": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Metadata", base64.URLEncoding.EncodeToString(fmt.Appendf(nil, `{"metadata":{},"compression":"%s"}`, secretsOf(r))))
			answerJSON(w, 200, map[string]any{"status": map[string]string{"state": secretsOf(r)}, "x": strings.Repeat("x", 1000)})
		},
	}
	var log lockedBuffer
	var texts []string
	for _, echo := range echoes {
		client := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "jwks/oauth") {
				answerJSON(w, 200, map[string]any{"keys": []any{pemKey("k1", &serviceKey().PublicKey)}})
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			echo(w, r)
		}, func(o *Options) {
			o.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		})
		token := Token{Access: TokenPart{access, 1700000000}, Refresh: TokenPart{refresh, 1700000000}}
		_, refreshErr := client.Refresh(background(), aContract(), token, nil, nil)
		_, accountsErr := client.Accounts(background(), aContract(), access)
		_, triggerErr := client.Trigger(background(), aContract(), access)
		_, listErr := client.List(background(), aContract(), access, session)
		_, _, fetchErr := client.Fetch(background(), aContract(), access, session, "name", 1, io.Discard)
		errs := []error{refreshErr, accountsErr, triggerErr, listErr, fetchErr}
		for _, push := range ways {
			errs = append(errs, push(client, background(), aContract(), access, newUpload([]byte("file-c0ntent")).Upload))
		}
		for _, err := range errs {
			texts = append(texts, fmt.Sprintf("%v %+v", err, err))
		}
	}
	for what, text := range map[string]string{"errors": strings.Join(texts, "\n"), "log": log.String()} {
		if text == "" {
			t.Fatalf("no %s", what)
		}
		for _, secret := range []string{access, refresh, "s3cr3t", "c0ntent", "eyJ", "token=", base64.RawURLEncoding.EncodeToString([]byte(access))[:20], testKey().D.String()[:20]} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in the %s:\n%s", secret, what, text)
			}
		}
	}
}

// A proxy's password is not in errors, nor in what they wrap.
func TestProxyPasswordStaysHere(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	client := newClient(t, Options{ApplicationID: "app", Proxy: "http://clinic:s3cr3t@" + closed.Addr().String()})
	err = client.Reach(background())
	wantError(t, err, Passing, "the proxy refuses the connection")
	for ; err != nil; err = errors.Unwrap(err) {
		if strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%q shows the password", err)
		}
	}
}
