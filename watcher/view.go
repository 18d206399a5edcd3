package watcher

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/digime-sync/digime-sync/sidecar"
)

// view knows one directory during one look or scan. Its names are read when
// first needed, and once; nothing of it is kept.
type view struct {
	dir    string // absolute
	rel    string // slash-separated, "" for the folder itself
	filter *filter

	listed  bool
	names   []string // all but directories
	subdirs []string
	index   *sidecar.Index  // of the files that may be taken, and the sidecars
	all     *sidecar.Index  // of all names; made when needed
	looked  map[string]bool // names a look is done with
}

func (t *tree) view(dir string) *view {
	rel, err := filepath.Rel(t.Path, dir)
	if err != nil || rel == "." {
		rel = ""
	}
	return &view{dir: dir, rel: filepath.ToSlash(rel), filter: t.filter, looked: map[string]bool{}}
}

func (v *view) path(name string) string {
	if strings.HasSuffix(v.dir, string(filepath.Separator)) {
		return v.dir + name // a file system's root
	}
	return v.dir + string(filepath.Separator) + name
}

// relName is the name's path below the folder, slash-separated.
func (v *view) relName(name string) string {
	if v.rel == "" {
		return name
	}
	return v.rel + "/" + name
}

// list reads the names, and nothing but the names: sizes and times in a
// directory may be stale while a file is being written (NTFS).
func (v *view) list() error {
	if v.listed {
		return nil
	}
	f, err := os.Open(v.dir)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	const batch = 1024
	var candidates []string
	for err == nil {
		var entries []fs.DirEntry
		entries, err = f.ReadDir(batch)
		for _, e := range entries {
			switch name := e.Name(); {
			case e.IsDir():
				v.subdirs = append(v.subdirs, name)
			default:
				v.names = append(v.names, name)
				if sidecar.Is(name) || v.filter.file(v.relName(name)) == "" {
					candidates = append(candidates, name)
				}
			}
		}
	}
	if err != io.EOF {
		v.names, v.subdirs = nil, nil
		return err
	}
	v.listed, v.index = true, sidecar.NewIndex(candidates)
	return nil
}

// stat reads the metadata of the entry of exactly this name. Where a system finds
// Report.pdf under REPORT.PDF too, the second is no file: it would be a twin of the first.
func (v *view) stat(name string) (meta, error) {
	m, err := stat(v.path(name), false)
	if err == nil && !spelled(v.path(name)) {
		return meta{}, &fs.PathError{Op: "stat", Path: v.path(name), Err: fs.ErrNotExist}
	}
	return m, err
}

// sidecarOf names the sidecar of a file, "" when it has none. The exact name
// is tried first, which needs no listing.
func (v *view) sidecarOf(name string) (string, error) {
	if !v.listed {
		if m, err := v.stat(name + sidecar.Suffix); err == nil && !m.mode.IsDir() {
			return name + sidecar.Suffix, nil
		}
		if err := v.list(); err != nil {
			return "", err
		}
	}
	return v.index.For(name)
}

// alone says whether a sidecar describes nothing here, not even a file that is left out.
func (v *view) alone(name string) bool {
	if len(v.index.Files(name)) > 0 {
		return false
	}
	if v.all == nil {
		v.all = sidecar.NewIndex(v.names)
	}
	return len(v.all.Files(name)) == 0
}

// absent says that err means there is no such file, be it that the name is too long to be one.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENAMETOOLONG)
}
