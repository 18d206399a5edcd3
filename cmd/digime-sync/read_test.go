package main

import (
	"bytes"
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/sidecar"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/engine"
)

// shelf is a service that gives out what a test puts there, whatever its names.
type shelf struct {
	t       *testing.T
	key     *rsa.PublicKey
	files   []shelved
	state   string       // of its list; "" is completed
	refuses string       // the name of one that it does not give out
	breaks  atomic.Int32 // how many files still break off on their way
	given   atomic.Int32
}

type shelved struct{ name, reference, content string }

// age is how long ago the files came whose names say that they are old.
const age = 2 * time.Hour

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	last, err := url.PathUnescape(path.Base(r.URL.EscapedPath()))
	if err != nil {
		s.t.Error(err)
	}
	switch last {
	case "trigger":
		fmt.Fprint(w, `{"session":{"key":"the-session","expiry":1}}`)
		return
	case "the-session":
		list := []map[string]any{}
		for _, f := range s.files {
			came := time.Now()
			if strings.HasPrefix(f.name, "old") {
				came = came.Add(-age)
			}
			list = append(list, map[string]any{"name": f.name, "updatedDate": came.UnixMilli()})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"status": map[string]string{"state": cmp.Or(s.state, "completed")}, "fileList": list})
		return
	}
	i := slices.IndexFunc(s.files, func(f shelved) bool { return f.name == last })
	if i < 0 || last == s.refuses {
		http.Error(w, `{"error":{"code":"NotFound"}}`, http.StatusNotFound)
		return
	}
	s.give(w, s.files[i])
}

func (s *shelf) give(w http.ResponseWriter, f shelved) {
	s.given.Add(1)
	metadata := map[string]any{"mimetype": "text/plain", "accounts": []any{map[string]string{"accountid": "P-1001"}}}
	if f.reference != "" {
		metadata["reference"] = []string{f.reference}
	}
	header, err := json.Marshal(map[string]any{"metadata": metadata, "compression": "no-compression"})
	if err != nil {
		s.t.Error(err)
	}
	w.Header().Set("X-Metadata", base64.RawURLEncoding.EncodeToString(header))
	body := sealed(s.key, f.content)
	if s.breaks.Add(-1) >= 0 {
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body[:len(body)-1])
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(body)
}

