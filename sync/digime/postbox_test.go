package digime

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// parcelOf opens what came to a postbox with nothing but the standard library.
func parcelOf(t *testing.T, r *http.Request) (name string, file, descriptor []byte) {
	t.Helper()
	_, payload, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), ".")
	payload, _, _ = strings.Cut(payload, ".")
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	text := func(name string) string { s, _ := claims[name].(string); return s }
	sealed, _ := base64.StdEncoding.DecodeString(text("symmetrical_key"))
	key, err := rsa.DecryptOAEP(sha1.New(), nil, testKey(), sealed, nil)
	if err != nil || len(key) != 32 {
		t.Fatalf("key of %d bytes, %v", len(key), err)
	}
	iv, _ := hex.DecodeString(text("iv"))
	open := func(data []byte) []byte {
		block, err := aes.NewCipher(key)
		if err != nil || len(data) == 0 || len(data)%16 != 0 {
			t.Fatalf("%d bytes, %v", len(data), err)
		}
		cipher.NewCBCDecrypter(block, iv).CryptBlocks(data, data)
		return data[:len(data)-int(data[len(data)-1])]
	}
	form, err := r.MultipartReader()
	if err != nil {
		t.Fatal(err)
	}
	part, err := form.NextPart()
	if err != nil || part.FormName() != "file" {
		t.Fatalf("part %v, %v", part, err)
	}
	body, err := io.ReadAll(part)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := form.NextPart(); err != io.EOF {
		t.Errorf("behind the file: %v", err)
	}
	metadata, _ := base64.StdEncoding.DecodeString(text("metadata"))
	return part.FileName(), open(body), open(metadata)
}

func TestPostboxNames(t *testing.T) {
	for name, want := range map[string]string{
		"report.pdf": "report.pdf", `Ä "b" & c.pdf`: `Ä "b" & c.pdf`, "": "file", "a\r\nX-Evil: 1\x00\x1b.pdf": "a__X-Evil: 1__.pdf", "\xff.pdf": "\uFFFD.pdf",
	} {
		var got string
		client := serve(t, func(w http.ResponseWriter, r *http.Request) {
			var file, descriptor []byte
			got, file, descriptor = parcelOf(t, r)
			if string(file) != "hello" || !strings.Contains(string(descriptor), `"mimeType":"application/pdf"`) || r.Header.Get("X-Evil") != "" {
				t.Errorf("%q: %q, %s", name, file, descriptor)
			}
			answerJSON(w, 201, map[string]any{"status": "delivered", "expires": 1})
		})
		k := aContract()
		k.RedirectURI = "http://localhost:1/"
		box := PostboxAddress{ID: "a/../b?c", Key: &testKey().PublicKey}
		if err := client.PushPostbox(background(), k, "token", box, name, newUpload([]byte("hello")).Upload); err != nil || got != want {
			t.Errorf("%q arrived as %q, want %q: %v", name, got, want, err)
		}
	}
}

func TestPostboxAnswers(t *testing.T) {
	cut := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"status\":\"deliv")
			conn.Close()
		}
	}
	says := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, text)
		}
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		class  Class
		doubt  bool
		words  string
	}{
		"pending":    {says(`{"status":"pending","expires":1}`), TokenExpired, false, "200"},
		"other":      {says(`{"status":"queued"}`), Passing, false, "but: queued"},
		"no status":  {says(`{}`), Passing, false, "does not say that the file was delivered"},
		"no JSON":    {says(`OK`), Passing, false, "does not say"},
		"wrong type": {says(`{"status":1}`), Passing, false, "does not say"},
		"too long":   {says(`{"status":"delivered","x":"` + strings.Repeat("x", maxBody) + `"}`), Passing, false, "does not say"},
		"portal": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			says("<html>")(w, r)
		}, Passing, false, "web page"},
		"cut":         {cut, Passing, true, "may have arrived"},
		"early":       {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"status":"pending"}`) }, TokenExpired, false, ""},
		"early taken": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"status":"delivered"}`) }, Passing, false, "before the whole file"},
	} {
		u := newUpload(pattern(2 << 20))
		if strings.HasPrefix(name, "early") {
			u.Open = func() (io.ReadCloser, error) { return &slowSource{closed: make(chan struct{})}, nil }
		}
		e := wantError(t, ways["postbox"](serve(t, c.answer), background(), aContract(), "token", u.Upload), c.class, c.words)
		if e.Doubt != c.doubt {
			t.Errorf("%s: doubt %v: %v", name, e.Doubt, e)
		}
	}
}

// An expired token is answered before any of the file is read.
func TestPostboxPending(t *testing.T) {
	r := newRig(t)
	patient(r.Client)
	push := r.destinations(t)["postbox"]
	r.sandbox.ExpireAccess(r.token.UserID)
	var read atomic.Int64
	u := newUpload(pattern(8 << 20))
	open := u.Open
	u.Open = func() (io.ReadCloser, error) {
		src, err := open()
		return countingSource{src, &read}, err
	}
	wantError(t, push(u.Upload), TokenExpired, "access token")
	if _, _, released := u.counts(); read.Load() != 0 || released != 0 || len(r.sandbox.Deliveries()) != 0 {
		t.Errorf("%d bytes of the file were read, released %d times", read.Load(), released)
	}
}

