package sidecar

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Is says whether name is a sidecar's, in any case of letters.
func Is(name string) bool {
	cut := len(name) - len(Suffix)
	return cut > 0 && strings.EqualFold(name[cut:], Suffix)
}

// Index says which sidecar of one directory belongs to which file there. It
// does not change after NewIndex and may be used by several goroutines.
type Index struct {
	files     []string
	sidecarOf map[string]string
	filesOf   map[string][]string
	unclear   map[string]*AmbiguousError
}

// AmbiguousError says that the names leave open which sidecar is which file's.
// It names all of both, and at least one of them is more than one.
type AmbiguousError struct {
	Sidecars, Files []string
}

// Error says what could be meant and how to name the sidecar instead.
func (e *AmbiguousError) Error() string {
	if len(e.Sidecars) == 1 {
		return fmt.Sprintf("%q could belong to %s: name the sidecar after one file, for example %q",
			e.Sidecars[0], enumerate(e.Files, "or"), e.Files[0]+Suffix)
	}
	return fmt.Sprintf("%s could all belong to %s: keep one sidecar per file, named like %q",
		enumerate(e.Sidecars, "and"), enumerate(e.Files, "or"), e.Files[0]+Suffix)
}

// enumerate joins names for a sentence, the first few of them.
func enumerate(names []string, joint string) string {
	const most = 4
	var quoted []string
	for _, n := range names[:min(most, len(names))] {
		quoted = append(quoted, fmt.Sprintf("%q", n))
	}
	if len(names) > most {
		return fmt.Sprintf("%s %s %d more", strings.Join(quoted, ", "), joint, len(names)-most)
	}
	last := len(quoted) - 1
	if last == 0 {
		return quoted[0]
	}
	return strings.Join(quoted[:last], ", ") + " " + joint + " " + quoted[last]
}

// NewIndex matches the names of one directory's files; names of directories
// and of files that are left out by rule should not be among them. The full
// name (report.pdf.meta.json) goes before the stem (report.meta.json), and the
// same bytes before the same letters: names that differ only in Unicode form
// (NFC, NFD) or case are taken for the same when nothing else could be meant.
func NewIndex(names []string) *Index {
	x := &Index{
		sidecarOf: map[string]string{},
		filesOf:   map[string][]string{},
		unclear:   map[string]*AmbiguousError{},
	}
	present := make(map[string]bool, len(names))
	for _, n := range names {
		if !present[n] && isFile(n) {
			x.files = append(x.files, n)
		}
		present[n] = true
	}
	var left []string
	for n := range present {
		switch {
		case !Is(n):
		case present[base(n)] && isFile(base(n)):
			x.claim(n, base(n))
		default:
			left = append(left, n)
		}
	}
	for _, same := range sameness {
		left = x.match(left, same)
	}
	for _, s := range left {
		x.filesOf[s] = nil
	}
	return x
}

// For names the sidecar of file, which is one of the names given to NewIndex;
// "" when it has none. The error is an *AmbiguousError.
func (x *Index) For(file string) (name string, err error) {
	if e := x.unclear[file]; e != nil {
		return "", e
	}
	return x.sidecarOf[file], nil
}

// Files lists the files that sidecarName describes, or may describe where that
// is unclear; none for one that stands alone. Of a sidecar that was not among
// the names (it may be gone by now) it lists all that could have been meant.
func (x *Index) Files(sidecarName string) []string {
	if list, ok := x.filesOf[sidecarName]; ok || !Is(sidecarName) {
		return slices.Clone(list)
	}
	var list []string
	for _, same := range sameness {
		key := same.key(base(sidecarName))
		for _, f := range x.files {
			if same.fits(f) && same.key(same.part(f)) == key && !slices.Contains(list, f) {
				list = append(list, f)
			}
		}
	}
	slices.Sort(list)
	return list
}

// likeness is a way in which the name of a file is that of a sidecar.
type likeness struct {
	fits func(file string) bool   // whether it holds for the file at all
	part func(file string) string // the part of the file's name that counts
	key  func(string) string      // equal for names that are alike
}

