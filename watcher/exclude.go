package watcher

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/digime-sync/digime-sync/sidecar"
)

// Names that are never picked up, in lower case, with the reason.
var (
	noticeSuffixes = []string{".error.txt", ".receipt.json"}
	draftSuffixes  = []string{".tmp", ".part", ".partial", ".crdownload"}
	systemNames    = []string{"thumbs.db", "desktop.ini"}
	ownFolders     = []string{"sent", "failed"}
)

// filter is what one folder takes, by name alone.
type filter struct {
	recursive        bool
	include, exclude []string // lower case
}

func newFilter(f Folder) *filter {
	return &filter{recursive: f.Recursive, include: lowered(f.Include), exclude: lowered(f.Exclude)}
}

func lowered(patterns []string) []string {
	low := make([]string, 0, len(patterns))
	for _, p := range patterns {
		low = append(low, strings.ToLower(p))
	}
	return low
}

// dir says why a directory is left out, "" when it is not. It looks at the last
// element of rel, its slash-separated path: its parents were asked before.
func (f *filter) dir(rel string) string {
	name := rel[strings.LastIndexByte(rel, '/')+1:]
	switch {
	case slices.Contains(ownFolders, strings.ToLower(name)):
		return fmt.Sprintf("folders named %q hold what is finished", name)
	case !f.recursive:
		return "only files directly in the folder are taken (recursive: false)"
	case strings.HasPrefix(name, "."):
		return "a name that starts with a dot is hidden"
	}
	return f.excluded(rel)
}

// file says why a file is left out by its name, "" when it is not.
func (f *filter) file(rel string) string {
	name := rel[strings.LastIndexByte(rel, '/')+1:]
	if reason := builtin(name); reason != "" {
		return reason
	}
	if reason := f.excluded(rel); reason != "" {
		return reason
	}
	if len(f.include) > 0 && matching(f.include, rel) == "" {
		return "it matches none of the include patterns"
	}
	return ""
}

// orphan says why a sidecar without a file is left out, "" when it is not: it
// would be for a file that is. One like ._report.pdf.meta.json is macOS's own.
func (f *filter) orphan(rel string) string {
	file := rel[:len(rel)-len(sidecar.Suffix)]
	if reason := builtin(file[strings.LastIndexByte(file, '/')+1:]); reason != "" {
		return reason
	}
	return f.excluded(file)
}

func (f *filter) excluded(rel string) string {
	if pattern := matching(f.exclude, rel); pattern != "" {
		return fmt.Sprintf("it matches the exclude pattern %q", pattern)
	}
	return ""
}

// notice says whether a name is that of a note this program writes.
func notice(name string) bool {
	low := strings.ToLower(name)
	return slices.ContainsFunc(noticeSuffixes, func(s string) bool { return strings.HasSuffix(low, s) })
}

// builtin gives the reasons that hold in every folder.
func builtin(name string) string {
	low := strings.ToLower(name)
	has := func(suffix string) bool { return strings.HasSuffix(low, suffix) }
	switch {
	case sidecar.Is(name):
		return "it is a sidecar: it describes the file beside it"
	case strings.HasPrefix(name, "."):
		return "a name that starts with a dot is hidden"
	case strings.HasPrefix(name, "~$"):
		return "it is the lock file of an office program"
	case notice(name):
		return "it is a note written by digime-sync itself"
	case slices.ContainsFunc(draftSuffixes, has):
		return "its name is that of a temporary file or an unfinished download"
	case slices.Contains(systemNames, low):
		return "it is a file of the operating system"
	}
	return ""
}

// matching returns the first pattern that fits, "" when none does. A pattern
// that is malformed fits nothing: the configuration refuses it beforehand.
func matching(patterns []string, rel string) string {
	low := strings.ToLower(rel)
	name := low[strings.LastIndexByte(low, '/')+1:]
	for _, pattern := range patterns {
		against := low
		if !strings.Contains(pattern, "/") {
			against = name
		}
		if ok, err := doublestar.Match(pattern, against); err == nil && ok {
			return pattern
		}
	}
	return ""
}

// Excluded says in words why the file at path would not be picked up from the
// folder, "" when it would. It looks at the names, and at the file if it exists.
func Excluded(f Folder, path string) (reason string) {
	root := filepath.Clean(f.Path)
	rel, err := filepath.Rel(root, path)
	if err != nil || !filepath.IsLocal(rel) || rel == "." {
		return "it is not in this folder"
	}
	rel = filepath.ToSlash(rel)
	filter := newFilter(f)
	for i, c := range rel {
		if c != '/' {
			continue
		}
		if reason := filter.dir(rel[:i]); reason != "" {
			return "its folder is left out: " + reason
		}
		if m, err := stat(filepath.Join(root, rel[:i]), false); err == nil && m.mode&fs.ModeSymlink != 0 {
			return "its folder is a symbolic link, and those are not followed"
		}
	}
	if reason := filter.file(rel); reason != "" {
		return reason
	}
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		return ""
	}
	_, reason, err = statInside(real, path)
	if err != nil {
		return ""
	}
	return reason
}

// statInside reads the metadata of a file, or says why one like it is left out.
// A symbolic link is taken for the file it leads to if that lies inside root,
// which must be free of links itself.
func statInside(root, path string) (m meta, reason string, err error) {
	m, err = stat(path, false)
	if err != nil {
		return m, "", err
	}
	if m.mode&fs.ModeSymlink != 0 {
		if !inside(root, path) {
			return m, "it is a symbolic link that leads out of the folder, or nowhere", nil
		}
		if m, err = stat(path, true); err != nil {
			return m, "", err
		}
	}
	switch {
	case m.mode.IsDir():
		return m, "it is a folder", nil
	case !m.mode.IsRegular():
		return m, "it is not a regular file", nil
	}
	return m, m.ignored, nil
}

// inside says whether path, with all its links resolved, lies below root.
func inside(root, path string) bool {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	rel, err := filepath.Rel(root, real)
	return err == nil && filepath.IsLocal(rel) && rel != "."
}
