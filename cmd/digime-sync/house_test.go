package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/digime-sync/digime-sync/"

// mayImport is the house: which packages of ours each package may import.
// Imports go one way: cmd → engine → the leaves, and the watcher asks sidecar
// what a sidecar is called.
var mayImport = map[string][]string{
	"cmd/digime-sync":     {"watcher", "sidecar", "store", "store/failpoint", "sync/engine", "sync/digime", "sync/digime/sandbox", "packaging"},
	"sync/engine":         {"watcher", "sidecar", "store", "store/failpoint", "sync/digime"},
	"watcher":             {"sidecar"},
	"sidecar":             {},
	"store":               {"store/failpoint"},
	"store/failpoint":     {},
	"packaging":           {},
	"sync/digime":         {},
	"sync/digime/sandbox": {},
}

// doors names the one package that may import each of these.
var doors = map[string]string{
	"github.com/fsnotify/fsnotify":  "watcher",
	"go.etcd.io/bbolt":              "store",
	"github.com/golang-jwt/jwt/v5":  "sync/digime",
	"github.com/kardianos/service":  "cmd/digime-sync",
	"github.com/coreos/go-systemd":  "cmd/digime-sync",
	"howett.net/plist":              "cmd/digime-sync",
	"github.com/spf13/cobra":        "cmd/digime-sync",
	"go.yaml.in/yaml/v3":            "cmd/digime-sync",
	"github.com/bmatcuk/doublestar": "watcher",
}

func TestImportFence(t *testing.T) {
	checked := map[string]int{}
	everyImport(t, func(pkg, file, imported string) {
		checked[pkg]++
		if ours, found := strings.CutPrefix(imported, module); found {
			allowed, known := mayImport[pkg]
			if !known {
				t.Errorf("%s: the house has no room %s", file, pkg)
			}
			test := strings.HasSuffix(file, "_test.go") // tests may bring the strict stand-in, and the parts they need
			if !slices.Contains(allowed, ours) && !(test && ours != pkg) && ours != pkg {
				t.Errorf("%s: %s may not import %s", file, pkg, ours)
			}
		}
		for dep, door := range doors {
			if strings.HasPrefix(imported, dep) && pkg != door && !(dep == "github.com/bmatcuk/doublestar" && pkg == "cmd/digime-sync") && pkg != "packaging/test" {
				t.Errorf("%s: only %s may import %s", file, door, dep)
			}
		}
		if imported == "C" {
			t.Errorf("%s: no cgo in the product", file)
		}
	})
	for pkg := range mayImport {
		if checked[pkg] == 0 {
			t.Errorf("no imports seen of %s: the fence looks at the wrong place", pkg)
		}
	}
}

// everyImport calls fn for each import of each Go file of the module.
func everyImport(t *testing.T, fn func(pkg, file, imported string)) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			fn(filepath.ToSlash(filepath.Dir(rel)), filepath.ToSlash(rel), imported)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The top level is the user's: nothing is added to it by the way.
func TestTopLevel(t *testing.T) {
	want := []string{"LICENSE", "README.md", "cmd", "go.mod", "go.sum", "packaging", "sidecar", "store", "sync", "watcher"}
	entries, err := os.ReadDir(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(want, e.Name()) {
			t.Errorf("%s does not belong at the top level", e.Name())
		}
	}
}
