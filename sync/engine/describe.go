package engine

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/digime-sync/digime-sync/sidecar"
	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/watcher"
)

// verdict is an outcome a person has to know of: the state a file comes to
// rest in, why, and what to do. Code and Message are the service's own words.
type verdict struct {
	state         store.State
	reason, hint  string
	code, message string
	depends       string // examined anew once that changes: dependsOnAccess, or "" for what the configuration says
}

func (v *verdict) Error() string { return v.reason }

func refused(hint, format string, args ...any) error {
	return &verdict{state: store.Refused, reason: fmt.Sprintf(format, args...), hint: hint}
}

// description says what is pushed and where to.
type description struct {
	library    Library
	descriptor digime.Descriptor
	provider   digime.Provider // for PushProvider
	reference  string          // what its account is looked up by, where the id is empty
	dest       string          // the destination: kind of push, library, account ids
}

// describe reads the sidecar, which must be the one that settled beside the
// file: a program that reuses names may put the next person's sidecar there
// before the next person's file. Its error is a *verdict where a person has to
// act, fs.ErrNotExist where the file or its sidecar has gone, errMoved where the sidecar is another.
func (e *Engine) describe(folder *Folder, path, sidecarPath string, settled store.Sig) (description, error) {
	var side sidecar.Sidecar
	if sidecarPath != "" {
		data, err := readSidecar(sidecarPath, settled)
		if err != nil {
			return description{}, err
		}
		side, err = sidecar.Parse(data)
		if err != nil {
			return description{}, sidecarVerdict(sidecarPath, err)
		}
	}
	lib, err := e.route(folder, path, side)
	if err == nil {
		err = staysWithPerson(folder, path)
	}
	if err != nil {
		return description{}, err
	}
	if err := guard(lib, side); err != nil {
		return description{library: lib}, err
	}
	if folder.Push == PushProvider {
		return describeProvider(folder, lib, side)
	}
	if side.Provider != nil {
		return description{library: lib}, refused("take provider out of the sidecar, or move the file to a folder that pushes to providers",
			"the sidecar names a provider, but files of this folder go to a person's %s", kindOf(folder))
	}
	head, err := headFor(folder, side, path)
	if err != nil {
		return description{library: lib}, err
	}
	if err := side.Complete(folder.Defaults, lib.Accounts, filepath.Base(path), head); err != nil {
		return description{library: lib}, sidecarVerdict(sidecarPath, err)
	}
	if err := guard(lib, side); err != nil { // the folder's defaults name accounts too
		return description{library: lib}, err
	}
	return description{library: lib, descriptor: descriptor(side), dest: destination(kindOf(folder), lib, side)}, nil
}

func kindOf(folder *Folder) string {
	if folder.Push == "" {
		return PushLibrary
	}
	return folder.Push
}

// describeProvider takes the provider from the sidecar, and from the folder what
// that leaves out.
func describeProvider(folder *Folder, lib Library, side sidecar.Sidecar) (description, error) {
	to := folder.Provider
	if side.Provider != nil {
		to.AccountID = cmp.Or(side.Provider.AccountID, to.AccountID)
		to.Version = cmp.Or(side.Provider.Version, to.Version)
	}
	const hint = `write for example "provider": {"accountId": "…", "version": "stu3"} into the sidecar, or provider: into the folder's configuration`
	reference := ""
	if to.AccountID == "" {
		reference = folder.AccountReference
	}
	if to.AccountID == "" && reference == "" {
		return description{library: lib}, refused(hint, "nothing says which account at the provider this is for")
	}
	if to.Version == "" {
		return description{library: lib}, refused(hint, "nothing says which version of FHIR this is")
	}
	dest := PushProvider + " " + lib.Name + " " + to.Version + " " + to.AccountID
	if reference != "" {
		dest += "reference " + reference
	}
	return description{library: lib, provider: to, reference: reference, dest: dest}, nil
}

// checkContent looks into a file as far as its destination needs that.
func checkContent(folder *Folder, path string) error {
	if folder.Push != PushProvider {
		return nil
	}
	f, err := watcher.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var fault *digime.JSONError
	if err = digime.CheckFHIR(f); errors.As(err, &fault) {
		return refused("save the file as one FHIR resource in JSON", "%s", fault)
	}
	return err
}

func readSidecar(path string, settled store.Sig) ([]byte, error) {
	f, err := watcher.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open sidecar: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, sidecar.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read sidecar: %w", err)
	}
	if now, err := watcher.Fstat(f); err != nil || store.Sig(now) != settled {
		return nil, errMoved
	}
	return data, nil
}

func sidecarVerdict(path string, err error) error {
	if path == "" {
		return refused("complete the folder's defaults in the configuration", "the file has no sidecar, and the folder's defaults do not suffice: %s", err)
	}
	name := filepath.Base(path)
	return refused("correct "+name+" and save it; it is looked at again by itself", "%s: %s", name, err)
}

