package digime

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
)

const noLimit = 1 << 40

// packed is a file as the service gives it out.
type packed struct {
	content     []byte // compressed
	compression string
	key         *rsa.PublicKey
	aes         int                        // size of the key in it
	spoil       func(body []byte) []byte   // of the whole body, nil for none
	metadata    func(header string) string // likewise
}

func (p packed) body() []byte {
	key, iv := make([]byte, p.aes), make([]byte, aes.BlockSize)
	rand.Read(key)
	rand.Read(iv)
	sealed, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, p.key, key, nil)
	if err != nil {
		panic(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	plain := pad(bytes.Clone(p.content))
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(plain, plain)
	body := append(append(sealed, iv...), plain...)
	if p.spoil != nil {
		body = p.spoil(body)
	}
	return body
}

func (p packed) header() string {
	text := `{"metadata":{"mimetype":"text/plain","accounts":[{"accountid":"P-1"}],"partnerid":"x","unknown":{}},"compression":` + fmt.Sprintf("%q}", p.compression)
	header := base64.RawURLEncoding.EncodeToString([]byte(text))
	if p.metadata != nil {
		header = p.metadata(header)
	}
	return header
}

func (p packed) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if header := p.header(); header != "" {
		w.Header().Set("X-Metadata", header)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(p.body())
}

func gzipped(data []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(data)
	w.Close()
	return out.Bytes()
}

func brotlied(data []byte) []byte {
	var out bytes.Buffer
	w := brotli.NewWriter(&out)
	_, _ = w.Write(data)
	w.Close()
	return out.Bytes()
}

func fetch(c *Client, name string, limit int64, w io.Writer) (Metadata, int64, error) {
	return c.Fetch(background(), aContract(), "token", "session", name, limit, w)
}

func TestFetchCompressions(t *testing.T) {
	for _, content := range [][]byte{nil, []byte("hello"), pattern(16), bytes.Repeat([]byte("text "), 50_000), pattern(pieceSize), pattern(2<<20 + 5)} {
		for compression, data := range map[string][]byte{"": content, "no-compression": content, "gzip": gzipped(content), "brotli": brotlied(content)} {
			client := serve(t, packed{content: data, compression: compression, key: &testKey().PublicKey, aes: 32}.ServeHTTP)
			var got bytes.Buffer
			m, n, err := fetch(client, "file", int64(len(content)), &got)
			if err != nil || n != int64(len(content)) || !bytes.Equal(got.Bytes(), content) {
				t.Errorf("%q, %d bytes: %d came, %v", compression, len(content), n, err)
			}
			if m.MimeType != "text/plain" || len(m.Accounts) != 1 || m.Accounts[0].AccountID != "P-1" || m.PartnerID != "x" || !m.Created.IsZero() {
				t.Errorf("metadata %+v", m)
			}
			if len(content) > 0 {
				if _, n, err := fetch(client, "file", int64(len(content))-1, io.Discard); n >= int64(len(content)) {
					t.Errorf("%q: %d bytes beyond the limit", compression, n)
				} else {
					wantError(t, err, BadAnswer, "larger than expected")
				}
			}
		}
	}
}

func TestFetchBadFiles(t *testing.T) {
	text := bytes.Repeat([]byte("some text, "), 10_000)
	good := packed{content: text, key: &testKey().PublicKey, aes: 32}
	for name, c := range map[string]struct {
		change func(p *packed)
		words  string
	}{
		"empty body":        {func(p *packed) { p.spoil = func([]byte) []byte { return nil } }, "cut off"},
		"half a head":       {func(p *packed) { p.spoil = func(b []byte) []byte { return b[:100] } }, "cut off"},
		"head alone":        {func(p *packed) { p.spoil = func(b []byte) []byte { return b[:272] } }, "cut off"},
		"a byte less":       {func(p *packed) { p.spoil = func(b []byte) []byte { return b[:len(b)-1] } }, "cut off"},
		"a byte more":       {func(p *packed) { p.spoil = func(b []byte) []byte { return append(b, 0) } }, "cut off"},
		"a block less":      {func(p *packed) { p.spoil = func(b []byte) []byte { return b[:len(b)-16] } }, "damaged or cut off"},
		"damaged end":       {func(p *packed) { p.spoil = func(b []byte) []byte { b[len(b)-17] ^= 0xff; return b } }, "damaged or cut off"},
		"garbage":           {func(p *packed) { p.spoil = func([]byte) []byte { return pattern(5000) } }, "contract's key"},
		"wrong key":         {func(p *packed) { p.key = &serviceKey().PublicKey }, "contract's key"},
		"short AES key":     {func(p *packed) { p.aes = 16 }, "contract's key"},
		"no gzip":           {func(p *packed) { p.compression = "gzip" }, "decompressed"},
		"gzip cut off":      {func(p *packed) { p.compression = "gzip"; p.content = gzipped(text)[:200] }, "decompressed"},
		"gzip checksum":     {func(p *packed) { p.compression = "gzip"; p.content = gzipped(text); p.content[len(p.content)-5] ^= 1 }, "decompressed"},
		"gzip and more":     {func(p *packed) { p.compression = "gzip"; p.content = append(gzipped(text), 1, 2, 3) }, "decompressed"},
		"gzip of nothing":   {func(p *packed) { p.compression = "gzip"; p.content = nil }, "decompressed"},
		"no brotli":         {func(p *packed) { p.compression = "brotli" }, "decompressed"},
		"brotli cut off":    {func(p *packed) { p.compression = "brotli"; p.content = brotlied(pattern(100_000))[:100] }, "decompressed"},
		"brotli and more":   {func(p *packed) { p.compression = "brotli"; p.content = append(brotlied(text), 1, 2, 3) }, "decompressed"},
		"brotli far more":   {func(p *packed) { p.compression = "brotli"; p.content = append(brotlied(text), pattern(pieceSize)...) }, "compressed"},
		"brotli of nothing": {func(p *packed) { p.compression = "brotli"; p.content = nil }, "decompressed"},
		"brotli, padding": {func(p *packed) {
			p.compression, p.content = "brotli", brotlied(text)
			p.spoil = func(b []byte) []byte { b[len(b)-17] ^= 0xff; return b }
		}, "cannot be used"},
		"unknown compression": {func(p *packed) { p.compression = "zip" }, "not known: zip"},
		"no metadata":         {func(p *packed) { p.metadata = func(string) string { return "" } }, "no X-Metadata"},
		"metadata no base64":  {func(p *packed) { p.metadata = func(string) string { return "{}" } }, "not base64"},
		"metadata no JSON":    {func(p *packed) { p.metadata = func(h string) string { return h[:40] } }, "does not hold"},
		"metadata empty":      {func(p *packed) { p.metadata = func(string) string { return "e30" } }, "does not hold"},
		"metadata of numbers": {func(p *packed) {
			p.metadata = func(string) string { return base64.URLEncoding.EncodeToString([]byte(`{"metadata":{"mimetype":1}}`)) }
		}, "does not hold"},
	} {
		p := good
		c.change(&p)
		_, _, err := fetch(serve(t, p.ServeHTTP), "file", noLimit, io.Discard)
		var e *Error
		if !errors.As(err, &e) || e.Class != BadAnswer || !strings.Contains(e.Error(), c.words) {
			t.Errorf("%s: %v, want %q", name, err, c.words)
		}
	}
}

// A file that breaks off on its way is no bad answer: it comes again.
func TestFetchBreaksOff(t *testing.T) {
	whole := packed{content: pattern(1 << 20), key: &testKey().PublicKey, aes: 32}
	body := whole.body()
	for _, at := range []int{0, 100, 272, 272 + 16*1000, len(body) - 16, len(body) - 1} {
		client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Metadata", whole.header())
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			_, _ = w.Write(body[:at])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
		_, n, err := fetch(client, "file", noLimit, io.Discard)
		if wantError(t, err, Passing, "broke off"); n > int64(at) {
			t.Errorf("%d bytes of %d", n, at)
		}
	}
	stuck := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Metadata", whole.header())
		_, _ = w.Write(body[:5000])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}, stall(200*time.Millisecond))
	_, _, err := fetch(stuck, "file", noLimit, io.Discard)
	wantError(t, err, Passing, "no progress")
	stuck.stall = defaultStall
	ctx, cancel := context.WithCancel(background())
	_, _, err = stuck.Fetch(ctx, aContract(), "token", "session", "file", noLimit, writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil }))
	if err != context.Canceled {
		t.Errorf("cancelled: %v", err)
	}
}

