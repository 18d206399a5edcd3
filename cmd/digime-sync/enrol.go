package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
)

// An enrolment file brings a machine its tokens: JSON or YAML, the libraries'
// names, and under each its token as token import takes it. It is read once.
// Every token is in the vault, durably, before the file is removed; what cannot
// be taken stays in it. Which tokens were taken before is remembered (by a hash):
// a file that is there again, because we died before removing it or because
// something put it back, must not replace a token that was renewed meanwhile by
// the one it was renewed from, which is worth nothing any more.

const (
	enrolName      = "enrol.json"
	mostEnrolment  = 64 << 20 // bytes
	mostRemembered = 100_000  // tokens
)

// enrolment is what came of an enrolment file.
type enrolment struct {
	Imported []string // libraries
	Already  []string // libraries whose token was imported before
	Failed   []enrolFault
	Warnings []string
}

type enrolFault struct {
	Library string
	Err     error
}

func (e *enrolment) err() error {
	var list []error
	for _, f := range e.Failed {
		list = append(list, fmt.Errorf("library %s: %w", plain(f.Library), f.Err))
	}
	return errors.Join(list...)
}

func (a *app) enrolCommand() *cobra.Command {
	return &cobra.Command{
		Use: "enrol FILE", Short: "Take the tokens of an enrolment file, and remove it",
		Long: "enrol takes a file with libraries' names and, under each, its token in the SDKs' JSON form; JSON or YAML.\n" +
			"Each is checked as token import does. When all are in the vault, the file is overwritten and removed; what\n" +
			"cannot be taken stays in it. The daemon does so by itself with " + enrolName + " in the state folder, and with the\n" +
			"file that enrolment_file names.",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.enrol(args[0]) },
	}
}

func (a *app) enrol(path string) error {
	cfg, v, err := a.vault()
	if err != nil {
		return err
	}
	e, err := enrolFrom(cfg, v, path)
	for _, library := range e.Imported {
		fmt.Fprintf(a.out, "token of library %s imported\n", plain(library))
	}
	for _, library := range e.Already {
		fmt.Fprintf(a.out, "token of library %s was imported before: left as it is\n", plain(library))
	}
	for _, words := range e.Warnings {
		fmt.Fprintf(a.err, "digime-sync: warning: %s\n", words)
	}
	switch {
	case err != nil:
		return failure(exitError, cmp.Or(explain(err).hint, "the file is still there; when that is mended: digime-sync enrol "+plain(path)), "enrol from %s: %w", plain(path), err)
	case len(e.Failed) > 0:
		return failure(exitHeld, "correct the file or the configuration, then: digime-sync enrol "+path, "these stay in %s:\n%w", plain(path), e.err())
	}
	fmt.Fprintf(a.out, "%s removed\n", plain(path))
	return nil
}

// enrolFrom takes the tokens of a file. On an error the file is still there, and
// taking it again does no harm.
func enrolFrom(cfg *Config, v *store.Vault, path string) (e enrolment, err error) {
	unlock, err := store.LockFile(filepath.Join(cfg.StateDir, "enrol.lock"))
	if err != nil {
		return e, fmt.Errorf("lock enrolment: %w", err)
	}
	defer unlock()
	data, warning, err := readEnrolment(path)
	if err != nil {
		return e, err
	}
	if warning != "" {
		e.Warnings = append(e.Warnings, warning)
	}
	tokens, err := parseEnrolment(data)
	if err != nil {
		return e, err
	}
	seen := rememberedTokens(cfg.StateDir)
	if err := rememberTokens(cfg.StateDir, seen, tokens); err != nil {
		return e, err
	}
	rest := map[string]any{}
	for _, t := range tokens {
		if !e.add(t.library, enrolOne(cfg, v, t, seen)) {
			rest[t.library] = t.value
		}
	}
	return e, e.tidy(path, len(data), rest)
}

// errEnrolled means that a token was taken from an enrolment file before.
var errEnrolled = errors.New("was imported before")

// add notes what came of one token, and says whether it can leave the file.
func (e *enrolment) add(library string, err error) bool {
	switch {
	case err == nil:
		e.Imported = append(e.Imported, library)
	case errors.Is(err, errEnrolled):
		e.Already = append(e.Already, library)
	default:
		e.Failed = append(e.Failed, enrolFault{library, err})
		return false
	}
	return true
}

// tidy takes the file away, or leaves in it what could not be taken.
func (e *enrolment) tidy(path string, size int, rest map[string]any) error {
	if len(rest) > 0 && len(e.Imported)+len(e.Already) == 0 {
		return nil // as it was
	}
	if len(rest) > 0 {
		data, err := json.MarshalIndent(rest, "", "  ")
		if err != nil {
			return fmt.Errorf("keep the rest: %w", err)
		}
		return store.WriteFile(path, append(data, '\n'), 0o600)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|openAtOnce|noLink, 0)
	if err != nil {
		return fmt.Errorf("all tokens are imported, but the file cannot be overwritten: remove it: %w", err)
	}
	_, err = f.Write(make([]byte, size))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close(), os.Remove(path)); err != nil {
		return fmt.Errorf("all tokens are imported, but the file cannot be removed: remove it: %w", err)
	}
	return nil
}

