package engine

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
)

// A hint names the setting that is wrong, and no other.
func TestHintsNameTheRightSetting(t *testing.T) {
	lib := Library{Name: "alice", Contract: digime.Contract{ID: "write"}}
	for want, api := range map[string]*digime.Error{
		"api.proxy":      {Class: digime.Configuration, Status: 407},
		"api.base_url":   {Class: digime.Configuration, Status: 404},
		"contract write": {Class: digime.Configuration, Status: 403, Code: "InsufficientScope"},
	} {
		if _, hint := configurationHold(lib, api); !strings.Contains(hint, want) {
			t.Errorf("%d %s: %q does not name %s", api.Status, api.Code, hint, want)
		}
	}
	untrusted := &digime.Error{Class: digime.Passing, Err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}}
	if hint := passingHint(untrusted); !strings.Contains(hint, "api.ca_file") {
		t.Errorf("an untrusted certificate: %q", hint)
	}
	if hint := passingHint(&digime.Error{Class: digime.Passing, Err: errors.New("connection refused")}); !strings.HasPrefix(hint, "nothing to do") {
		t.Errorf("a network that is away: %q", hint)
	}
}

func TestClockWords(t *testing.T) {
	for skew, want := range map[time.Duration]string{-time.Hour: "1h0m0s behind digi.me's", 90 * time.Second: "1m30s ahead of digi.me's"} {
		if got := clockWords(skew); got != want {
			t.Errorf("clockWords(%s) = %q", skew, got)
		}
	}
}

// A state folder that is full is said and waited out; only another fault of the
// store ends the engine.
func TestFullStateFolderEndsNothing(t *testing.T) {
	r := newRig(t, nil, "alice")
	trouble := func() string {
		s, err := r.engine.Status("")
		must(t, err)
		return s.Trouble
	}
	for _, err := range []error{syscall.ENOSPC, syscall.EROFS, syscall.EPERM, syscall.EACCES, store.ErrUnavailable} {
		if fault := r.engine.storeFault(fmt.Errorf("queue file: %w", err)); fault != nil {
			t.Errorf("%v ends the engine", err)
		}
		if !strings.Contains(trouble(), "cannot be written to") {
			t.Errorf("%v is not said", err)
		}
		must(t, r.engine.probe()) // this disk has room
		if got := trouble(); got != "" {
			t.Errorf("still said when there is room: %s", got)
		}
	}
	if fault := r.engine.storeFault(store.ErrClosed); fault == nil {
		t.Error("a store that is gone does not end the engine")
	}
}

// Tokens that cannot be written are the state folder's matter, not the person's,
// and looked at again soon.
func TestTokensThatCannotBeWritten(t *testing.T) {
	r := newRig(t, nil, "alice")
	path := r.drop("alice", "one.txt", "one")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 500})
	r.once()
	f, ok, err := r.store.Get(path)
	if err != nil || !ok {
		t.Fatalf("%v, %v", ok, err)
	}
	p := &push{engine: r.engine, folder: r.engine.folders[f.Folder], file: f, desc: description{library: r.libs["alice"]}}
	p.tokenFailed(t.Context(), fmt.Errorf("save token: %w", &os.PathError{Op: "open", Path: "tokens", Err: syscall.EPERM}))
	hold := p.outcome.hold
	if hold == nil || !strings.Contains(hold.Reason, "cannot be written") || strings.Contains(hold.Hint, "authorize") || !strings.Contains(hold.Hint, "tokens") {
		t.Fatalf("%+v", hold)
	}
	if wait := time.Until(hold.Until); wait > 30*time.Second {
		t.Errorf("tried again after %v", wait)
	}
}

// What was deleted under the service is put back when it stops, too.
func TestStopPutsBackWhatWasDeleted(t *testing.T) {
	r := newRig(t, nil, "alice")
	var files []string
	for _, pattern := range []string{"vault.key*", "tokens/*.token.1"} {
		found, err := filepath.Glob(filepath.Join(r.dir, "state", pattern))
		must(t, err)
		files = append(files, found...)
	}
	if len(files) != 3 {
		t.Fatalf("%q", files)
	}
	r.start()
	r.untilState(r.drop("alice", "one.txt", "one"), store.Delivered)
	for _, f := range files {
		must(t, os.Remove(f))
	}
	r.stop()
	for _, f := range files {
		if !exist(f) {
			t.Errorf("%s is gone", f)
		}
	}
	r.restart()
	two := r.drop("alice", "two.txt", "two")
	r.once()
	if f := r.state(two); f.State != store.Delivered {
		t.Errorf("%+v", f)
	}
}
