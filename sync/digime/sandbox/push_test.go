package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
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
