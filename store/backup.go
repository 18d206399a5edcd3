package store

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/bbolt"
)

// A backup is a tar file: state.db, audit.log up to at least where the database
// knows it, vault.key, tokens/*, and last backup.json with the checksum of each,
// so that one that was cut off is known by that alone.
const (
	manifestName    = "backup.json"
	backupVersion   = 1
	largestManifest = 64 << 20 // bytes
)

// Manifest says what is in a backup.
type Manifest struct {
	Version int                   `json:"version"`
	Made    time.Time             `json:"made"`
	Schema  uint64                `json:"schema"` // of the database
	Files   map[string]BackupFile `json:"files"`  // by their name in the backup
}

// BackupFile is one file of a backup.
type BackupFile struct {
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
}

// Tokens counts the token files, of which most libraries have two.
func (m *Manifest) Tokens() int {
	n := 0
	for name := range m.Files {
		if strings.HasPrefix(name, tokenDir+"/") {
			n++
		}
	}
	return n
}

// Backup writes a consistent copy of the state folder to w as a tar file, while
// other goroutines work: the database as it is at one moment, the audit log from
// its beginning to that moment or beyond, the key and every sealed token. It
// reads from w's speed: a w that hangs must fail by itself.
func (s *Store) Backup(w io.Writer) error {
	b := &backup{tar: tar.NewWriter(w), manifest: Manifest{Version: backupVersion, Made: time.Now().UTC(), Files: map[string]BackupFile{}}}
	s.dbMu.RLock() // nobody closes the database meanwhile
	defer s.dbMu.RUnlock()
	if err := s.damage(); err != nil {
		return err
	}
	if s.db == nil {
		return s.notOpen()
	}
	var tx *bbolt.Tx
	err := s.guard(func() (err error) {
		tx, err = s.db.Begin(false)
		return err
	})
	if err != nil {
		return fmt.Errorf("back up the database: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // of a reader, it has no error
	err = s.guard(func() error { return b.database(tx) })
	if err == nil {
		err = b.auditLog(s.dir, b.audit)
	}
	if err == nil {
		err = b.vault(s.dir)
	}
	if err == nil {
		err = b.close()
	}
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	return nil
}

// backup is a backup that is being written.
type backup struct {
	tar      *tar.Writer
	manifest Manifest
	audit    int64 // the end of the audit log the database knows
}

// add writes one file of exactly size bytes.
func (b *backup) add(name string, size int64, write func(w io.Writer) error) error {
	header := &tar.Header{Name: name, Mode: 0o600, Size: size, ModTime: b.manifest.Made.Truncate(time.Second), Typeflag: tar.TypeReg}
	if err := b.tar.WriteHeader(header); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	sum := sha256.New()
	if err := write(io.MultiWriter(b.tar, sum)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	b.manifest.Files[name] = BackupFile{Size: size, SHA256: hex.EncodeToString(sum.Sum(nil))}
	return nil
}

func (b *backup) database(tx *bbolt.Tx) error {
	t := &txn{tx: tx}
	b.manifest.Schema, b.audit = t.schema(), int64(t.number(auditKey))
	return b.add(dbName, tx.Size(), func(w io.Writer) error {
		_, err := tx.WriteTo(w)
		return err
	})
}

// auditLog copies the log's whole lines, which must reach at least so far.
func (b *backup) auditLog(dir string, least int64) error {
	f, err := os.Open(filepath.Join(dir, auditName))
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if size, err = lastNewline(f, size); err != nil {
		return err
	}
	if size < least {
		return &DamagedError{Path: f.Name(), Reason: "it has lost lines that the database knows; the service restores them within a minute"}
	}
	return b.add(auditName, size, func(w io.Writer) error {
		_, err := io.CopyN(w, io.NewSectionReader(f, 0, size), size)
		return err
	})
}

// vault copies the key, from whichever copy is whole, and every token file.
func (b *backup) vault(dir string) error {
	key, err := readKey(filepath.Join(dir, keyName))
	if err != nil {
		other := error(nil)
		if key, other = readKey(filepath.Join(dir, keyCopyName)); other != nil {
			return errors.Join(err, other)
		}
	}
	if err := b.bytes(keyName, encodeKey(key)); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(dir, tokenDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !tokenFileName(e.Name()) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, tokenDir, e.Name()))
		if err != nil {
			return err
		}
		if err := b.bytes(tokenDir+"/"+e.Name(), data); err != nil {
			return err
		}
	}
	return nil
}

func tokenFileName(name string) bool {
	return strings.HasSuffix(strings.TrimSuffix(name, copySuffix), tokenSuffix) && !strings.ContainsAny(name, `/\:`)
}

func (b *backup) bytes(name string, data []byte) error {
	return b.add(name, int64(len(data)), func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

func (b *backup) close() error {
	data, err := json.MarshalIndent(&b.manifest, "", "  ")
	if err != nil {
		return err
	}
	if err := b.bytes(manifestName, append(data, '\n')); err != nil {
		return err
	}
	return b.tar.Close()
}

// ReadBackup reads a backup to its end and compares it with its manifest, and
// puts its files into dir, unless dir is "". Errors: *DamagedError for a file
// that is no whole backup, ErrNewer for one of a newer version.
func ReadBackup(path, dir string) (*Manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open backup: %w", err)
	}
	defer f.Close()
	var manifest *Manifest
	found := map[string]BackupFile{}
	for r := tar.NewReader(f); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && manifest != nil {
			err = errors.New("something follows its last entry")
		}
		if err == nil && header.Name == manifestName {
			manifest, err = readManifest(r)
		} else if err == nil {
			found[header.Name], err = unpack(r, header, dir)
		}
		var write *writeError
		switch {
		case errors.As(err, &write), errors.Is(err, ErrNewer):
			return nil, fmt.Errorf("read backup: %w", err)
		case err != nil:
			return nil, &DamagedError{Path: path, Reason: "it is no whole backup", Err: err}
		}
	}
	if err := manifest.compare(found); err != nil {
		return nil, &DamagedError{Path: path, Reason: "it is no whole backup", Err: err}
	}
	return manifest, nil
}

func readManifest(r io.Reader) (*Manifest, error) {
	data, err := io.ReadAll(io.LimitReader(r, largestManifest))
	if err != nil {
		return nil, err
	}
	m := new(Manifest)
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("read %s: %w", manifestName, err)
	}
	if m.Version > backupVersion || m.Schema > uint64(len(migrations)) {
		return nil, fmt.Errorf("backup of version %d, schema %d: %w", m.Version, m.Schema, ErrNewer)
	}
	return m, nil
}

