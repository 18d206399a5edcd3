//go:build packaging

package test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSumsAreOfEverything(t *testing.T) {
	need(t)
	dir := release(t, first)
	data, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	summed := map[string]string{}
	for line := range strings.Lines(string(data)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		summed[name] = sum
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() || e.Name() == "SHA256SUMS" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		same(t, "checksum of "+e.Name(), summed[e.Name()], fmt.Sprintf("%x", sha256.Sum256(data)))
	}
	if len(summed) < 16 {
		t.Errorf("only %d files were made: %v", len(summed), slices.Sorted(maps.Keys(summed)))
	}
}

// everywhere is what each archive has, below its folder.
var everywhere = []string{"LICENSE", "README.md", "THIRD-PARTY.txt", "config.yaml", "man/digime-sync.1", "man/digime-sync-run.1",
	"completions/digime-sync.bash", "completions/_digime-sync", "completions/digime-sync.fish", "completions/digime-sync.ps1"}

func TestArchives(t *testing.T) {
	need(t)
	dir := release(t, first)
	for system, also := range map[string][]string{
		"linux_amd64.tar.gz":      {"digime-sync", "digime-sync.service"},
		"linux_arm64.tar.gz":      {"digime-sync", "digime-sync.service"},
		"darwin_universal.tar.gz": {"digime-sync", "me.digi.digime-sync.plist", "uninstall.sh"},
		"windows_amd64.zip":       {"digime-sync.exe"},
		"windows_arm64.zip":       {"digime-sync.exe"},
	} {
		name := "digime-sync_" + first + "_" + system
		files := unpack(t, filepath.Join(dir, name))
		folder := strings.TrimSuffix(strings.TrimSuffix(name, ".tar.gz"), ".zip")
		for _, want := range append(slices.Clone(everywhere), also...) {
			if len(files[folder+"/"+want]) == 0 {
				t.Errorf("%s: no %s in it", name, want)
			}
		}
		for file := range files {
			if !strings.HasPrefix(file, folder+"/") {
				t.Errorf("%s: %s is not below the archive's folder", name, file)
			}
		}
	}
}

// unpack reads an archive into memory.
func unpack(t *testing.T, path string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(path, ".zip") {
		z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range z.File {
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			if files[f.Name], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
		return files
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestManualPagesAndCompletions(t *testing.T) {
	need(t, "bash", "man")
	files := unpack(t, filepath.Join(release(t, first), "digime-sync_"+first+"_linux_amd64.tar.gz"))
	folder := "digime-sync_" + first + "_linux_amd64/"
	dir := t.TempDir()
	for name, data := range files {
		file := filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(file, data, 0o755); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, ".1") {
			continue
		}
		cmd := exec.Command("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", file)
		cmd.Env = append(os.Environ(), "MANROFFSEQ=", "MANWIDTH=80", "LC_ALL=C.UTF-8")
		if out, err := cmd.CombinedOutput(); err != nil || bytes.Contains(out, []byte("warning")) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	page := string(files[folder+"man/digime-sync.1"])
	for _, want := range []string{first, "/etc/digime-sync/config.yaml", "Exit codes"} {
		if !strings.Contains(page, want) {
			t.Errorf("the manual page does not name %q:\n%s", want, page)
		}
	}
	if out, err := exec.Command("bash", "-n", filepath.Join(dir, "digime-sync.bash")).CombinedOutput(); err != nil {
		t.Errorf("bash does not read the completion: %v\n%s", err, out)
	}
	// The same program answers for all shells.
	program := filepath.Join(dir, "digime-sync")
	if out, err := exec.Command(program, "__complete", "token", "").Output(); err != nil || !strings.Contains(string(out), "import") {
		t.Errorf("completion of token: %v\n%s", err, out)
	}
	if out, err := exec.Command(program, "docs", dir).CombinedOutput(); err == nil {
		t.Errorf("the product writes manual pages itself:\n%s", out)
	}
}

func TestSBOM(t *testing.T) {
	need(t)
	dir := release(t, first)
	for _, system := range []string{"linux_amd64", "linux_arm64", "windows_amd64", "windows_arm64", "darwin_amd64", "darwin_arm64"} {
		data, err := os.ReadFile(filepath.Join(dir, "digime-sync_"+first+"_"+system+".cdx.json"))
		if err != nil {
			t.Fatal(err)
		}
		type component struct {
			Name, Version, PURL, Type string
			Hashes                    []struct{ Alg, Content string }
		}
		var bom struct {
			BOMFormat, SpecVersion string
			Metadata               struct {
				Timestamp string
				Component component
			}
			Components []component
		}
		if err := json.Unmarshal(data, &bom); err != nil {
			t.Fatalf("%s: %v", system, err)
		}
		same(t, "format", bom.BOMFormat+" "+bom.SpecVersion, "CycloneDX 1.6")
		same(t, "version", bom.Metadata.Component.Version, first)
		names := map[string]bool{}
		for _, c := range bom.Components {
			names[c.Name] = true
			if c.Version == "" || !strings.HasPrefix(c.PURL, "pkg:golang/") || c.Type != "library" {
				t.Errorf("%s: %+v", system, c)
			}
		}
		for _, want := range []string{"std", "go.etcd.io/bbolt", "github.com/fsnotify/fsnotify", "github.com/golang-jwt/jwt/v5", "go.yaml.in/yaml/v3"} {
			if !names[want] {
				t.Errorf("%s: %s is not named", system, want)
			}
		}
		if names["github.com/cpuguy83/go-md2man/v2"] || names["github.com/goreleaser/nfpm/v2"] {
			t.Errorf("%s: what only builds the packages is in the product", system)
		}
		if system != "linux_amd64" {
			continue
		}
		program := unpack(t, filepath.Join(dir, "digime-sync_"+first+"_linux_amd64.tar.gz"))["digime-sync_"+first+"_linux_amd64/digime-sync"]
		same(t, "hash of the program", bom.Metadata.Component.Hashes[0].Content, fmt.Sprintf("%x", sha256.Sum256(program)))
	}
}

func TestLintian(t *testing.T) {
	need(t, "lintian")
	file := filepath.Join(release(t, first), "digime-sync_"+first+"-1_amd64.deb") // the other differs in the program alone
	if out, err := exec.Command("lintian", "--allow-root", "--fail-on", "error,warning", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestShellScripts(t *testing.T) {
	need(t, "shellcheck")
	var scripts []string
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && (bytes.HasPrefix(data, []byte("#!/bin/sh")) || bytes.HasPrefix(data, []byte("#!/bin/bash")) || bytes.HasPrefix(data, []byte("#!/usr/bin/env bash"))) {
			scripts = append(scripts, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(scripts) < 10 {
		t.Fatalf("only these scripts were found: %v", scripts)
	}
	if out, err := exec.Command("shellcheck", scripts...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