// sealed is a content as the service encrypts it to a contract.
func sealed(contract *rsa.PublicKey, content string) []byte {
	key, iv := make([]byte, 32), make([]byte, aes.BlockSize)
	_, _ = rand.Read(key) // never fails: crypto/rand
	_, _ = rand.Read(iv)
	head, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, contract, key, nil)
	if err != nil {
		panic(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	pad := aes.BlockSize - len(content)%aes.BlockSize
	data := append([]byte(content), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(data, data)
	return append(append(head, iv...), data...)
}

// newShelf puts a shelf in the place of the clinic's service, with alice's
// consent to read it.
func (c *clinic) newShelf(t *testing.T, files ...shelved) *shelf {
	t.Helper()
	cfg, err := LoadConfig(c.config)
	if err != nil {
		t.Fatal(err)
	}
	user := c.token(t, "alice").UserID
	token, err := c.server.NewToken(user, "clinic-read", time.Hour, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.vault.Save(engine.ReadToken("alice"), token); err != nil {
		t.Fatal(err)
	}
	s := &shelf{t: t, key: &cfg.Contracts["clinic-read"].Key.PublicKey, files: files}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	c.reconfigure(t, cfg.API.BaseURL, server.URL+"/")
	return s
}

// runs runs a command line to its end.
func (c *clinic) runs(t *testing.T, code int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &out, err: &err}
	if got := a.main(append([]string{"--config", c.config}, args...)); got != code {
		t.Errorf("%v: exit code %d, want %d\n%s%s", args, got, code, out.String(), err.String())
	}
	return out.String(), err.String()
}

func (c *clinic) drop(t *testing.T, name, content string) {
	t.Helper()
	file := filepath.Join(c.dir, "inbox", "alice", name)
	write(t, file, content)
	write(t, file+sidecar.Suffix, `{"mimeType": "text/plain", "accounts": [{"accountId": "P-1001"}]}`)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// tree is all files below a folder, by path.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		files[strings.TrimPrefix(p, dir+string(filepath.Separator))] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Whatever a service calls its files, they lie in the folder, under names that
// are harmless, each once and with a sidecar that can be dropped again.
func TestReadHostileNames(t *testing.T) {
	names := []string{"../../evil", `..\evil`, "/etc/passwd", `C:\evil`, "CON", "nul.txt", "com1 .log", ".hidden", "...", "a\x00b", "a\nb", "x\u202egpj.exe",
		"trailing. .", strings.Repeat("é", 150) + ".pdf", "a/../b", "x.meta.json", "y.receipt.JSON", "z.error.txt", " ", "with space.pdf", "ü.pdf"}
	var files []shelved
	for i, name := range names {
		files = append(files, shelved{fmt.Sprintf("service-%d", i), name, "by reference " + name}, shelved{name + "?", "", "by name " + name})
	}
	c := newClinic(t)
	c.newShelf(t, files...).state = "partial"
	box := t.TempDir()
	before := tree(t, c.dir)
	stdout, stderr := c.runs(t, 0, "read", "alice", "--out", filepath.Join(box, "deep", "out"))
	if !strings.Contains(stdout, fmt.Sprintf("%d files written", len(files))) || !strings.Contains(stderr, "the list is not complete") {
		t.Errorf("%s%s", stdout, stderr)
	}
	got := tree(t, box)
	contents := map[string]bool{}
	for name, content := range got {
		base, inside := strings.CutPrefix(filepath.ToSlash(name), "deep/out/")
		if !inside || strings.Contains(base, "/") {
			t.Errorf("%q lies outside of the folder", name)
		}
		if sidecar.Is(base) {
			if _, err := sidecar.Parse([]byte(content)); err != nil {
				t.Errorf("sidecar %q: %v", base, err)
			}
			continue
		}
		harmless(t, base)
		contents[content] = true
		if _, ok := got[name+sidecar.Suffix]; !ok {
			t.Errorf("%q has no sidecar", base)
		}
	}
	if len(contents) != len(files) || len(got) != 2*len(files) {
		t.Errorf("%d contents in %d files, want %d", len(contents), len(got), len(files))
	}
	for _, kept := range []string{"with space.pdf", "ü.pdf"} {
		if got[filepath.Join("deep", "out", kept)] != "by reference "+kept {
			t.Errorf("%q has lost its name", kept)
		}
	}
	after := tree(t, c.dir)
	for name, content := range after {
		if before[name] != content && !strings.HasSuffix(name, ".lock") {
			t.Errorf("%s was written", name)
		}
	}
}

// harmless checks what must hold of every name that is written.
func harmless(t *testing.T, name string) {
	t.Helper()
	stem, _, _ := strings.Cut(strings.ToUpper(name), ".")
	switch {
	case name == "", len(name) > 200, name[0] == '.', !filepath.IsLocal(name), strings.ContainsAny(name, `/\:*?"<>|`),
		strings.HasSuffix(name, "."), strings.HasSuffix(name, " "),
		slices.Contains([]string{"CON", "PRN", "AUX", "NUL", "COM1", "LPT9", "COM¹", "CONIN$"}, strings.TrimRight(stem, " ")):
		t.Errorf("%q is no harmless name", name)
	}
	for _, r := range name {
		if r < ' ' || r == 0x7f || r == '\u202e' || r == '\uFFFD' {
			t.Errorf("%q has U+%04X", name, r)
		}
	}
	for _, suffix := range []string{".meta.json", ".receipt.json", ".error.txt"} {
		if strings.HasSuffix(strings.ToLower(name), suffix) {
			t.Errorf("%q would not be taken for a file", name)
		}
	}
}

func FuzzFileName(f *testing.F) {
	for _, name := range []string{"report.pdf", "../../evil", "CON", ".hidden", "", "a.meta.json", "LPT¹.x", "x" + strings.Repeat("ü", 200) + ".tar.gz", "\xff", "nul .txt", "a.meta.json."} {
		f.Add(name, "service", 1)
		f.Add("", name, 12)
	}
	f.Fuzz(func(t *testing.T, reference, service string, n int) {
		name := fileName([]string{reference}, service)
		harmless(t, numberedName(name, max(1, n)))
		if safeName(name) != name {
			t.Errorf("%q becomes %q", name, safeName(name))
		}
	})
}

// What lies there stays as it is, also a sidecar without its file.
func TestReadOverwritesNothing(t *testing.T) {
	c := newClinic(t)
	c.newShelf(t, shelved{"1", "report.txt", "new"}, shelved{"2", "scan.txt", "new scan"}, shelved{"3", "report.txt", "newer"})
	out := t.TempDir()
	mine := map[string]string{"report.txt": "mine", "scan.txt.meta.json": "mine too", "report (2).txt": "and mine"}
	for name, content := range mine {
		write(t, filepath.Join(out, name), content)
	}
	c.runs(t, 0, "read", "alice", "--out", out)
	got := tree(t, out)
	for name, content := range mine {
		if got[name] != content {
			t.Errorf("%s: %q", name, got[name])
		}
	}
	reports := []string{got["report (3).txt"], got["report (4).txt"]}
	slices.Sort(reports)
	if !slices.Equal(reports, []string{"new", "newer"}) || got["scan (2).txt"] != "new scan" || len(got) != len(mine)+6 {
		t.Errorf("%q", got)
	}
	c.runs(t, 0, "read", "alice", "--out", out)
	if again := tree(t, out); len(again) != len(got)+6 {
		t.Errorf("the second time: %d files, want %d", len(again), len(got)+6)
	}
}

// Two programs that write into one folder do not overwrite each other.
func TestReadPlacesBesideOthers(t *testing.T) {
	dir := t.TempDir()
	const each = 50
	done := make(chan error)
	for writer := range 2 {
		o := &outFolder{dir: dir, next: map[string]int{}}
		go func() {
			for i := range each {
				file, side := filepath.Join(dir, fmt.Sprintf(".%d-%d", writer, i)), filepath.Join(dir, fmt.Sprintf(".%d-%d.side", writer, i))
				err := os.WriteFile(file, []byte(filepath.Base(file)), 0o600)
				if err == nil {
					err = os.WriteFile(side, []byte(filepath.Base(file)), 0o600)
				}
				if err == nil {
					_, err = o.place(file, side, "report.pdf")
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	got := tree(t, dir)
	if len(got) != 4*each {
		t.Errorf("%d files, want %d", len(got), 4*each)
	}
	for name, content := range got {
		if !sidecar.Is(name) && got[name+sidecar.Suffix] != content {
			t.Errorf("%s lies beside the sidecar of %s", name, got[name+sidecar.Suffix])
		}
	}
}

// A file that breaks off is fetched anew from its beginning; one that stays
// broken is said, and leaves nothing behind.
func TestReadBrokenFiles(t *testing.T) {
	c := newClinic(t)
	s := c.newShelf(t, shelved{"1", "report.txt", strings.Repeat("content ", 50_000)})
	s.breaks.Store(1)
	out := t.TempDir()
	c.runs(t, 0, "read", "alice", "--out", out)
	if got := tree(t, out); got["report.txt"] != s.files[0].content || len(got) != 2 {
		t.Errorf("%d files, %d bytes", len(got), len(got["report.txt"]))
	}
	s.breaks.Store(1)
	sum := sha256.Sum256([]byte(s.files[0].content))
	if stdout, _ := c.runs(t, 0, "read", "alice"); !strings.Contains(stdout, "(400000 bytes, text/plain, sha256 "+hex.EncodeToString(sum[:])) {
		t.Error(stdout)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s.key = &other.PublicKey
	_, stderr := c.runs(t, 1, "read", "alice", "--out", out)
	if got := tree(t, out); len(got) != 2 || !strings.Contains(stderr, "failed     1: ") || !strings.Contains(stderr, "1 of 1 files") {
		t.Errorf("%d files\n%s", len(got), stderr)
	}
}

func TestReadOutsideWatchedFolders(t *testing.T) {
	c := newClinic(t)
	cfg, err := LoadConfig(c.config)
	if err != nil {
		t.Fatal(err)
	}
	inbox := filepath.Join(c.dir, "inbox", "alice")
	link := filepath.Join(t.TempDir(), "link")
	err = os.Symlink(inbox, link)
	if err == nil {
		_, err = os.Readlink(link) // Wine makes links that Go then does not see at all
	}
	if err != nil {
		t.Skip(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	deep, inboxes := filepath.Join(t.TempDir(), "deep"), filepath.Join(t.TempDir(), "inboxes")
	for path, target := range map[string]string{deep: filepath.Join(inbox, "below"), inboxes: filepath.Dir(inbox)} {
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{os.Mkdir(filepath.Join(inbox, "below"), 0o755), os.Remove(filepath.Join(c.dir, "inbox", "bob"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for dir, words := range map[string]string{
		inbox: "watched", filepath.Join(inbox, "new", "deep"): "watched", link: "watched", filepath.Join(link, "new"): "watched",
		filepath.Join(inbox, "..", "alice"): "watched", file: "make folder",
		deep: "watched", filepath.Join(inboxes, "bob"): "watched", // which is missing
	} {
		if _, err := openOutFolder(cfg, dir); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want %q", dir, err, words)
		}
	}
	if got, err := os.ReadDir(inbox); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := openOutFolder(cfg, filepath.Join(c.dir, "inbox", "back")); err != nil {
		t.Error(err)
	}
}

// What is too old is not even fetched, unless everything is compared.
func TestReadSince(t *testing.T) {
	c := newClinic(t)
	s := c.newShelf(t, shelved{"old", "old.txt", "old"}, shelved{"new", "new.txt", "new"})
	if stdout, _ := c.runs(t, 0, "read", "alice", "--since", "1h"); strings.Contains(stdout, "old.txt") || !strings.Contains(stdout, "new.txt") || s.given.Load() != 1 {
		t.Errorf("%d files given out\n%s", s.given.Load(), stdout)
	}
	out := t.TempDir()
	c.runs(t, exitHeld, "read", "alice", "--since", "1h", "--verify", "--out", out)
	if got := tree(t, out); len(got) != 2 || s.given.Load() != 3 {
		t.Errorf("%q written, %d files given out", got, s.given.Load())
	}
	b := &readBack{since: time.Now(), readFlags: readFlags{tags: []string{"a", "b"}}}
	for created, want := range map[time.Time]bool{{}: true, time.Now().Add(-time.Hour): false, time.Now().Add(time.Hour): true} {
		if got := b.fits(digime.RemoteFile{}, digime.Metadata{Created: created, Descriptor: digime.Descriptor{Tags: []string{"x", "b"}}}); got != want {
			t.Errorf("created %s: %v", created, got)
		}
	}
	if b.fits(digime.RemoteFile{}, digime.Metadata{Descriptor: digime.Descriptor{Tags: []string{"x"}}}) {
		t.Error("a file with another tag fits")
	}
}

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.Local)
	for text, want := range map[string]time.Time{
		"": {}, "36h": now.Add(-36 * time.Hour), "7d": now.AddDate(0, 0, -7), "2026-01-31": time.Date(2026, 1, 31, 0, 0, 0, 0, time.Local),
		"2026-01-31 15:04": time.Date(2026, 1, 31, 15, 4, 0, 0, time.Local), "2026-01-31T15:04:05Z": time.Date(2026, 1, 31, 15, 4, 5, 0, time.UTC),
	} {
		if got, err := parseSince(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"soon", "-1h", "0s", "0d", "-3d", "99999999999d", "2026-13-01"} {
		if _, err := parseSince(text, now); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
