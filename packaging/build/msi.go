package main

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tc-hib/winres"
)

// msis writes the packages for Windows. wixl knows no arm64: that package is made
// for x64, holds the program for arm64, and says so in its summary.
func (b *build) msis() error {
	for arch, template := range map[string]string{"amd64": "x64;1033", "arm64": "Arm64;1033"} {
		if err := b.msi(arch, template); err != nil {
			return fmt.Errorf("package for %s: %w", arch, err)
		}
	}
	return nil
}

func (b *build) msi(arch, template string) error {
	program, err := b.binary("windows", arch)
	if err != nil {
		return err
	}
	if err := os.Chtimes(program, b.mtime, b.mtime); err != nil { // the cabinet has it
		return fmt.Errorf("set time of the program: %w", err)
	}
	icon, err := b.iconFile()
	if err != nil {
		return err
	}
	name := "digime-sync_" + b.version + "_windows_" + arch + ".msi"
	made := filepath.Join(b.work, name)
	if err := os.RemoveAll(made); err != nil {
		return fmt.Errorf("remove an earlier package: %w", err)
	}
	source := b.source("windows/digime-sync.wxs")
	if err := b.wixl("-a", "x64", "-D", "Version="+b.version, "-D", "ProductCode="+uuidOf("product", b.version, arch),
		"-D", "Exe="+program, "-D", "Icon="+icon, "-o", made, source); err != nil {
		return err
	}
	statements := slices.Concat(properties(), checks(), service(), layout(b.version))
	for _, sql := range statements {
		if err := b.msibuild(made, "-q", sql); err != nil {
			return err
		}
	}
	content, err := digest(program, source)
	if err != nil {
		return err
	}
	packageCode := "{" + uuidOf("package", content, b.version, strings.Join(statements, "\n")) + "}"
	if err := b.msibuild(made, "-s", "Installation Database", "digi.me", template, packageCode); err != nil {
		return err
	}
	if err := os.Rename(made, b.product(name)); err != nil {
		return fmt.Errorf("put the package into place: %w", err)
	}
	return b.signed(filepath.Join(b.out, name))
}

// wixl fails on anything wixl says: it warns of what it leaves out, and goes on.
func (b *build) wixl(args ...string) error {
	said, err := b.output(nil, "sh", append([]string{"-c", `exec "$@" 2>&1`, "sh"}, b.frozen("wixl", args...)...)...)
	if err != nil {
		return fmt.Errorf("wixl (apt-get install wixl faketime): %w", err)
	}
	if said != "" {
		return fmt.Errorf("wixl: %s", strings.TrimSpace(said))
	}
	return nil
}

func (b *build) msibuild(args ...string) error {
	command := b.frozen("msibuild", args...)
	if _, err := b.output(nil, command[0], command[1:]...); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(args[1:], " "), err)
	}
	return nil
}

// frozen is a command for which the time is the commit's.
func (b *build) frozen(name string, args ...string) []string {
	return append([]string{"faketime", "-f", b.mtime.Format("2006-01-02 15:04:05"), name}, args...)
}

// iconFile writes the icon, for the list of installed programs.
func (b *build) iconFile() (string, error) {
	icon, err := programIcon()
	if err != nil {
		return "", fmt.Errorf("draw the icon: %w", err)
	}
	path := filepath.Join(b.work, "digime-sync.ico")
	f, err := os.Create(path)
	if err != nil {
		return "", fmt.Errorf("write the icon: %w", err)
	}
	if err := saveIcon(f, icon); err != nil {
		return "", fmt.Errorf("write the icon: %w", err)
	}
	return path, os.Chtimes(path, b.mtime, b.mtime)
}

func saveIcon(f *os.File, icon *winres.Icon) error {
	if err := icon.SaveICO(f); err != nil {
		_ = f.Close() // the first error counts
		return err
	}
	return f.Close()
}

// digest is the SHA-256 of files, one after the other.
func digest(paths ...string) (string, error) {
	h := sha256.New()
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("read what goes into the package: %w", err)
		}
		fmt.Fprintln(h, len(data))
		h.Write(data)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// uuidOf is a name-based UUID (RFC 9562, version 5) below that of URLs: the same
// content has the same, another another, which the Windows Installer goes by.
func uuidOf(parts ...string) string {
	namespace, _ := hex.DecodeString("6ba7b8119dad11d180b400c04fd430c8") // NameSpace_URL
	sum := sha1.Sum(append(namespace, "https://github.com/digime-sync/digime-sync/"+strings.Join(parts, "/")...))
	id := sum[:16]
	id[6], id[8] = id[6]&0x0f|0x50, id[8]&0x3f|0x80
	return strings.ToUpper(fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:]))
}
