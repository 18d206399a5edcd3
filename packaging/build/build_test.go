package main

import (
	"bytes"
	"debug/macho"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUniversalHoldsBothPrograms(t *testing.T) {
	b, err := newBuild("1.2.3", t.TempDir(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	// A small program in place of the product: what is joined does not matter.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		path := filepath.Join(dir, arch)
		if _, err := b.output([]string{"GOOS=darwin", "GOARCH=" + arch}, "go", "build", "-o", path, filepath.Join(dir, "main.go")); err != nil {
			t.Fatal(err)
		}
		b.binaries["darwin/"+arch] = path
	}
	path, err := b.universal()
	if err != nil {
		t.Fatal(err)
	}
	f, err := macho.OpenFat(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if len(f.Arches) != 2 || f.Arches[0].Cpu != macho.CpuAmd64 || f.Arches[1].Cpu != macho.CpuArm64 {
		t.Fatalf("programs of the universal one: %+v", f.Arches)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, arch := range []string{"amd64", "arm64"} {
		alone, err := os.ReadFile(filepath.Join(dir, arch))
		if err != nil {
			t.Fatal(err)
		}
		at := f.Arches[i].Offset
		if at%(1<<fatAlign) != 0 || !bytes.Equal(whole[at:at+f.Arches[i].Size], alone) {
			t.Errorf("the program for %s is not in it as it was", arch)
		}
	}
}

func TestCommandLine(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		args       []string
	}{
		{"a short version", `version "1.2" is not of the form 1.2.3`, []string{"-version", "1.2"}},
		{"a version that an MSI cannot have", "is not of the form", []string{"-version", "1.2.3-rc1"}},
		{"an unknown target", `there is no target "snap"; there are: binaries, deb`, []string{"snap"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := run(append([]string{"-out", t.TempDir()}, tt.args...), io.Discard)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// Checksums come last, whatever order the targets are asked for in.
func TestTargetsKeepTheirOrder(t *testing.T) {
	got, err := chosen([]string{"sums", "deb"})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].name != "deb" || got[1].name != "sums" {
		t.Errorf("%v", got)
	}
	if all, _ := chosen(nil); all[len(all)-1].name != "sums" {
		t.Error("the checksums are not the last of all targets")
	}
}
