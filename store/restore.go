package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// ErrStateExists is returned by Restore for a folder that has state, unless it is forced.
var ErrStateExists = errors.New("there is state here already")

// RestoreOptions say how to restore.
type RestoreOptions struct {
	Force bool // set aside, and take over from, the state that is there
	// Newer says whether the backup's token of a library is to replace the one in
	// place, when both are whole. It must not for one of another person.
	Newer func(library string, backup, inPlace []byte) bool
	Log   *slog.Logger
}

// Restored says what Restore did.
type Restored struct {
	Made       time.Time // when the backup was
	Deliveries int       // that are known now
	Later      int       // of these: since the backup, from what was in place
	Tokens     []string  // that were taken from the backup
	Kept       []string  // libraries whose token in place is the newer one
	Aside      []string  // names under which earlier state was kept
}

const restoreDir = ".restore"

// Restore brings a state folder back from a backup. What is in place is not
// forgotten: database and audit log are kept under dated names, every delivery
// that either of them knows is known afterwards too, and a token in place is
// replaced only by a newer one. Errors: *LockedError when a daemon runs,
// ErrStateExists, those of ReadBackup, and those of the file system, after which
// Restore can be called again.
func Restore(dir, backup string, o RestoreOptions) (*Restored, error) {
	manifest, err := ReadBackup(backup, "") // before anything is touched
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.MkdirAll(dir, 0o700), Protect(dir)); err != nil {
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	r := &restore{dir: dir, from: filepath.Join(dir, restoreDir), options: o, date: time.Now().Format(datedName), done: Restored{Made: manifest.Made}}
	err = r.run(backup)
	if removeErr := os.RemoveAll(r.from); err == nil && removeErr != nil {
		err = fmt.Errorf("remove the unpacked backup: %w", removeErr)
	}
	if releaseErr := lock.release(); err == nil {
		err = releaseErr
	}
	if err != nil {
		return nil, err
	}
	return &r.done, r.takeOver()
}

// restore is a Restore under way, under the folder's lock.
type restore struct {
	dir, from string // the state folder, and where the backup is unpacked in it
	options   RestoreOptions
	date      string
	done      Restored
	oldDB     string // the database that was in place, set aside; "" for none
}