// compare says whether just the files of the manifest were found.
func (m *Manifest) compare(found map[string]BackupFile) error {
	if m == nil {
		return errors.New("its end is missing")
	}
	for _, name := range []string{dbName, auditName, keyName} {
		if _, ok := m.Files[name]; !ok {
			return fmt.Errorf("it has no %s", name)
		}
	}
	for name, file := range m.Files {
		if found[name] != file {
			return fmt.Errorf("%s is not what was written", name)
		}
	}
	if len(found) != len(m.Files) {
		return errors.New("it holds more files than were written")
	}
	return nil
}

// writeError is a fault of where a backup is unpacked to, not of the backup.
type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

// unpack reads one file of a backup and writes it below dir, if that is not "".
func unpack(r io.Reader, header *tar.Header, dir string) (BackupFile, error) {
	name, inTokens := strings.CutPrefix(header.Name, tokenDir+"/")
	known := header.Name == dbName || header.Name == auditName || header.Name == keyName || inTokens && tokenFileName(name)
	if header.Typeflag != tar.TypeReg || !known {
		return BackupFile{}, fmt.Errorf("%q does not belong into a backup", header.Name)
	}
	sum := sha256.New()
	if dir == "" {
		n, err := io.Copy(sum, r)
		return backupFile(n, sum), err
	}
	target := filepath.Join(dir, filepath.FromSlash(header.Name))
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return BackupFile{}, &writeError{err}
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return BackupFile{}, &writeError{err}
	}
	n, err := io.Copy(&faultyWriter{f}, io.TeeReader(r, sum))
	if err == nil {
		if err = f.Sync(); err != nil {
			err = &writeError{diskFull(err)}
		}
	}
	return backupFile(n, sum), errors.Join(err, f.Close())
}

func backupFile(n int64, sum hash.Hash) BackupFile {
	return BackupFile{Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))}
}

// faultyWriter marks its errors as those of writing.
type faultyWriter struct{ w io.Writer }

func (f *faultyWriter) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err != nil {
		return n, &writeError{diskFull(err)}
	}
	return n, nil
}
