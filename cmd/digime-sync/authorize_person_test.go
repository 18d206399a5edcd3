package main

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
	"github.com/digime-sync/digime-sync/sync/engine"
)

// A token the service knows is renewed for its own person; one it does not know
// is asked for from scratch, and another person's consent is never saved.
func TestAuthorizeOtherPerson(t *testing.T) {
	c := newClinic(t)
	old := c.token(t, "alice")
	old.Access.Value, old.Refresh.Value = "unknown-access", "unknown-refresh"
	c.save(t, "alice", old)
	y := c.types(t, "alice")
	link := y.link(t)
	if !strings.Contains(link, "/authorize?") {
		t.Errorf("not asked from scratch: %s", link)
	}
	bob := c.token(t, "bob").UserID
	if status, body, _ := visit(t, c.decide(t, link, true, bob)); status != http.StatusConflict || !strings.Contains(body, "another person") || strings.Contains(body, bob) {
		t.Errorf("%d\n%s", status, body)
	}
	y.ends(t, exitHeld, "another person answered", "nothing was changed", "hint: let the person of library alice answer: digime-sync authorize alice")
	if c.token(t, "alice") != old {
		t.Error("the token was replaced")
	}

	y = c.types(t, "alice")
	visit(t, c.decide(t, y.link(t), true, old.UserID))
	y.ends(t, exitDone)
	if got := c.token(t, "alice"); got.UserID != old.UserID || got.Access.Value == old.Access.Value {
		t.Error("her own consent was not saved")
	}
}

// What is compared is the token that is there when the answer comes.
func TestAuthorizeOtherPersonMeanwhile(t *testing.T) {
	c := newClinic(t)
	y := c.types(t, "alice")
	callback := c.decide(t, y.link(t), true, "")
	bob := c.token(t, "bob")
	c.save(t, "alice", bob)
	visit(t, callback)
	y.ends(t, exitHeld, "another person answered")
	if c.token(t, "alice") != bob {
		t.Error("a token that was imported meanwhile is lost")
	}
}

// One person's consent for two libraries would mix up two persons' files.
func TestAuthorizeSamePersonTwice(t *testing.T) {
	c := newClinic(t)
	if err := c.vault.Remove("bob"); err != nil {
		t.Fatal(err)
	}
	y := c.types(t, "bob")
	visit(t, c.decide(t, y.link(t), true, c.token(t, "alice").UserID))
	y.ends(t, exitHeld, "another person answered than this library's: that of library alice; nothing was changed")
	if _, err := c.vault.Load("bob"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("saved: %v", err)
	}
}

func TestAuthorizeReadContract(t *testing.T) {
	c := newClinic(t)
	bob := c.token(t, "bob") // his access has expired: it is refreshed on the way
	y := c.types(t, "bob", "--read")
	visit(t, c.decide(t, y.link(t), true, ""))
	y.ends(t, exitDone, "consent for library bob (read) saved")
	read := c.token(t, engine.ReadToken("bob"))
	if now := c.token(t, "bob"); read.UserID != bob.UserID || now.UserID != bob.UserID || now.Access == bob.Access || now.Access == read.Access {
		t.Errorf("read token of %q, write token of %q, want %q", read.UserID, now.UserID, bob.UserID)
	}

	// The service may end an access token early.
	c.server.ExpireAccess(bob.UserID)
	y = c.types(t, "bob", "--read")
	visit(t, c.decide(t, y.link(t), true, ""))
	y.ends(t, exitDone)

	var out, errs bytes.Buffer
	a := &app{out: &out, err: &errs}
	if code := a.main([]string{"--config", c.config, "token", "list"}); code != 0 || !regexp.MustCompile(`(?m)^bob \(read\) +ok`).MatchString(out.String()) {
		t.Errorf("%d\n%s%s", code, &out, &errs)
	}
	out.Reset()
	if code := a.main([]string{"--config", c.config, "status", "--json"}); code != 0 || strings.Contains(out.String(), "read") {
		t.Errorf("%d\n%s%s", code, &out, &errs)
	}

	// Nobody is asked to read where nobody has consented to write.
	c.server.KillRefresh(bob.UserID)
	c.server.ExpireAccess(bob.UserID)
	c.types(t, "bob", "--read").ends(t, exitHeld, "hint: first: digime-sync authorize bob")
	if err := c.vault.Remove("bob"); err != nil {
		t.Fatal(err)
	}
	c.types(t, "bob", "--read").ends(t, exitHeld, "hint: first: digime-sync authorize bob")
	c.reconfigure(t, "read_contract: clinic-read, ", "")
	c.types(t, "bob", "--read").ends(t, exitError, "library bob has no read contract")
}

// What legacy contracts say beside the code is kept with the token.
func TestAuthorizePostbox(t *testing.T) {
	c := newClinic(t)
	if err := c.vault.Remove("alice"); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(c.dir, "clinic-write.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := digime.ParsePrivateKey(data)
	if err != nil {
		t.Fatal(err)
	}
	c.server.AddContract(sandbox.KindPostbox, "clinic-write", &key.PublicKey, c.callback)
	y := c.types(t, "alice")
	visit(t, c.decide(t, y.link(t), true, ""))
	y.ends(t, exitDone)
	first := c.token(t, "alice")
	if first.Postbox == nil || first.Postbox.ID == "" || !strings.Contains(first.Postbox.PublicKey, "PUBLIC KEY") {
		t.Fatalf("kept %+v", first.Postbox)
	}

	// An answer without them, or with broken ones, does not lose them.
	for _, postbox := range []string{"", "x"} {
		y = c.types(t, "alice")
		visit(t, with(with(c.decide(t, y.link(t), true, ""), "postboxId", postbox), "publicKey", postbox))
		y.ends(t, exitDone)
		if got := c.token(t, "alice"); got.Postbox == nil || *got.Postbox != *first.Postbox || got.Access == first.Access {
			t.Errorf("kept %+v", got.Postbox)
		}
	}
	y.out.wait(t, `the answer's postbox cannot be used`)
}
