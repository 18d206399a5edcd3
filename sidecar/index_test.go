package sidecar

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestIs(t *testing.T) {
	for name, want := range map[string]bool{
		"report.pdf.meta.json":           true,
		"report.pdf.META.Json":           true,
		"report.pdf.meta.json.meta.json": true,
		"report.pdf":                     false,
		"report.meta.jso":                false,
		".meta.json":                     false,
		"meta.json":                      false,
		"reportmeta.json":                false,
		"":                               false,
	} {
		if got := Is(name); got != want {
			t.Errorf("Is(%q) = %v, want %v", name, got, want)
		}
	}
}

const (
	nfc = "Bl\u00e4tter.pdf"
	nfd = "Bla\u0308tter.pdf"
)

// Each row lists a directory and, for a file, its sidecar or the error.
var indexTests = []struct {
	name  string
	dir   []string
	of    map[string]string // file: its sidecar, or its error when it has a space
	files map[string]string // sidecar: its files, joined by |
}{
	{"exact", []string{"a.pdf", "a.pdf.meta.json", "b.pdf"},
		map[string]string{"a.pdf": "a.pdf.meta.json", "b.pdf": ""},
		map[string]string{"a.pdf.meta.json": "a.pdf"}},
	{"alone", []string{"a.pdf.meta.json"}, nil, map[string]string{"a.pdf.meta.json": ""}},
	{"suffix in capitals", []string{"A.PDF", "A.PDF.META.JSON"},
		map[string]string{"A.PDF": "A.PDF.META.JSON"}, map[string]string{"A.PDF.META.JSON": "A.PDF"}},
	{"another Unicode form", []string{nfd, nfc + Suffix},
		map[string]string{nfd: nfc + Suffix}, map[string]string{nfc + Suffix: nfd}},
	{"the own form goes first", []string{nfd, nfc, nfc + Suffix, nfd + Suffix},
		map[string]string{nfd: nfd + Suffix, nfc: nfc + Suffix}, nil},
	{"a sidecar is its exact file's alone", []string{nfd, nfc, nfc + Suffix},
		map[string]string{nfd: "", nfc: nfc + Suffix}, map[string]string{nfc + Suffix: nfc}},
	{"another case", []string{"Report.PDF", "report.pdf.meta.json"},
		map[string]string{"Report.PDF": "report.pdf.meta.json"}, nil},
	{"another case, non-ASCII", []string{"STRA\u1e9eE.pdf", "stra\u00dfe.pdf.meta.json"},
		map[string]string{"STRA\u1e9eE.pdf": "stra\u00dfe.pdf.meta.json"}, nil},
	{"two files in other cases", []string{"a.PDF", "A.pdf", "a.pdf.meta.json"},
		map[string]string{"a.PDF": `"a.pdf.meta.json" could belong to "A.pdf" or "a.PDF": name the sidecar after one file, for example "A.pdf.meta.json"`},
		map[string]string{"a.pdf.meta.json": "A.pdf|a.PDF"}},
	{"two sidecars in other cases", []string{"a.pdf", "A.pdf.meta.json", "a.PDF.meta.json"},
		map[string]string{"a.pdf": `"A.pdf.meta.json" and "a.PDF.meta.json" could all belong to "a.pdf": keep one sidecar per file, named like "a.pdf.meta.json"`},
		map[string]string{"a.PDF.meta.json": "a.pdf", "A.pdf.meta.json": "a.pdf"}},
	{"not UTF-8", []string{"Bl\xe4tt.PDF", "bl\xe4tt.pdf.meta.json", "Bl\xf6tt.pdf"},
		map[string]string{"Bl\xe4tt.PDF": "bl\xe4tt.pdf.meta.json", "Bl\xf6tt.pdf": ""}, nil},
	{"stem", []string{"a.pdf", "a.meta.json"},
		map[string]string{"a.pdf": "a.meta.json"}, map[string]string{"a.meta.json": "a.pdf"}},
	{"stem in another case", []string{"SCAN01.PDF", "scan01.meta.json"},
		map[string]string{"SCAN01.PDF": "scan01.meta.json"}, nil},
	{"full name before stem", []string{"a.pdf", "a.meta.json", "a.pdf.meta.json"},
		map[string]string{"a.pdf": "a.pdf.meta.json"}, map[string]string{"a.meta.json": "", "a.pdf.meta.json": "a.pdf"}},
	{"two files with the stem", []string{"a.pdf", "a.jpg", "a.meta.json"},
		map[string]string{
			"a.pdf": `"a.meta.json" could belong to "a.jpg" or "a.pdf": name the sidecar after one file, for example "a.jpg.meta.json"`,
			"a.jpg": `"a.meta.json" could belong to "a.jpg" or "a.pdf": name the sidecar after one file, for example "a.jpg.meta.json"`},
		map[string]string{"a.meta.json": "a.jpg|a.pdf"}},
	{"a file with its own sidecar still has the stem", []string{"a.pdf", "a.pdf.meta.json", "a.jpg", "a.meta.json"},
		map[string]string{
			"a.pdf": "a.pdf.meta.json",
			"a.jpg": `"a.meta.json" could belong to "a.jpg" or "a.pdf": name the sidecar after one file, for example "a.jpg.meta.json"`},
		map[string]string{"a.meta.json": "a.jpg"}},
	{"stems that differ in case only", []string{"a.pdf", "A.jpg", "a.meta.json"},
		map[string]string{"a.pdf": `"a.meta.json" could belong to "A.jpg" or "a.pdf": name the sidecar after one file, for example "A.jpg.meta.json"`}, nil},
	{"notes, hidden and temporary names have no stem",
		[]string{"a.pdf", "a.meta.json", "a.pdf.error.txt", "a.error.txt", "a.receipt.json", "a.tmp", "a.part", "a.PARTIAL", "a.crdownload", "a.pdf~", ".a.swp"},
		map[string]string{"a.pdf": "a.meta.json", "a.tmp": "", "a.error.txt": ""}, map[string]string{"a.meta.json": "a.pdf"}},
	{"a half-copied file is not the one described", []string{"a.pdf.part", "a.pdf.filepart", "a.pdf.error.txt", "a.pdf.meta.json"},
		map[string]string{"a.pdf.part": "", "a.pdf.filepart": ""}, map[string]string{"a.pdf.meta.json": ""}},
	{"two extensions", []string{"x.tar.gz", "x.meta.json", "y.tar.gz", "y.tar.meta.json"},
		map[string]string{"x.tar.gz": "", "y.tar.gz": "y.tar.meta.json"}, map[string]string{"x.meta.json": ""}},
	{"no extension", []string{"README", "README.meta.json"},
		map[string]string{"README": "README.meta.json"}, nil},
	{"no extension goes before the stem", []string{"a", "a.pdf", "a.meta.json"},
		map[string]string{"a": "a.meta.json", "a.pdf": ""}, map[string]string{"a.meta.json": "a"}},
	{"a sidecar is never a file", []string{"x.meta.json", "x.meta.json.meta.json"},
		map[string]string{"x.meta.json": ""}, map[string]string{"x.meta.json": "", "x.meta.json.meta.json": ""}},
	{"a note is never a file", []string{"a.error.txt", "a.error.txt.meta.json"},
		map[string]string{"a.error.txt": ""}, map[string]string{"a.error.txt.meta.json": ""}},
	{"a sidecar that is gone", []string{"a.pdf", "A.jpg", "b.pdf"}, nil,
		map[string]string{"a.pdf.meta.json": "a.pdf", "a.meta.json": "A.jpg|a.pdf", "B.PDF.meta.json": "b.pdf", "b.pdf": "", "c.meta.json": ""}},
	{"names given twice", []string{"a.pdf", "a.pdf", "a.meta.json", "a.meta.json"},
		map[string]string{"a.pdf": "a.meta.json"}, nil},
	{"many", []string{"a.1", "a.2", "a.3", "a.4", "a.5", "a.6", "a.meta.json"},
		map[string]string{"a.1": `"a.meta.json" could belong to "a.1", "a.2", "a.3", "a.4" or 2 more: name the sidecar after one file, for example "a.1.meta.json"`}, nil},
}