// A full disk is neither the network's nor the file's fault.
func TestFetchWriteError(t *testing.T) {
	for _, compression := range []string{"", "gzip", "brotli"} {
		p := packed{content: pattern(1 << 20), compression: compression, key: &testKey().PublicKey, aes: 32}
		switch compression {
		case "gzip":
			p.content = gzipped(p.content)
		case "brotli":
			p.content = brotlied(p.content)
		}
		full := errors.New("disk full")
		for _, short := range []bool{false, true} {
			w := writerFunc(func(p []byte) (int, error) {
				if short {
					return len(p) - 1, nil
				}
				return 0, full
			})
			_, _, err := fetch(serve(t, p.ServeHTTP), "file", noLimit, w)
			var e *Error
			if errors.As(err, &e) || !errors.Is(err, full) && !errors.Is(err, io.ErrShortWrite) {
				t.Errorf("%q: %v", compression, err)
			}
		}
	}
}

// A bomb goes off in nobody's disk, nor in memory.
func TestFetchBomb(t *testing.T) {
	var bomb bytes.Buffer
	w := brotli.NewWriterLevel(&bomb, 1)
	_, _ = io.Copy(w, &zeros{64 << 20})
	w.Close()
	client := serve(t, packed{content: bomb.Bytes(), compression: "brotli", key: &testKey().PublicKey, aes: 32}.ServeHTTP)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, n, err := fetch(client, "file", 1<<20, io.Discard)
	runtime.ReadMemStats(&after)
	wantError(t, err, BadAnswer, "larger than expected")
	if grown := after.TotalAlloc - before.TotalAlloc; n > 1<<20 || grown > 16<<20 {
		t.Errorf("%d bytes of %d compressed written, %d allocated", n, bomb.Len(), grown)
	}
}

