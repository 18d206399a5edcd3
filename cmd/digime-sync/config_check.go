package main

import (
	"cmp"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/digime-sync/digime-sync/sidecar"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/engine"
)

// maxKeyFile bounds what is read of a key or certificate file, in bytes.
const maxKeyFile = 4 << 20

// check notes what cannot be right although each value by itself can be, and
// fills in the defaults that depend on other things.
func (l *configLoader) check(cfg *Config) {
	if cfg.StateDir == "" {
		cfg.StateDir = defaultStateDir()
	}
	l.api(cfg)
	l.fleet(cfg)
	for _, name := range slices.Sorted(maps.Keys(cfg.Contracts)) {
		l.redirect(joinKey("contracts", name)+".redirect_uri", cfg.Contracts[name].RedirectURI)
	}
	l.libraries(cfg)
	for i := range cfg.Folders {
		l.folder(cfg, fmt.Sprintf("folders[%d]", i), &cfg.Folders[i])
	}
	l.accountsApart(cfg)
	l.foldersApart(cfg)
}

func (l *configLoader) api(cfg *Config) {
	l.baseURL("api.base_url", &cfg.API.BaseURL)
	l.baseURL("api.onboard_url", &cfg.API.OnboardURL)
	l.baseURL("api.legacy_base_url", &cfg.API.LegacyBaseURL)
	l.proxy(cfg.API.Proxy)
}

// baseURL checks one of the API's addresses and ends it with a slash. What is
// wrong is said without the address: it may hold a password.
func (l *configLoader) baseURL(key string, text *string) {
	u, err := url.Parse(*text)
	switch {
	case err != nil || u.Hostname() == "":
		l.fault(key, "write for example "+digime.DefaultBaseURL, "is not a URL")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		l.fault(key, "remove it", "has a user, a query or a fragment in it")
	case !safe(u):
		l.fault(key, "write https://", "must begin with https://; http:// is possible to this very machine only")
	case !strings.HasSuffix(*text, "/"):
		*text += "/"
	}
}

// safe says whether nobody on the way can read along.
func safe(u *url.URL) bool {
	addr, err := netip.ParseAddr(u.Hostname())
	local := strings.EqualFold(u.Hostname(), "localhost") || err == nil && addr.IsLoopback()
	return u.Scheme == "https" || u.Scheme == "http" && local
}

func (l *configLoader) proxy(text string) {
	if text == "" {
		return
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "":
		l.fault("api.proxy", "write for example http://proxy.example:3128", "is not a URL")
	case !possiblePort(u):
		l.fault("api.proxy", "write a port from 1 to 65535", "has a port that is not possible")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		l.fault("api.proxy", "end it with the host or its port", "has a path, a query or a fragment in it")
	case !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme):
		l.fault("api.proxy", "write http://, https:// or socks5:// before it", "is of a kind that is not known")
	}
}

func possiblePort(u *url.URL) bool {
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return u.Port() == "" || err == nil && port > 0
}

// redirect checks a redirect URI, which must stay as it was registered.
func (l *configLoader) redirect(key, text string) {
	if text == "" {
		return
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "":
		l.fault(key, "write for example http://localhost:8421/callback", "is not a URL")
	case u.User != nil || u.Fragment != "":
		l.fault(key, "remove it", "has a user or a fragment in it")
	case !safe(u):
		l.fault(key, "write https://", "must begin with https://; http:// is possible to this very machine only")
	}
}

func (l *configLoader) libraries(cfg *Config) {
	folded := map[string]string{}
	names := slices.Collect(maps.Keys(cfg.Libraries))
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(l.line(joinKey("libraries", a)), l.line(joinKey("libraries", b))), cmp.Compare(a, b))
	})
	for _, name := range names {
		key, lib := joinKey("libraries", name), cfg.Libraries[name]
		if err := checkLibraryName(name); err != nil {
			l.fault(key, "", "%v", err)
		}
		low := strings.ToLower(strings.ToUpper(name))
		if other, taken := folded[low]; taken {
			l.fault(key, "give it another name", "differs from %q in case alone", other)
		} else {
			folded[low] = name
		}
		l.contract(cfg, key+".contract", lib.Contract)
		l.contract(cfg, key+".read_contract", lib.ReadContract)
		l.accounts(key+".accounts", lib.Accounts)
	}
}