func TestIndex(t *testing.T) {
	for _, tt := range indexTests {
		t.Run(tt.name, func(t *testing.T) {
			x := NewIndex(tt.dir)
			for file, want := range tt.of {
				got, err := x.For(file)
				if err != nil {
					got = err.Error()
				}
				if got != want {
					t.Errorf("For(%q) = %s\nwant %s", file, got, want)
				}
			}
			for sidecar, want := range tt.files {
				if got := strings.Join(x.Files(sidecar), "|"); got != want {
					t.Errorf("Files(%q) = %s, want %s", sidecar, got, want)
				}
			}
		})
	}
}

// FuzzIndex holds the two directions to each other: a file's sidecar lists
// the file, and a sidecar belongs to one file only.
func FuzzIndex(f *testing.F) {
	for _, tt := range indexTests {
		f.Add(strings.Join(tt.dir, "\n"))
	}
	f.Fuzz(func(t *testing.T, list string) {
		names := strings.Split(list, "\n")
		x := NewIndex(names)
		owner := map[string]string{}
		for _, file := range names {
			sidecar, err := x.For(file)
			var unclear *AmbiguousError
			switch {
			case errors.As(err, &unclear):
				if !slices.Contains(unclear.Files, file) || len(unclear.Sidecars)+len(unclear.Files) < 3 {
					t.Errorf("For(%q): %+v", file, unclear)
				}
				for _, s := range unclear.Sidecars {
					if !slices.Contains(x.Files(s), file) {
						t.Errorf("Files(%q) = %q without %q", s, x.Files(s), file)
					}
				}
			case err != nil:
				t.Errorf("For(%q): %v", file, err)
			case sidecar != "":
				if got := x.Files(sidecar); len(got) != 1 || got[0] != file {
					t.Errorf("For(%q) = %q, Files of which is %q", file, sidecar, got)
				}
				if other, taken := owner[sidecar]; taken && other != file {
					t.Errorf("%q belongs to %q and %q", sidecar, other, file)
				}
				owner[sidecar] = file
				if Is(file) || !Is(sidecar) {
					t.Errorf("For(%q) = %q", file, sidecar)
				}
			}
		}
	})
}

// A directory in which nothing matches by the very same name must not cost
// more per file as it grows.
func BenchmarkNewIndex(b *testing.B) {
	for _, n := range []int{1000, 10000, 100000} {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf("Scan %d.pdf", i), fmt.Sprintf("scan %d.PDF.meta.json", i))
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				NewIndex(names)
			}
		})
	}
}
