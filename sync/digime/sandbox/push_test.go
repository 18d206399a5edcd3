package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
)

func TestPushIsRecorded(t *testing.T) {
	r := newRig(t, Options{})
	if a := r.must(r.push("hello")); a.status != http.StatusOK {
		t.Fatalf("push: %d %s", a.status, a.body)
	}
	got := r.Deliveries()
	if len(got) != 1 {
		t.Fatalf("%d deliveries, want 1", len(got))
	}
	sum := sha256.Sum256([]byte("hello"))
	d := got[0]
	if d.SHA256 != hex.EncodeToString(sum[:]) || d.Size != 5 || d.User != r.user || d.Kind != DeliveryLibrary ||
		d.ContractID != "write-1" || string(d.Descriptor) != goodDescriptor || len(d.Nonce) != 32 {
		t.Errorf("recorded %+v", d)
	}
}

func (r *rig) wantEmptyDir() {
	r.t.Helper()
	entries, err := os.ReadDir(r.bodies.dir)
	if err != nil || len(entries) != 0 {
		r.t.Errorf("left in the folder: %v %v", entries, err)
	}
}

func TestBodyIsKept(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		r := newRig(t, Options{Dir: dir})
		for range 2 { // the same content again must not disturb the first
			if a := r.must(r.push("hello")); a.status != http.StatusOK {
				t.Fatalf("push: %d %s", a.status, a.body)
			}
		}
		body, err := r.Body(r.Deliveries()[1].SHA256)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		if err != nil || string(got) != "hello" {
			t.Errorf("kept %q, %v", got, err)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestBodyNotKept(t *testing.T) {
	r := newRig(t, Options{})
	large := make([]byte, maxHeld+1)
	if a := r.must(r.push(string(large))); a.status != http.StatusOK {
		t.Fatalf("push: %d %s", a.status, a.body)
	}
	d := r.Deliveries()[0]
	if sum := sha256.Sum256(large); d.Size != int64(len(large)) || d.SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("recorded %+v", d)
	}
	for _, sum := range []string{d.SHA256, "../../etc/passwd", ""} {
		if _, err := r.Body(sum); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Body(%q): %v, want fs.ErrNotExist", sum, err)
		}
	}
}

// TestLargeBodyStreams: far more than is kept passes through without being held.
func TestLargeBodyStreams(t *testing.T) {
	r := newRig(t, Options{})
	const size = 256 << 20
	q := r.push("")
	q.body = io.LimitReader(zeros{}, size)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if a := r.must(q); a.status != http.StatusOK {
		t.Fatalf("push: %d %s", a.status, a.body)
	}
	runtime.ReadMemStats(&after)
	if got := r.Deliveries()[0].Size; got != size {
		t.Errorf("recorded %d bytes, want %d", got, size)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 8*maxHeld {
		t.Errorf("%d bytes allocated for a body of %d", grown, size)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestConcurrentPushes(t *testing.T) {
	r := newRig(t, Options{Dir: t.TempDir()})
	var wg sync.WaitGroup
	for i := range 24 {
		q := r.push(strings.Repeat("x", i))
		wg.Go(func() {
			if a, err := r.send(q); err != nil || a.status != http.StatusOK {
				t.Errorf("push %d: %d %s %v", i, a.status, a.body, err)
			}
		})
	}
	wg.Wait()
	nonces := map[string]bool{}
	for _, d := range r.Deliveries() {
		nonces[d.Nonce] = true
	}
	if len(nonces) != 24 {
		t.Errorf("%d deliveries, want 24", len(nonces))
	}
}