// checkLibraryName says what is wrong with a library's name. It becomes the
// name of a file and, with by-subfolder, is that of a folder.
func checkLibraryName(name string) error {
	switch {
	case name == "" || utf8.RuneCountInString(name) > 128:
		return errors.New("a library's name has 1 to 128 characters")
	case name == "." || name == ".." || strings.ContainsAny(name, `/\`):
		return errors.New(`a library's name has no slash or backslash, and is not "." or ".."`)
	case strings.ContainsFunc(name, unicode.IsControl):
		return errors.New("a library's name has no control characters")
	case name == engine.BySubfolder || name == engine.ByAccount:
		return fmt.Errorf("a library cannot be called %s: in folders, that word has a meaning of its own", name)
	}
	return nil
}

// contract checks the reference to one; an empty one was noted before, or is
// not needed.
func (l *configLoader) contract(cfg *Config, key, name string) {
	if _, ok := cfg.Contracts[name]; !ok && name != "" {
		l.fault(key, suggest(name, slices.Sorted(maps.Keys(cfg.Contracts)), "under contracts"), "there is no contract %q", name)
	}
}

// suggest is the hint for a name that is not there.
func suggest(name string, known []string, where string) string {
	if near := sidecar.Nearest(name, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if len(known) == 0 {
		return "add it " + where
	}
	shown := known[:min(len(known), 8)]
	if len(shown) < len(known) {
		return fmt.Sprintf("there are %s and %d more", strings.Join(shown, ", "), len(known)-len(shown))
	}
	return "there are " + strings.Join(shown, ", ")
}

func (l *configLoader) accounts(key string, ids []string) {
	for i, id := range ids {
		if id == "" {
			continue // noted when it was read
		}
		if err := sidecar.CheckAccountID(id); err != nil {
			l.fault(fmt.Sprintf("%s[%d]", key, i), "", "%v", err)
		}
	}
}

func (l *configLoader) folder(cfg *Config, key string, f *FolderConfig) {
	l.contract(cfg, key+".contract", f.Contract)
	l.destination(cfg, key, f)
	if m := f.Defaults.MimeType; m != "" && m != sidecar.Auto {
		if err := sidecar.CheckMimeType(m); err != nil {
			l.fault(key+".defaults.mimeType", "", "%v", err)
		}
	}
	l.accounts(key+".defaults.accounts", f.Defaults.Accounts)
	l.patterns(key+".include", f.Include)
	l.patterns(key+".exclude", f.Exclude)
	if f.Library == engine.BySubfolder {
		if l.given(key+".recursive") && !f.Recursive {
			l.fault(key+".recursive", "leave it out", "with library: by-subfolder the folders below are watched")
		}
		f.Recursive = true
	}
}

// destination checks that files of the folder can have a library.
func (l *configLoader) destination(cfg *Config, key string, f *FolderConfig) {
	lib, listed := cfg.Libraries[f.Library]
	switch {
	case f.Library == "":
		return // noted when it was read
	case f.Library == engine.BySubfolder && f.Contract == "" && len(cfg.Libraries) == 0:
		l.fault(key+".library", "give the folder a contract, or list libraries", "by-subfolder needs a contract for libraries that are not listed")
	case f.Library == engine.ByAccount && !slices.ContainsFunc(slices.Collect(maps.Values(cfg.Libraries)), func(lib LibraryConfig) bool { return len(lib.Accounts) > 0 }):
		l.fault(key+".library", "list libraries with their accounts", "by-account needs libraries with accounts")
	case f.Library == engine.BySubfolder || f.Library == engine.ByAccount:
	case listed && f.Push == "postbox" && lib.Postbox == nil:
		l.fault(key+".push", "give the library a postbox, or write push: library", "library %q has no postbox", f.Library)
	case !listed && f.Contract == "":
		l.fault(key+".library", suggest(f.Library, slices.Sorted(maps.Keys(cfg.Libraries)), "under libraries, or give the folder a contract"),
			"there is no library %q", f.Library)
	case !listed:
		if err := checkLibraryName(f.Library); err != nil {
			l.fault(key+".library", "", "%v", err)
		}
	}
}

func (l *configLoader) patterns(key string, patterns []string) {
	for i, p := range patterns {
		if !doublestar.ValidatePattern(p) {
			l.fault(fmt.Sprintf("%s[%d]", key, i), `write for example "*.pdf" or "scans/**"`, "%q is not a pattern: a bracket or brace is not closed, or a backslash ends it", p)
		}
	}
}

// accountsApart checks that an account names one library where it decides.
func (l *configLoader) accountsApart(cfg *Config) {
	if !slices.ContainsFunc(cfg.Folders, func(f FolderConfig) bool { return f.Library == engine.ByAccount }) {
		return
	}
	owner := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(cfg.Libraries)) {
		for i, id := range cfg.Libraries[name].Accounts {
			if other, taken := owner[id]; taken && other != name && id != "" {
				l.fault(fmt.Sprintf("%s.accounts[%d]", joinKey("libraries", name), i), "leave it to one of them",
					"the account is library %q's too, so that folders with library: by-account cannot tell whose a file is", other)
				continue
			}
			owner[id] = name
		}
	}
}

// foldersApart checks that no file belongs to two folders, and that the
// program's own files belong to none.
func (l *configLoader) foldersApart(cfg *Config) {
	first := map[string]int{}
	for i, f := range cfg.Folders {
		key := fmt.Sprintf("folders[%d].path", i)
		if f.Path == "" {
			continue
		}
		if other, taken := first[samePath(f.Path)]; taken {
			l.fault(key, "put both into one entry", "is the same folder as folders[%d] (%s)", other, l.at(fmt.Sprintf("folders[%d]", other)))
			continue
		}
		first[samePath(f.Path)] = i
	}
	state := samePath(cfg.StateDir)
	for _, i := range slices.Sorted(maps.Values(first)) {
		key, path := fmt.Sprintf("folders[%d].path", i), cfg.Folders[i].Path
		for up := range parents(samePath(path)) {
			if j, ok := first[up]; ok && j != i && cfg.Folders[j].Recursive {
				l.fault(key, "move it, or write recursive: false there", "lies inside folders[%d] (%s), which takes the folders below it too", j, l.at(fmt.Sprintf("folders[%d]", j)))
			}
			if up == state {
				l.fault(key, "name another folder", "lies inside the state folder, which holds tokens")
			}
		}
	}
	for up := range parents(state) {
		if i, ok := first[up]; ok && up != state {
			l.fault("state_dir", "name a place outside of it", "the state folder, which holds tokens, lies inside folders[%d] (%s)", i, l.at(fmt.Sprintf("folders[%d]", i)))
		}
	}
}

// samePath is equal for paths that lead to the same place by their letters.
func samePath(path string) string {
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		return strings.ToLower(path)
	}
	return path
}