func FuzzFetch(f *testing.F) {
	key := testKey()
	for _, compression := range []string{"", "gzip", "brotli", "other"} {
		for _, content := range [][]byte{nil, []byte("hello"), gzipped([]byte("hello")), brotlied([]byte("hello"))} {
			f.Add(content, []byte{}, compression, 20, 7)
		}
	}
	f.Add([]byte("x"), []byte("garbage"), "", 0, 1)
	f.Fuzz(func(t *testing.T, content, extra []byte, compression string, limit, step int) {
		// What is encrypted is fuzzed from within, then what is behind it.
		body := append(packed{content: content, key: &key.PublicKey, aes: 32}.body(), extra...)
		var got bytes.Buffer
		run := &fetching{from: &dripSource{bytes.NewReader(body), max(1, step&0xffff)}, w: &got, left: int64(limit), kick: func() {}}
		err := run.run(Contract{Key: key}, compression)
		if run.written != int64(got.Len()) || run.written > max(0, int64(limit)) {
			t.Fatalf("%d bytes written, %d said, limit %d", got.Len(), run.written, limit)
		}
		plain := compression == "" || compression == "no-compression"
		if plain && len(extra) == 0 && limit >= len(content) && (err != nil || !bytes.Equal(got.Bytes(), content)) {
			t.Fatalf("%v, got %q of %q", err, got.Bytes(), content)
		}
		if run.fault(background(), background(), err) != nil != (err != nil) {
			t.Fatal("an error is lost")
		}
	})
}

func FuzzMetadata(f *testing.F) {
	f.Add(packed{compression: "gzip"}.header())
	f.Add("e30=")
	f.Fuzz(func(t *testing.T, header string) {
		m, compression, err := parseMetadata(header)
		if err != nil && (compression != "" || !reflect.DeepEqual(m, Metadata{})) {
			t.Fatal("something is believed of a bad header")
		}
		if _, err := json.Marshal(m); err != nil {
			t.Fatal(err)
		}
	})
}

func benchmarkFetch(b *testing.B, compression string, content []byte, size int64) {
	p := packed{content: content, compression: compression, key: &testKey().PublicKey, aes: 32}
	body := p.body()
	client := serve(b, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Metadata", p.header())
		_, _ = w.Write(body)
	})
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		if _, n, err := fetch(client, "file", noLimit, io.Discard); err != nil || n != size {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkFetch64MiB(b *testing.B) {
	content := pattern(64 << 20)
	benchmarkFetch(b, "", content, 64<<20)
}

func BenchmarkFetchGzip18MiB(b *testing.B) {
	benchmarkFetch(b, "gzip", gzipped(bytes.Repeat([]byte(`{"a":"some text"},`), 1<<20)), 18<<20)
}

func BenchmarkFetchBrotli18MiB(b *testing.B) {
	benchmarkFetch(b, "brotli", brotlied(bytes.Repeat([]byte(`{"a":"some text"},`), 1<<20)), 18<<20)
}
