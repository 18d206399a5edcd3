package watcher

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestExcluded(t *testing.T) {
	root := t.TempDir()
	for _, c := range []struct {
		rel, reason string // part of the reason, "" for none
		folder      Folder
	}{
		{"a.pdf", "", Folder{}},
		{"-rf", "", Folder{}},
		{"sent", "", Folder{}}, // a file of that name
		{".hidden.pdf", "hidden", Folder{}},
		{"._a.pdf", "hidden", Folder{}},
		{".DS_Store", "hidden", Folder{}},
		{"~$letter.docx", "lock file", Folder{}},
		{"a.tmp", "temporary", Folder{}},
		{"a.pdf.PART", "temporary", Folder{}},
		{"a.partial", "temporary", Folder{}},
		{"a.crdownload", "unfinished download", Folder{}},
		{"THUMBS.DB", "operating system", Folder{}},
		{"Desktop.ini", "operating system", Folder{}},
		{"a.pdf.error.txt", "written by digime-sync", Folder{}},
		{"a.pdf.receipt.json", "written by digime-sync", Folder{}},
		{"a.pdf.META.json", "sidecar", Folder{}},
		{"sub/a.pdf", "recursive: false", Folder{}},
		{"Sent/a.pdf", "what is finished", Folder{}},
		{"sub/a.pdf", "", Folder{Recursive: true}},
		{"sub/deep/a.pdf", "", Folder{Recursive: true}},
		{"Sent/a.pdf", "what is finished", Folder{Recursive: true}},
		{"x/failed/y/a.pdf", "what is finished", Folder{Recursive: true}},
		{".git/a.pdf", "its folder", Folder{Recursive: true}},
		{"a.docx", "none of the include patterns", Folder{Include: []string{"*.pdf", "*.jpg"}}},
		{"A.PDF", "", Folder{Include: []string{"*.pdf"}}},
		{"sub/A.PDF", "", Folder{Recursive: true, Include: []string{"*.pdf"}}},
		{"a.bak", `"*.bak"`, Folder{Exclude: []string{"*.bak"}}},
		{"sub/a.pdf", `"sub/*.pdf"`, Folder{Recursive: true, Exclude: []string{"sub/*.pdf"}}},
		{"other/a.pdf", "", Folder{Recursive: true, Exclude: []string{"sub/*.pdf"}}},
		{"old/2020/a.pdf", `its folder is left out: it matches the exclude pattern "old/**"`, Folder{Recursive: true, Exclude: []string{"old/**"}}},
		{"a.pdf", "", Folder{Recursive: true, Include: []string{"**/*.pdf"}}},
		{"a.pdf", "", Folder{Exclude: []string{"[malformed"}}},
		{"../a.pdf", "not in this folder", Folder{}},
		{".", "not in this folder", Folder{}},
	} {
		c.folder.Path = root
		got := Excluded(c.folder, filepath.Join(root, c.rel))
		if c.reason == "" && got != "" || !strings.Contains(got, c.reason) {
			t.Errorf("%q in %+v: %q, want %q", c.rel, c.folder, got, c.reason)
		}
	}
}

func TestSidecarsOfWhatIsLeftOutAreNoOrphans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		for _, name := range []string{"._a.pdf", "~$a.docx", "a.bak", "a.pdf.error.txt", "b.tmp", ".hidden"} {
			write(t, filepath.Join(dir, name+".meta.json"), "{}")
		}
		write(t, filepath.Join(dir, "only.docx.meta.json"), "{}")
		write(t, filepath.Join(dir, "only.docx"), "1")
		alone := write(t, filepath.Join(dir, "alone.meta.json"), "{}")
		f := Folder{Path: dir, Settle: time.Second, Include: []string{"*.pdf"}, Exclude: []string{"*.bak"}}
		w := poll(t, f, never)
		if f := receive(t, w); f.Path != alone || !f.Orphan {
			t.Errorf("got %+v", f)
		}
		silence(t, w, 50*time.Second)
	})
}