// sameness holds what is tried, in this order, once the very same name has
// been. Stems are compared without regard to case even where the file system
// minds it: to a person, Report.pdf and report.jpg have the same stem.
var sameness = []likeness{
	{isFile, whole, norm.NFC.String},
	{isFile, whole, fold},
	{func(file string) bool { return !isTemporary(file) }, stem, fold},
}

// candidates are the sidecars and files of the same key.
type candidates struct {
	sidecars, files []string
}

// match finds the files of the sidecars left by one likeness and returns the
// sidecars still left. A file that has its sidecar counts too: beside it, the
// name no longer says which file was meant.
func (x *Index) match(left []string, same likeness) []string {
	groups := map[string]*candidates{}
	for _, s := range left {
		key := same.key(base(s))
		if groups[key] == nil {
			groups[key] = &candidates{}
		}
		groups[key].sidecars = append(groups[key].sidecars, s)
	}
	if len(groups) == 0 {
		return nil
	}
	for _, f := range x.files {
		if !same.fits(f) {
			continue
		}
		if g := groups[same.key(same.part(f))]; g != nil {
			g.files = append(g.files, f)
		}
	}
	var still []string
	for _, g := range groups {
		if !x.settle(g) {
			still = append(still, g.sidecars...)
		}
	}
	return still
}

// settle gives the files of g their sidecar or their error; false when none of
// them lacks one.
func (x *Index) settle(g *candidates) bool {
	slices.Sort(g.sidecars)
	slices.Sort(g.files)
	var open []string
	for _, f := range g.files {
		if x.sidecarOf[f] == "" && x.unclear[f] == nil {
			open = append(open, f)
		}
	}
	if len(open) == 0 {
		return false
	}
	if len(g.sidecars) == 1 && len(g.files) == 1 {
		x.claim(g.sidecars[0], g.files[0])
		return true
	}
	unclear := &AmbiguousError{Sidecars: g.sidecars, Files: g.files}
	for _, f := range open {
		x.unclear[f] = unclear
	}
	for _, s := range g.sidecars {
		x.filesOf[s] = open
	}
	return true
}

func (x *Index) claim(sidecarName, file string) {
	x.sidecarOf[file] = sidecarName
	x.filesOf[sidecarName] = []string{file}
}

// base is the name a sidecar's name stands for.
func base(sidecarName string) string {
	return sidecarName[:len(sidecarName)-len(Suffix)]
}

func whole(name string) string { return name }

// stem is a file's name without its last extension.
func stem(name string) string {
	return strings.TrimSuffix(name, filepath.Ext(name))
}

// isFile says whether a name can be that of a file to push: a sidecar is none,
// nor are the notes this program itself writes beside a file.
func isFile(name string) bool {
	low := strings.ToLower(name)
	return !Is(name) && !strings.HasSuffix(low, ".error.txt") && !strings.HasSuffix(low, ".receipt.json")
}

// Names under which programs keep what is not, or not yet, a file of its own:
// editors and office programs, browsers, copying programs, operating systems.
var (
	temporaryPrefixes = []string{".", "~"}
	temporarySuffixes = []string{"~", ".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".download", ".opdownload", ".swp"}
	systemNames       = []string{"thumbs.db", "ehthumbs.db", "desktop.ini"}
)

// isTemporary keeps a half-copied report.pdf.part from being taken for the
// file that report.pdf.meta.json describes.
func isTemporary(name string) bool {
	low := strings.ToLower(name)
	return slices.ContainsFunc(temporaryPrefixes, func(p string) bool { return strings.HasPrefix(low, p) }) ||
		slices.ContainsFunc(temporarySuffixes, func(s string) bool { return strings.HasSuffix(low, s) }) ||
		slices.Contains(systemNames, low)
}

// fold maps names to the same key that differ only in case or Unicode form.
// Of a name that is not UTF-8 only the ASCII letters are folded: its other
// bytes have no known meaning.
func fold(name string) string {
	if !utf8.ValidString(name) {
		return asciiLower(name)
	}
	lower := strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, norm.NFC.String(name))
	return norm.NFC.String(lower)
}

func asciiLower(name string) string {
	b := []byte(name)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
