package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// entry is a file of an archive.
type entry struct {
	name   string // below the archive's one folder, with slashes
	source string
	mode   os.FileMode
}

// archives writes a tar.gz for Linux and macOS and a zip for Windows: the
// program, manual pages, completions and the files for the service manager.
func (b *build) archives() error {
	for _, arch := range linuxArchs {
		program, err := b.binary("linux", arch)
		if err != nil {
			return err
		}
		more := []entry{{"digime-sync.service", b.source("linux/digime-sync.service"), 0o644},
			{"digime-sync-configure.service", b.source("linux/digime-sync-configure.service"), 0o644},
			{"digime-sync-configure.path", b.source("linux/digime-sync-configure.path"), 0o644}}
		if err := b.archive("linux_"+arch, program, ".tar.gz", more, tarGz); err != nil {
			return err
		}
	}
	program, err := b.universal()
	if err != nil {
		return err
	}
	more := []entry{{plistName, b.source("macos/" + plistName), 0o644}, {"uninstall.sh", b.source("macos/uninstall.sh"), 0o755}}
	if err := b.archive("darwin_universal", program, ".tar.gz", more, tarGz); err != nil {
		return err
	}
	for _, arch := range []string{"amd64", "arm64"} {
		if program, err = b.binary("windows", arch); err != nil {
			return err
		}
		if err := b.archive("windows_"+arch, program, ".zip", nil, zipped); err != nil {
			return err
		}
	}
	return nil
}

// archive writes one archive of the program and what goes with it everywhere.
func (b *build) archive(system, program, ending string, more []entry, write func(io.Writer, *build, string, []entry) error) error {
	docs, err := b.docs()
	if err != nil {
		return err
	}
	notices, err := b.notices()
	if err != nil {
		return err
	}
	pages, err := b.archiveDocs(strings.HasPrefix(system, "windows_"))
	if err != nil {
		return err
	}
	entries := slices.Concat(pages, []entry{
		{"THIRD-PARTY.txt", notices, 0o644},
		{filepath.Base(program), program, 0o755},
		{"config.yaml", b.source("config.yaml"), 0o644},
		{"LICENSE", filepath.Join(b.root, "LICENSE"), 0o644},
	}, more)
	for _, dir := range []string{"man", "completions"} {
		found, err := os.ReadDir(filepath.Join(docs, dir))
		if err != nil {
			return fmt.Errorf("list %s: %w", dir, err)
		}
		for _, f := range found {
			entries = append(entries, entry{dir + "/" + f.Name(), filepath.Join(docs, dir, f.Name()), 0o644})
		}
	}
	slices.SortFunc(entries, func(a, c entry) int { return strings.Compare(a.name, c.name) })
	name := "digime-sync_" + b.version + "_" + system
	f, err := os.Create(b.product(name + ending))
	if err != nil {
		return fmt.Errorf("create archive: %w", err)
	}
	if err := errors.Join(write(f, b, name, entries), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name+ending, err)
	}
	return nil
}

// tarGz writes entries below a folder. Owner is root by number; the compressed
// stream carries neither name nor time.
func tarGz(w io.Writer, b *build, folder string, entries []entry) error {
	packed, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	t := tar.NewWriter(packed)
	for _, e := range entries {
		data, err := os.ReadFile(e.source)
		if err != nil {
			return err
		}
		header := &tar.Header{Name: path.Join(folder, e.name), Mode: int64(e.mode), Size: int64(len(data)), ModTime: b.mtime, Format: tar.FormatUSTAR}
		if err := t.WriteHeader(header); err != nil {
			return err
		}
		if _, err := t.Write(data); err != nil {
			return err
		}
	}
	return errors.Join(t.Close(), packed.Close())
}

// zipped writes entries below a folder.
func zipped(w io.Writer, b *build, folder string, entries []entry) error {
	z := zip.NewWriter(w)
	for _, e := range entries {
		data, err := os.ReadFile(e.source)
		if err != nil {
			return err
		}
		header := &zip.FileHeader{Name: path.Join(folder, e.name), Method: zip.Deflate, Modified: b.mtime}
		header.SetMode(e.mode)
		f, err := z.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := f.Write(data); err != nil {
			return err
		}
	}
	return z.Close()
}
