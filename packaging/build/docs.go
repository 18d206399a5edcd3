package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"
)

// docs returns the folder with man/*.1 and completions/*, which the program
// itself makes of its commands (cmd/digime-sync/docs.go).
func (b *build) docs() (dir string, err error) {
	if b.docsDir != "" {
		return b.docsDir, nil
	}
	tool := filepath.Join(b.work, "docs-tool")
	if runtime.GOOS == "windows" {
		tool += ".exe"
	}
	if _, err := b.output(nil, "go", "build", "-tags", "docs", "-buildvcs=false", "-ldflags", "-X main.version="+b.version, "-o", tool, "./cmd/digime-sync"); err != nil {
		return "", fmt.Errorf("build what writes the manual pages: %w", err)
	}
	dir = filepath.Join(b.work, "docs")
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("remove older manual pages: %w", err)
	}
	epoch := "SOURCE_DATE_EPOCH=" + strconv.FormatInt(b.mtime.Unix(), 10)
	if _, err := b.output([]string{epoch}, tool, "docs", dir); err != nil {
		return "", fmt.Errorf("write manual pages and completions: %w", err)
	}
	b.docsDir = dir
	return dir, nil
}

// gzipped writes a compressed copy of a file into the work folder and returns
// its path. Neither a name nor a time is in it.
func (b *build) gzipped(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read what is to be compressed: %w", err)
	}
	return b.gzippedText(filepath.Base(path), data)
}

func (b *build) gzippedText(name string, data []byte) (string, error) {
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return "", fmt.Errorf("compress %s: %w", name, err)
	}
	_, _ = w.Write(data) // into memory
	if err := w.Close(); err != nil {
		return "", fmt.Errorf("compress %s: %w", name, err)
	}
	return b.working(name+".gz", packed.Bytes())
}

// working writes a file that lies between into the work folder.
func (b *build) working(name string, data []byte) (path string, err error) {
	path = filepath.Join(b.work, name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	return path, nil
}

// debianChangelog is the package's changelog in Debian's form (deb-changelog(5)):
// one entry, since the project's own history is in its repository.
func (b *build) debianChangelog() []byte {
	return fmt.Appendf(nil, "digime-sync (%s-1) stable; urgency=medium\n\n  * Release %s.\n\n -- %s  %s\n",
		b.version, b.version, maintainer, b.mtime.Format(time.RFC1123Z))
}
