package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

// readVault opens the vault of a folder without changing anything in it.
// Errors: fs.ErrNotExist when there is none, *DamagedError.
func readVault(dir string, log *slog.Logger) (*Vault, error) {
	v := newVault(dir)
	v.Log = log
	key, err := readKey(filepath.Join(dir, keyName))
	if err != nil {
		other := error(nil)
		if key, other = readKey(filepath.Join(dir, keyCopyName)); other != nil {
			return nil, errors.Join(err, other)
		}
	}
	return v, v.use(key)
}

// consents lists whose tokens there are. Whether they can be used, vault says.
func (c *Checked) consents(v *Vault) {
	found, _ := v.look() // what cannot be listed, vault says too
	for _, name := range bases(found) {
		path := filepath.Join(v.dir, name)
		for _, file := range []string{path, path + copySuffix} {
			if e, err := v.envelope(path, file); err == nil {
				c.Consents = append(c.Consents, e.Library)
				break
			}
		}
	}
}

// vault checks the key's two copies, and both files of each token.
func (c *Checked) vault(v *Vault) {
	if err := v.Ready(); err != nil {
		c.fault(err.Error(), hintKey)
		return
	}
	for _, name := range []string{keyName, keyCopyName} {
		key, err := readKey(filepath.Join(filepath.Dir(v.dir), name))
		switch {
		case err != nil:
			c.fault(fmt.Sprintf("%s: %v", name, err), "nothing is lost: the service writes it again from the other copy within a minute of its start")
		case !bytes.Equal(key, v.raw):
			c.fault(name+" holds another key than the one in use", "stop the service, and put back the vault.key that belongs to these tokens")
		}
	}
	found, err := v.look()
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		c.fault("the tokens cannot be listed: "+err.Error(), "let the service read its state folder")
		return
	}
	for _, name := range bases(found) {
		c.token(v, filepath.Join(v.dir, name))
	}
}

// token checks both files of a token.
func (c *Checked) token(v *Vault, path string) {
	var errs []error
	library := ""
	for _, file := range []string{path, path + copySuffix} {
		e, err := v.envelope(path, file)
		if err == nil {
			library = e.Library
			_, err = v.read(file, e.Library)
		}
		if err == nil {
			c.Tokens++
			continue
		}
		var p *fs.PathError
		if errors.As(err, &p) && errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("%s is missing", file)
		}
		errs = append(errs, err)
	}
	switch len(errs) {
	case 1:
		c.fault(errs[0].Error(), "nothing is lost: the service makes it again from its second copy within a minute of its start")
	case 2:
		c.Faults = append(c.Faults, Fault{What: "no copy of a token can be used: " + errors.Join(errs...).Error(), Library: library,
			Hint: "bring it back from a backup: digime-sync state restore FILE --force; or have the consent given again: digime-sync authorize LIBRARY"})
	}
}