// readEnrolment refuses a file that anybody could have written, and warns of one
// that anybody could have read.
func readEnrolment(path string) (data []byte, warning string, err error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, "", failure(exitError, "check the path; the tokens that are there: digime-sync token list", "there is no such file; one that was taken over is removed")
	case err != nil:
		return nil, "", err
	case !info.Mode().IsRegular():
		return nil, "", failure(exitError, "name the file itself, no folder and no link", "it is not a file of its own")
	case info.Size() > mostEnrolment:
		return nil, "", fmt.Errorf("it has more than %d bytes", mostEnrolment)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o002 != 0:
		return nil, "", failure(exitError, "have it brought again, with mode 0600", "everybody can write it (mode %04o), so that the tokens may be anybody's: nothing was imported", info.Mode().Perm())
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o044 != 0:
		warning = fmt.Sprintf("others could read %s (mode %04o): whoever did can push to these libraries; bring such files with mode 0600", path, info.Mode().Perm())
	}
	data, err = readRegular(path, noLink, mostEnrolment)
	return data, warning, err
}

// enrolToken is one entry of an enrolment file.
type enrolToken struct {
	library string
	value   any // as it stands in the file
	token   digime.Token
	err     error // why it is none
}

var lineOf = regexp.MustCompile(`line \d+`)

// parseEnrolment never shows what stands in the file: it is secret.
func parseEnrolment(data []byte) ([]enrolToken, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, failure(exitError, "have the file made anew; what it must hold: digime-sync enrol --help", "it is neither JSON nor YAML, perhaps half-written; look at %s", cmp.Or(lineOf.FindString(err.Error()), "its end"))
	}
	if len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode || len(doc.Content[0].Content) == 0 {
		return nil, failure(exitError, `the form is {"LIBRARY": {"accessToken": {"value": "…", "expiry": 1700000000}, "refreshToken": {…}}}`, "it has no libraries")
	}
	var list []enrolToken
	given := map[string]bool{}
	for i := 0; i+1 < len(doc.Content[0].Content); i += 2 {
		t := enrolToken{library: doc.Content[0].Content[i].Value}
		if given[t.library] {
			return nil, fmt.Errorf("library %s is in it twice", plain(t.library))
		}
		given[t.library] = true
		text, err := []byte(nil), doc.Content[0].Content[i+1].Decode(&t.value)
		if err == nil {
			text, err = json.Marshal(t.value)
		}
		if err != nil {
			return nil, fmt.Errorf("what stands under library %s is not a token", plain(t.library))
		}
		t.token, t.err = digime.ParseToken(text)
		list = append(list, t)
	}
	return list, nil
}

// enrolOne takes one token, unless it was taken before and is still the library's
// or was renewed since.
func enrolOne(cfg *Config, v *store.Vault, t enrolToken, seen map[string]bool) error {
	if t.err != nil {
		return t.err
	}
	if _, err := cfg.library(t.library); err != nil {
		return err
	}
	unlock, err := v.Lock(t.library)
	if err != nil {
		return fmt.Errorf("lock token: %w", err)
	}
	defer unlock()
	if old, err := loadToken(v, t.library); err == nil && seen[t.hash()] && old.Refresh.Expiry >= t.token.Refresh.Expiry {
		return errEnrolled
	}
	if err := checkOwner(cfg, v, t.library, t.token, false); err != nil {
		return err
	}
	if time.Now().After(time.Unix(t.token.Refresh.Expiry, 0)) {
		return errors.New("this token's consent has already ended")
	}
	data, err := json.Marshal(t.token)
	if err != nil {
		return fmt.Errorf("encode token: %w", err)
	}
	if err := v.Save(t.library, data); err != nil {
		return fmt.Errorf("save token: %w", err)
	}
	return nil
}

// hash stands for a token of a library where it was taken before. It tells
// nothing of the token, which is random.
func (t enrolToken) hash() string {
	sum := sha256.Sum256([]byte("digime-sync enrolment\x00" + t.library + "\x00" + t.token.Refresh.Value))
	return hex.EncodeToString(sum[:])
}

func rememberedPath(stateDir string) string { return filepath.Join(stateDir, "enrolled.json") }

func rememberedTokens(stateDir string) map[string]bool {
	seen := map[string]bool{}
	data, err := os.ReadFile(rememberedPath(stateDir))
	if err == nil {
		err = json.Unmarshal(data, &seen)
	}
	if err != nil {
		return map[string]bool{} // then a file that was put back is taken again
	}
	return seen
}

// rememberTokens notes before the first is saved that these are being taken: if
// we die in between, the vault shows which of them were.
func rememberTokens(stateDir string, seen map[string]bool, tokens []enrolToken) error {
	all := maps.Clone(seen)
	if len(all)+len(tokens) > mostRemembered {
		clear(all)
	}
	for _, t := range tokens {
		if t.err == nil {
			all[t.hash()] = true
		}
	}
	if maps.Equal(all, seen) {
		return nil
	}
	data, err := json.Marshal(all)
	if err == nil {
		err = store.WriteFile(rememberedPath(stateDir), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("remember what is imported: %w", err)
	}
	return nil
}

// enrolmentFiles are those that are there to be taken.
func enrolmentFiles(cfg *Config) []string {
	var list []string
	for _, path := range []string{filepath.Join(cfg.StateDir, enrolName), cfg.EnrolmentFile} {
		if _, err := os.Lstat(path); path != "" && !errors.Is(err, fs.ErrNotExist) && !slices.Contains(list, path) {
			list = append(list, path)
		}
	}
	return list
}
