package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
)

// enrolment FILE LIBRARY TOKENFILE… makes an enrolment file.
func brings(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args)%2 != 1 {
		ts.Fatalf("usage: enrolment FILE LIBRARY TOKENFILE…")
	}
	tokens := map[string]json.RawMessage{}
	for i := 1; i < len(args); i += 2 {
		tokens[args[i]] = json.RawMessage(ts.ReadFile(args[i+1]))
	}
	data, err := json.Marshal(tokens)
	ts.Check(err)
	// It appears at once, as a careful deployment has it: a daemon may be looking.
	path := ts.MkAbs(args[0])
	ts.Check(os.WriteFile(path+".new", data, 0o600))
	ts.Check(os.Rename(path+".new", path))
}

// enrolRig is a machine with two libraries, and an enrolment file for both.
type enrolRig struct {
	t     *testing.T
	cfg   *Config
	vault *store.Vault
	file  string
}

func newEnrolRig(t *testing.T) *enrolRig {
	t.Helper()
	dir := t.TempDir()
	r := &enrolRig{t: t, file: filepath.Join(dir, "enrol.json"), cfg: &Config{
		StateDir:  filepath.Join(dir, "state"),
		Contracts: map[string]ContractConfig{"w": {ID: "c1"}},
		Libraries: map[string]LibraryConfig{"alice": {Contract: "w"}, "bob": {Contract: "w"}},
	}}
	must(t, os.Mkdir(r.cfg.StateDir, 0o700))
	var err error
	r.vault, err = store.OpenVault(r.cfg.StateDir)
	must(t, err)
	return r
}

// personToken is a person's token that ends some hours from now.
func personToken(person, refresh string, hours int) digime.Token {
	end := time.Now().Add(time.Duration(hours) * time.Hour).Unix()
	return digime.Token{Access: digime.TokenPart{Value: "access-" + refresh, Expiry: end}, Refresh: digime.TokenPart{Value: refresh, Expiry: end}, UserID: person}
}

func (r *enrolRig) write(tokens map[string]digime.Token) {
	r.t.Helper()
	data, err := json.Marshal(tokens)
	must(r.t, err)
	must(r.t, os.WriteFile(r.file, data, 0o600))
}

func (r *enrolRig) save(library string, tok digime.Token) {
	r.t.Helper()
	data, err := json.Marshal(tok)
	must(r.t, err)
	must(r.t, r.vault.Save(library, data))
}

func (r *enrolRig) refreshToken(library string) string {
	tok, err := loadToken(r.vault, library)
	if err != nil {
		return err.Error()
	}
	return tok.Refresh.Value
}

// However far it came before it died, doing it again ends with both tokens in
// the vault, the newest of each, and without the file.
func TestEnrolAgainAfterACrash(t *testing.T) {
	file := map[string]digime.Token{"alice": personToken("ann", "a1", 10), "bob": personToken("ben", "b1", 10)}
	for _, tt := range []struct {
		name  string
		crash func(r *enrolRig)
		want  enrolled
		alice string
	}{
		{"before anything", func(*enrolRig) {}, enrolled{imported: "alice bob"}, "a1"},
		{"after the tokens were noted", func(r *enrolRig) { r.noted(file) }, enrolled{imported: "alice bob"}, "a1"},
		{"over an older token", func(r *enrolRig) {
			r.save("alice", personToken("ann", "a0", 5))
			r.noted(file)
		}, enrolled{imported: "alice bob"}, "a1"},
		{"after one was saved", func(r *enrolRig) {
			r.noted(file)
			r.save("alice", file["alice"])
		}, enrolled{imported: "bob", already: "alice"}, "a1"},
		{"after one was saved, and renewed", func(r *enrolRig) {
			r.noted(file)
			r.save("alice", personToken("ann", "a2", 11))
		}, enrolled{imported: "bob", already: "alice"}, "a2"},
		{"after all were saved", func(r *enrolRig) {
			r.noted(file)
			r.save("alice", file["alice"])
			r.save("bob", file["bob"])
		}, enrolled{already: "alice bob"}, "a1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newEnrolRig(t)
			r.write(file)
			tt.crash(r)
			e, err := enrolFrom(r.cfg, r.vault, r.file)
			must(t, errors.Join(err, e.err()))
			if got := (enrolled{strings.Join(e.Imported, " "), strings.Join(e.Already, " ")}); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if r.refreshToken("alice") != tt.alice || r.refreshToken("bob") != "b1" {
				t.Errorf("the vault has %s and %s", r.refreshToken("alice"), r.refreshToken("bob"))
			}
			if _, err := os.Lstat(r.file); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the file is still there: %v", err)
			}
		})
	}
}

type enrolled struct{ imported, already string }

// noted is what is on the disk before the first token is saved.
func (r *enrolRig) noted(tokens map[string]digime.Token) {
	r.t.Helper()
	var list []enrolToken
	for library, tok := range tokens {
		list = append(list, enrolToken{library: library, token: tok})
	}
	must(r.t, rememberTokens(r.cfg.StateDir, rememberedTokens(r.cfg.StateDir), list))
}

