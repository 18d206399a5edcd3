package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

const (
	macIdentifier = "me.digi.digime-sync"
	plistName     = macIdentifier + ".plist"
	macHome       = "Library/Application Support/digime-sync"
)

// macos lays out what a package for macOS consists of (work/macos/root and
// scripts, which macos/build-pkg.sh signs on a Mac), and writes an unsigned one.
func (b *build) macos() error {
	staged := filepath.Join(b.work, "macos")
	if err := os.RemoveAll(staged); err != nil {
		return fmt.Errorf("remove an older layout: %w", err)
	}
	entries, err := b.macEntries()
	if err != nil {
		return err
	}
	root, err := b.stage(filepath.Join(staged, "root"), entries)
	if err != nil {
		return err
	}
	scripts, err := b.stage(filepath.Join(staged, "scripts"), []entry{
		{"preinstall", b.source("macos/scripts/preinstall"), 0o755},
		{"postinstall", b.source("macos/scripts/postinstall"), 0o755},
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(staged, "version"), []byte(b.version+"\n"), 0o644); err != nil {
		return fmt.Errorf("write the version: %w", err)
	}
	pkg, err := b.flatPackage(root, scripts)
	if err != nil {
		return fmt.Errorf("make the package: %w", err)
	}
	if err := os.WriteFile(b.product("digime-sync_"+b.version+"_unsigned.pkg"), pkg, 0o644); err != nil {
		return fmt.Errorf("write the package: %w", err)
	}
	return nil
}

// macEntries are the files of the package, from the root of the disk.
func (b *build) macEntries() ([]entry, error) {
	program, err := b.universal()
	if err != nil {
		return nil, err
	}
	docs, err := b.docs()
	if err != nil {
		return nil, err
	}
	notices, err := b.notices()
	if err != nil {
		return nil, err
	}
	entries := []entry{
		{"usr/local/share/doc/digime-sync/THIRD-PARTY.txt", notices, 0o644},
		{"usr/local/bin/digime-sync", program, 0o755},
		{"Library/LaunchDaemons/" + plistName, b.source("macos/" + plistName), 0o644},
		{macHome + "/config.yaml.example", b.source("config.yaml"), 0o644},
		{macHome + "/uninstall.sh", b.source("macos/uninstall.sh"), 0o755},
		{"usr/local/share/zsh/site-functions/_digime-sync", filepath.Join(docs, "completions", "_digime-sync"), 0o644},
		{"usr/local/share/bash-completion/completions/digime-sync", filepath.Join(docs, "completions", "digime-sync.bash"), 0o644},
	}
	pages, err := filepath.Glob(filepath.Join(docs, "man", "*.1"))
	if err != nil {
		return nil, fmt.Errorf("list manual pages: %w", err)
	}
	for _, page := range pages {
		entries = append(entries, entry{"usr/local/share/man/man1/" + filepath.Base(page), page, 0o644})
	}
	return entries, nil
}

// node is a file or folder of a package, with its content in memory. Its owner
// is root:wheel.
type node struct {
	name   string // from the package's root: ".", "./usr", …
	mode   fs.FileMode
	data   []byte
	id     uint32 // from 1, in the order of the list
	parent uint32 // the id of the folder it is in; 0 for the root
}

// stage copies files into dir, for the tools of a Mac, and returns them and the
// folders they are in: folders before what is in them, level by level, each
// level in order of its parents and names.
func (b *build) stage(dir string, entries []entry) ([]*node, error) {
	nodes := map[string]*node{".": {name: ".", mode: fs.ModeDir | 0o755}}
	for _, e := range entries {
		data, err := os.ReadFile(e.source)
		if err != nil {
			return nil, fmt.Errorf("read what is packed: %w", err)
		}
		to := filepath.Join(dir, filepath.FromSlash(e.name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, data, e.mode)); err != nil {
			return nil, fmt.Errorf("lay out: %w", err)
		}
		nodes["./"+e.name] = &node{name: "./" + e.name, mode: e.mode, data: data}
		for up := path.Dir(e.name); up != "."; up = path.Dir(up) {
			nodes["./"+up] = &node{name: "./" + up, mode: fs.ModeDir | 0o755}
		}
	}
	return numbered(nodes), nil
}

// numbered puts nodes in order and gives them ids.
func numbered(nodes map[string]*node) []*node {
	depth := func(n *node) int { return strings.Count(n.name, "/") }
	var list []*node
	for _, n := range nodes {
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, c *node) int { return cmp.Or(cmp.Compare(depth(a), depth(c)), cmp.Compare(a.name, c.name)) })
	for i, n := range list {
		n.id = uint32(i + 1)
		if n.name == "." {
			continue
		}
		up := path.Dir(n.name)
		if up != "." {
			up = "./" + strings.TrimPrefix(up, "./")
		}
		n.parent = nodes[up].id
	}
	return list
}

// flatPackage is an installer package of one component: a xar archive of four
// parts, as Apple's pkgbuild makes it.
func (b *build) flatPackage(root, scripts []*node) ([]byte, error) {
	bom, err := billOfMaterials(root, b.mtime)
	if err != nil {
		return nil, err
	}
	var size int
	for _, n := range root {
		size += len(n.data)
	}
	var info bytes.Buffer
	fmt.Fprintf(&info, `<?xml version="1.0" encoding="utf-8" standalone="no"?>
<pkg-info overwrite-permissions="false" relocatable="false" identifier="%s" postinstall-action="none" version="%s" format-version="2" generator-version="digime-sync" install-location="/" auth="root">
    <payload numberOfFiles="%d" installKBytes="%d"/>
    <scripts>
        <preinstall file="./preinstall"/>
        <postinstall file="./postinstall"/>
    </scripts>
</pkg-info>
`, macIdentifier, b.version, len(root), (size+1023)/1024)
	return xar([]xarFile{
		{name: "Bom", data: bom},
		{name: "PackageInfo", data: info.Bytes()},
		{name: "Payload", data: cpioGz(root, b.mtime), packed: true},
		{name: "Scripts", data: cpioGz(scripts, b.mtime), packed: true},
	}, b.mtime)
}