func (r *restore) run(backup string) error {
	if exists, err := r.stateExists(); err != nil || exists && !r.options.Force {
		return errors.Join(err, ErrStateExists)
	}
	if err := os.RemoveAll(r.from); err != nil {
		return fmt.Errorf("unpack backup: %w", err)
	}
	if err := os.Mkdir(r.from, 0o700); err != nil {
		return fmt.Errorf("unpack backup: %w", diskFull(err))
	}
	if _, err := ReadBackup(backup, r.from); err != nil {
		return err
	}
	for _, step := range []func() error{r.tokens, r.database} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (r *restore) stateExists() (bool, error) {
	for _, name := range []string{dbName, auditName} {
		if _, err := os.Stat(filepath.Join(r.dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return true, err
		}
	}
	found, err := newVault(r.dir).look()
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return len(found) > 0, err
}

// tokens takes over the backup's tokens, each sealed anew with the key in
// place. Key and tokens that cannot be used any more are set aside.
func (r *restore) tokens() error {
	from, err := OpenVault(r.from)
	if err != nil {
		return fmt.Errorf("open the backup's vault: %w", err)
	}
	to, err := r.vaultInPlace()
	if err != nil {
		return err
	}
	libraries, err := from.List()
	if err != nil {
		return fmt.Errorf("read the backup's tokens: %w", err)
	}
	for _, library := range libraries {
		if err := r.token(from, to, library); err != nil {
			return err
		}
	}
	return nil
}

// vaultInPlace opens the vault, with the backup's key where there is none that
// is whole.
func (r *restore) vaultInPlace() (*Vault, error) {
	_, err := readVault(r.dir, r.options.Log)
	switch damaged := new(DamagedError); {
	case err == nil:
		return r.openVault()
	case !errors.Is(err, fs.ErrNotExist) && !errors.As(err, &damaged):
		return nil, fmt.Errorf("open vault: %w", err)
	}
	for _, name := range []string{keyName, keyCopyName} {
		if err := r.moveAside(name); err != nil {
			return nil, err
		}
	}
	key, err := os.ReadFile(filepath.Join(r.from, keyName))
	if err == nil {
		err = WriteFile(filepath.Join(r.dir, keyName), key, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("restore vault key: %w", err)
	}
	v, err := r.openVault()
	if err != nil {
		return nil, err
	}
	return v, r.sealedOtherwise(v)
}

// sealedOtherwise sets aside the tokens that the backup's key does not open. It
// is mostly the very key that was lost, and what it opens may be newer than the
// backup's.
func (r *restore) sealedOtherwise(v *Vault) error {
	found, err := v.look()
	if err != nil {
		return fmt.Errorf("list tokens: %w", err)
	}
	for name := range found {
		e, err := readEnvelope(filepath.Join(v.dir, name))
		if err == nil {
			_, err = v.read(filepath.Join(v.dir, name), e.Library)
		}
		if err == nil {
			continue
		}
		if err := r.moveAside(filepath.Join(tokenDir, name)); err != nil {
			return err
		}
	}
	return nil
}

func (r *restore) openVault() (*Vault, error) {
	v, err := OpenVault(r.dir)
	if err != nil {
		return nil, err
	}
	v.Log = r.options.Log
	return v, nil
}

// token takes over one token, unless the one in place is newer.
func (r *restore) token(from, to *Vault, library string) error {
	unlock, err := to.Lock(library)
	if err != nil {
		return err
	}
	defer unlock()
	old, err := from.Load(library)
	if err != nil {
		return fmt.Errorf("read the backup's tokens: %w", err)
	}
	inPlace, err := to.Load(library)
	damaged := new(DamagedError)
	switch {
	case err == nil && bytes.Equal(inPlace, old):
		return nil
	case err == nil && !r.options.Newer(library, old, inPlace), errors.Is(err, ErrNewer):
		r.done.Kept = append(r.done.Kept, library)
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.As(err, &damaged):
		return err
	}
	r.done.Tokens = append(r.done.Tokens, library)
	return to.Save(library, old)
}

// moveAside renames what is in place to a dated name, if it is there.
func (r *restore) moveAside(name string) error {
	path := filepath.Join(r.dir, name)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	aside, err := moveToFree(path, path+".before-restore-"+r.date)
	if err != nil {
		return fmt.Errorf("set %s aside: %w", name, err)
	}
	r.done.Aside = append(r.done.Aside, aside)
	return nil
}

// database puts database and audit log in place. Between the steps there is no
// database, and what is opened then is made from the log, which at each moment
// holds at least what it held before.
func (r *restore) database() error {
	if err := r.moveAside(dbName); err != nil {
		return err
	}
	if n := len(r.done.Aside); n > 0 && strings.HasPrefix(filepath.Base(r.done.Aside[n-1]), dbName) {
		r.oldDB = r.done.Aside[n-1]
	}
	if err := r.auditLog(); err != nil {
		return fmt.Errorf("restore audit log: %w", diskFull(err))
	}
	if err := removeIfThere(filepath.Join(r.dir, cleanName)); err != nil {
		return err
	}
	path := filepath.Join(r.from, dbName)
	err := errors.Join(adopt(path), os.Chmod(path, 0o600))
	if err == nil {
		err = replace(path, filepath.Join(r.dir, dbName))
	}
	if err == nil {
		err = syncDir(r.dir)
	}
	if err != nil {
		return fmt.Errorf("put the database in place: %w", diskFull(err))
	}
	return nil
}

// auditLog makes the log the backup's, followed by every line of the one in
// place that the backup does not begin with. So the database of the backup finds
// its place in it, and what was delivered since then is behind.
func (r *restore) auditLog() error {
	old, err := os.Open(filepath.Join(r.from, auditName))
	if err != nil {
		return err
	}
	defer old.Close()
	path := filepath.Join(r.dir, auditName)
	inPlace, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r.mergeLogs(path, old, nil)
	}
	if err != nil {
		return err
	}
	defer inPlace.Close()
	if err := r.copyAside(inPlace, auditName); err != nil {
		return err
	}
	return r.mergeLogs(path, old, inPlace)
}

// copyAside keeps a second name, or where there are none a copy, of a file that
// will be replaced.
func (r *restore) copyAside(f *os.File, name string) error {
	aside := filepath.Join(r.dir, name+".before-restore-"+r.date)
	err := os.Link(f.Name(), aside)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		var temp string
		if temp, err = copyTemp(r.dir, f); err == nil {
			err = renameNew(temp, aside)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	r.done.Aside = append(r.done.Aside, aside)
	return nil
}

// copyTemp makes a flushed temporary file of what the readers hold, one after the other.
func copyTemp(dir string, readers ...io.Reader) (string, error) {
	f, err := os.CreateTemp(dir, tempPattern)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, io.MultiReader(readers...))
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Chmod(auditPerm), adopt(f.Name()), f.Close())
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// takeOver opens what was put in place, which replays the log, and adds the
// deliveries that only the earlier database knows.
func (r *restore) takeOver() error {
	s, err := Open(r.dir, r.options.Log)
	if err != nil {
		return fmt.Errorf("open the restored database: %w", err)
	}
	if r.oldDB != "" {
		err = s.salvage(r.oldDB)
	}
	if err == nil {
		err = s.view(func(t *txn) error {
			r.done.Deliveries = t.bucket(deliveredBucket).Stats().KeyN
			return nil
		})
	}
	if err == nil {
		err = s.Audit("state restored", File{Reason: fmt.Sprintf("from the backup of %s", r.done.Made.Format(time.RFC3339))})
	}
	return errors.Join(err, s.Close())
}