// parents yields path and every folder it lies in.
func parents(path string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for yield(path) && filepath.Dir(path) != path {
			path = filepath.Dir(path)
		}
	}
}

// readFiles reads the key and certificate files the configuration names.
func (l *configLoader) readFiles(cfg *Config) {
	l.caFile(cfg)
	for _, name := range slices.Sorted(maps.Keys(cfg.Contracts)) {
		c, key := cfg.Contracts[name], joinKey("contracts", name)+".private_key_file"
		if data := l.file(key, c.PrivateKeyFile); data != nil {
			var err error
			if c.Key, err = digime.ParsePrivateKey(data); err != nil {
				l.fault(key, "", "%s: %v", c.PrivateKeyFile, err)
			}
			cfg.Contracts[name] = c
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Libraries)) {
		lib := cfg.Libraries[name]
		if lib.Postbox == nil {
			continue
		}
		key := joinKey("libraries", name) + ".postbox.public_key_file"
		if data := l.file(key, lib.Postbox.PublicKeyFile); data != nil {
			var err error
			if lib.Postbox.PublicKey, err = parsePublicKey(data); err != nil {
				l.fault(key, "", "%s: %v", lib.Postbox.PublicKeyFile, err)
			}
		}
	}
}

func (l *configLoader) caFile(cfg *Config) {
	if data := l.file("api.ca_file", cfg.API.CAFile); data != nil {
		if !x509.NewCertPool().AppendCertsFromPEM(data) {
			l.fault("api.ca_file", "name a file with -----BEGIN CERTIFICATE-----", "%s holds no certificate in PEM form", cfg.API.CAFile)
		}
		cfg.API.CA = data
	}
}

// file reads a file the key names; nil after noting why it cannot, or if the
// key names none.
func (l *configLoader) file(key, path string) []byte {
	if path == "" {
		return nil
	}
	path, err := givenCredential(path)
	if err != nil {
		l.fault(key, explain(err).hint, "%v", err)
		return nil
	}
	info, err := os.Stat(path)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxKeyFile) {
		l.fault(key, "", "%s is not a key or certificate file", path)
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		f := unreadable(err)
		l.fault(key, f.Hint, "%s: %s", path, f.Text)
		return nil
	}
	return append(data, '\n') // never nil
}

// parsePublicKey reads the RSA public key of a postbox, which the service
// hands out as PEM in PKCS#1 form.
func parsePublicKey(data []byte) (*rsa.PublicKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("there is no -----BEGIN RSA PUBLIC KEY----- in it")
	}
	key, err := x509.ParsePKCS1PublicKey(block.Bytes)
	if err != nil {
		other, _ := x509.ParsePKIXPublicKey(block.Bytes)
		var ok bool
		if key, ok = other.(*rsa.PublicKey); !ok {
			return nil, errors.New("it is not an RSA public key")
		}
	}
	if bits := key.N.BitLen(); bits < 2048 {
		return nil, fmt.Errorf("the key has %d bits, at least 2048 are needed", bits)
	}
	return key, nil
}
