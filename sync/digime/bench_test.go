package digime

import (
	"io"
	"net/http"
	"testing"
)

// A push of 64 MiB over loopback, read, hashed, sent and discarded.
func BenchmarkPush64MiB(b *testing.B) {
	client := serve(b, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	u := newUpload(pattern(64 << 20))
	b.SetBytes(u.Size)
	b.ReportAllocs()
	for b.Loop() {
		if err := client.Push(background(), aContract(), "token", u.Upload); err != nil {
			b.Fatal(err)
		}
	}
}

// A small push is two signatures and a round trip.
func BenchmarkPushSmall(b *testing.B) {
	client := serve(b, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	u := newUpload(pattern(4 << 10))
	b.ReportAllocs()
	for b.Loop() {
		if err := client.Push(background(), aContract(), "token", u.Upload); err != nil {
			b.Fatal(err)
		}
	}
}