// headFor returns the first bytes of the content where the MIME type is to be
// detected from them.
func headFor(folder *Folder, side sidecar.Sidecar, path string) ([]byte, error) {
	kind := side.MimeType
	if kind == "" {
		kind = folder.Defaults.MimeType
	}
	if kind != sidecar.Auto {
		return nil, nil
	}
	f, err := watcher.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, sidecar.HeadSize)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, fmt.Errorf("read the file's beginning: %w", err)
	}
	return head[:n], nil
}

// route finds the library a file is for. It never guesses.
func (e *Engine) route(folder *Folder, path string, side sidecar.Sidecar) (Library, error) {
	switch folder.Library {
	case ByAccount:
		return e.routeByAccount(side)
	case BySubfolder:
		rel, err := filepath.Rel(folder.Path, path)
		name, _, nested := strings.Cut(filepath.ToSlash(rel), "/")
		if err != nil || !nested {
			return Library{}, refused("move it and its sidecar into the folder of the person it is for",
				"the file lies outside of every person's folder: in %s the first folder names the library", folder.Path)
		}
		return e.libraryNamed(folder, name)
	default:
		return e.libraryNamed(folder, folder.Library)
	}
}

// staysWithPerson refuses a file that lies in a person's folder as a link alone,
// and in truth in another person's.
func staysWithPerson(folder *Folder, path string) error {
	if folder.Library != BySubfolder {
		return nil
	}
	if _, err := os.Readlink(path); err != nil && runtime.GOOS == "windows" {
		return nil // folders that are links are not followed, and not all drives can tell where they lead
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(folder.Path, path)
	if err != nil {
		return err
	}
	person, _, _ := strings.Cut(filepath.ToSlash(rel), "/")
	home, err := filepath.EvalSymlinks(filepath.Join(folder.Path, person))
	if err != nil {
		return err
	}
	if !below(real, home) {
		return refused("put the file itself there, not a link", "it is a link that leads out of the folder %s", person)
	}
	return nil
}

func (e *Engine) libraryNamed(folder *Folder, name string) (Library, error) {
	if lib, ok := e.Libraries[name]; ok {
		return lib, nil
	}
	for known := range e.Libraries {
		if strings.EqualFold(known, name) { // else a second library would be made beside it
			return Library{}, refused("rename the folder "+name+" to "+known, "there is no library named %q, but one named %q", name, known)
		}
	}
	if folder.Contract != nil {
		return Library{Name: name, Contract: *folder.Contract}, nil
	}
	return Library{}, refused("add it under libraries: in the configuration, or give the folder a contract:",
		"there is no library named %q in the configuration", name)
}

func (e *Engine) routeByAccount(side sidecar.Sidecar) (Library, error) {
	if len(side.Accounts) == 0 {
		return Library{}, refused(`name the account in the sidecar: "accounts": [{"accountId": "…"}]`,
			"the sidecar names no account, and in this folder the account says whose library it is")
	}
	var found []string
	for _, a := range side.Accounts {
		n := len(found)
		for name, lib := range e.Libraries {
			if slices.Contains(lib.Accounts, a.AccountID) {
				found = append(found, name)
			}
		}
		if len(found) == n {
			return Library{}, refused("correct the account in the sidecar, or add it to the accounts: of a library in the configuration",
				"no library has the account %q", a.AccountID)
		}
	}
	slices.Sort(found)
	if found = slices.Compact(found); len(found) > 1 {
		return Library{}, refused("make one sidecar and file for each person, and give each account to one library only",
			"the accounts in the sidecar belong to more than one library: %s", strings.Join(found, ", "))
	}
	return e.Libraries[found[0]], nil
}

// guard refuses a file whose sidecar names somebody else than the library's
// owner.
func guard(lib Library, side sidecar.Sidecar) error {
	for _, a := range side.Accounts {
		if len(lib.Accounts) > 0 && !slices.Contains(lib.Accounts, a.AccountID) {
			return refused("check whose file this is: move it to the right person's folder, or correct the account in the sidecar",
				"the sidecar names account %q, but library %q is for %s", a.AccountID, lib.Name, strings.Join(lib.Accounts, ", "))
		}
	}
	return nil
}

// destination is the dedupe key's first half: the same content for another
// account is another delivery.
func destination(kind string, lib Library, side sidecar.Sidecar) string {
	var ids []string
	for _, a := range side.Accounts {
		ids = append(ids, a.AccountID)
	}
	slices.Sort(ids)
	list, _ := json.Marshal(slices.Compact(ids)) // strings always marshal
	return kind + " " + lib.Name + " " + string(list)
}

func descriptor(side sidecar.Sidecar) digime.Descriptor {
	d := digime.Descriptor{
		MimeType: side.MimeType, Reference: side.Reference, Tags: side.Tags,
		ContractID: side.ContractID, AppID: side.AppID, ProviderName: side.ProviderName,
		ServiceGroups: side.ServiceGroups,
	}
	for _, a := range side.Accounts {
		d.Accounts = append(d.Accounts, digime.Account(a))
	}
	for _, o := range side.ObjectTypes {
		d.ObjectTypes = append(d.ObjectTypes, digime.ObjectType(o))
	}
	return d
}