func TestEnrolRefuses(t *testing.T) {
	good := personToken("ann", "a1", 10)
	for _, tt := range []struct {
		name   string
		tokens map[string]digime.Token
		want   string
	}{
		{"one person's token for two libraries", map[string]digime.Token{"alice": good, "bob": good}, "bob: this token is that of library alice: files of library bob would go to the wrong person; nothing was changed"},
		{"one person's consents for two libraries", map[string]digime.Token{"alice": good, "bob": personToken("ann", "b1", 10)}, "bob: this token is that of library alice"},
		{"another person's", map[string]digime.Token{"alice": personToken("eve", "e1", 10)}, "alice: this token is another person's than the one library alice has: nothing was changed"},
		{"ended", map[string]digime.Token{"bob": personToken("ben", "b1", -1)}, "bob: this token's consent has already ended"},
		{"of nobody", map[string]digime.Token{"zoe": good}, `zoe: there is no library named "zoe"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newEnrolRig(t)
			r.save("alice", personToken("ann", "a0", 5))
			r.write(tt.tokens)
			e, err := enrolFrom(r.cfg, r.vault, r.file)
			must(t, err)
			if got := e.err(); got == nil || !strings.HasPrefix(got.Error(), "library "+tt.want) {
				t.Errorf("got %v, want %s", got, tt.want)
			}
			var rest map[string]digime.Token
			data, err := os.ReadFile(r.file)
			must(t, err)
			must(t, json.Unmarshal(data, &rest))
			if len(rest) != 1 || len(e.Imported) != len(tt.tokens)-1 {
				t.Errorf("imported %v, and in the file there is\n%s", e.Imported, data)
			}
		})
	}
}

// A file that cannot be removed is said, and read again without harm.
func TestEnrolCannotRemove(t *testing.T) {
	if os.Getuid() == 0 || filepath.Separator == '\\' {
		t.Skip("for root and on Windows a folder's mode does not keep files from being removed")
	}
	r := newEnrolRig(t)
	r.write(map[string]digime.Token{"alice": personToken("ann", "a1", 10)})
	must(t, os.Chmod(filepath.Dir(r.file), 0o500))
	defer os.Chmod(filepath.Dir(r.file), 0o700)
	if _, err := enrolFrom(r.cfg, r.vault, r.file); err == nil || !strings.Contains(err.Error(), "all tokens are imported, but the file cannot be removed: remove it") {
		t.Error(err)
	}
}

func TestParseEnrolment(t *testing.T) {
	yaml := "alice:\n  accessToken: {value: a, expiry: 4000000000}\n  refreshToken: {value: r, expiry: 4000000000}\n"
	list, err := parseEnrolment([]byte(yaml))
	must(t, err)
	if len(list) != 1 || list[0].err != nil || list[0].token.Refresh.Value != "r" {
		t.Errorf("%+v", list)
	}
	for text, want := range map[string]string{
		"":                             "it has no libraries",
		"{}":                           "it has no libraries",
		"null":                         "it has no libraries",
		`{"a": {}, "a": {}}`:           "library a is in it twice",
		"a: {? [x] : SECRET}":          "what stands under library a is not a token",
		`{"a": {"accessToken": "SECR`:  "it is neither JSON nor YAML, perhaps half-written",
		"a: *SECRET\n":                 "it is neither JSON nor YAML",
		strings.Repeat("[", 20_000):    "it is neither JSON nor YAML",
		"a: &a {x: &b {y: SECRET}}\nb": "it is neither JSON nor YAML",
	} {
		if _, err := parseEnrolment([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "SECR") {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
}

// FuzzEnrolment holds that no text makes it panic or show what stands in it.
func FuzzEnrolment(f *testing.F) {
	f.Add([]byte(`{"alice": {"accessToken": {"value": "v", "expiry": 4000000000}, "refreshToken": {"value": "r", "expiry": 4000000000}}}`))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("a: {1: 2}\nb: 2024-01-01\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parseEnrolment(data)
		again, errAgain := parseEnrolment(data)
		if fmt.Sprint(err) != fmt.Sprint(errAgain) || len(list) != len(again) {
			t.Errorf("first %v, then %v", err, errAgain)
		}
	})
}

// What is remembered of a token tells nothing of it.
func TestRememberedTokens(t *testing.T) {
	r := newEnrolRig(t)
	r.noted(map[string]digime.Token{"alice": personToken("ann", "SECRET", 10)})
	data, err := os.ReadFile(rememberedPath(r.cfg.StateDir))
	must(t, err)
	if strings.Contains(string(data), "SECRET") || strings.Contains(string(data), fmt.Sprintf("%x", sha256.Sum256([]byte("SECRET")))) {
		t.Errorf("%s", data)
	}
	if seen := rememberedTokens(r.cfg.StateDir); len(seen) != 1 || !reflect.DeepEqual(seen, rememberedTokens(r.cfg.StateDir)) {
		t.Errorf("%v", seen)
	}
}