func TestPostboxThatCannotBe(t *testing.T) {
	client := serve(t, newSink().ServeHTTP)
	good := PostboxAddress{ID: "box", Key: &testKey().PublicKey}
	k := aContract()
	k.RedirectURI = "http://localhost:1/"
	for words, spoil := range map[string]func(*Contract, *PostboxAddress, *Upload){
		"no public key":   func(_ *Contract, b *PostboxAddress, _ *Upload) { b.Key = nil },
		"no ID":           func(_ *Contract, b *PostboxAddress, _ *Upload) { b.ID = ".." },
		"no redirect URI": func(k *Contract, _ *PostboxAddress, _ *Upload) { k.RedirectURI = "" },
		"512 bits":        func(_ *Contract, b *PostboxAddress, _ *Upload) { b.Key = shortKey(512) },
		"no mimeType":     func(_ *Contract, _ *PostboxAddress, u *Upload) { u.Descriptor.MimeType = "" },
	} {
		k, box, u := k, good, newUpload([]byte("x"))
		spoil(&k, &box, &u.Upload)
		class := Configuration
		if words == "no mimeType" {
			class = Refused
		}
		wantError(t, client.PushPostbox(background(), k, "token", box, "x", u.Upload), class, words)
		if opened, _, _ := u.counts(); opened != 0 {
			t.Errorf("%s: the file was opened", words)
		}
	}
}

// zeros is a file that takes no memory.
type zeros struct{ left int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), z.left)
	clear(p[:n])
	z.left -= n
	return int(n), nil
}

func (*zeros) Close() error { return nil }

// discards is an API that takes any push to a postbox, without memory.
func discards(t testing.TB) *Client {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n, err := io.Copy(io.Discard, r.Body); err != nil || n != r.ContentLength {
			t.Errorf("%d of %d bytes, %v", n, r.ContentLength, err)
		}
		answerJSON(w, 200, map[string]any{"status": "delivered", "expires": 1})
	})
}

func zeroUpload(t testing.TB, size int64) Upload {
	t.Helper()
	sum := sha256.New()
	if _, err := io.Copy(sum, &zeros{size}); err != nil {
		t.Fatal(err)
	}
	u := newUpload(nil).Upload
	u.Size, u.SHA256 = size, [sha256.Size]byte(sum.Sum(nil))
	u.Open = func() (io.ReadCloser, error) { return &zeros{size}, nil }
	return u
}

// A large file does not come to be in memory.
func TestLargePostboxPushIsFlat(t *testing.T) {
	client, u := discards(t), zeroUpload(t, 256<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	if err := ways["postbox"](client, background(), aContract(), "token", u); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	grown := after.TotalAlloc - before.TotalAlloc
	t.Logf("%d MiB in %v, %d KiB allocated in all", u.Size>>20, time.Since(began).Round(time.Millisecond), grown>>10)
	if grown > 4<<20 {
		t.Errorf("%d bytes were allocated for %d", grown, u.Size)
	}
}

func BenchmarkPostbox64MiB(b *testing.B) {
	client, u := discards(b), zeroUpload(b, 64<<20)
	b.SetBytes(u.Size)
	b.ReportAllocs()
	for b.Loop() {
		if err := ways["postbox"](client, background(), aContract(), "token", u); err != nil {
			b.Fatal(err)
		}
	}
}

// What is withheld of a sealed file is what the last chunk makes of it.
func TestEnvelopePieces(t *testing.T) {
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	iv := make([]byte, 16)
	for _, size := range []int{0, 1, 15, 16, 17, LastChunk, LastChunk + 31, 3*LastChunk + 7} {
		for _, piece := range []int{1, 7, 1 << 12, 1 << 20} {
			u := newUpload(pattern(size))
			e := &envelope{before: []byte("before"), after: []byte("after"), seal: cipher.NewCBCEncrypter(block, iv)}
			released, left := 0, 0
			b := newBody(background(), io.NopCloser(bytes.NewReader(u.content)), u.Upload, func() error { released++; return nil }, func() {}, func(n int) { left = n })
			b.enclose(e)
			var got []byte
			buf := make([]byte, piece)
			for err = nil; err == nil; {
				var n int
				n, err = b.Read(buf)
				got = append(got, buf[:n]...)
				if len(got) > len(e.before)+max(0, size-LastChunk) && released == 0 {
					t.Fatalf("%d bytes in %d: %d came without release", size, piece, len(got))
				}
				if released == 1 && left == 0 {
					t.Fatal("released, but nothing left")
				}
			}
			want := pad(pattern(size))
			cipher.NewCBCEncrypter(block, iv).CryptBlocks(want, want)
			want = []byte("before" + string(want) + "after")
			if err != io.EOF || !bytes.Equal(got, want) || e.length(int64(size)) != int64(len(want)) || released != 1 {
				t.Errorf("%d bytes in %d: %d came, %d announced, released %d times, %v", size, piece, len(got), e.length(int64(size)), released, err)
			}
		}
	}
}

// The address stands for the person.
func TestPostboxIsNotShown(t *testing.T) {
	if text := fmt.Sprintf("%v %+v", PostboxAddress{ID: "s3cr3t"}, &Postbox{ID: "s3cr3t"}); strings.Contains(text, "s3cr3t") {
		t.Error(text)
	}
	if _, err := (&Postbox{ID: "x", PublicKey: "s3cr3t"}).Address(); err == nil || strings.Contains(err.Error(), "s3cr3t") {
		t.Error(err)
	}
}
