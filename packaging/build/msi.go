package main

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// msiAMD64 writes the package for Windows on x64.
func (b *build) msiAMD64() error { return b.msi("amd64", "x64;1033") }

// msiARM64 writes that for arm64, which wixl does not know: it is made for x64,
// holds the program for arm64, and says so in its summary.
func (b *build) msiARM64() error { return b.msi("arm64", "Arm64;1033") }

func (b *build) msi(arch, template string) error {
	program, err := b.binary("windows", arch)
	if err != nil {
		return err
	}
	dir, err := b.msiSources(arch, program)
	if err != nil {
		return err
	}
	name := "digime-sync_" + b.version + "_windows_" + arch + ".msi"
	made := filepath.Join(dir, name)
	if err := b.wixl(dir, "-a", "x64", "-D", "Version="+b.version, "-D", "ProductCode="+uuidOf("product", b.version, arch), "-o", name, wxs); err != nil {
		return err
	}
	statements := slices.Concat(properties(), judge(), checks(), service(), layout(b.version))
	for _, sql := range statements {
		if err := b.msibuild(made, "-q", sql); err != nil {
			return err
		}
	}
	content, err := digest(program, filepath.Join(dir, wxs), filepath.Join(dir, noticesName))
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

const (
	wxs         = "digime-sync.wxs"
	noticesName = "THIRD-PARTY.txt"
)

// msiSources puts what wixl reads into a new folder, which must be its working
// folder: it takes only relative names. The cabinet has the files' time.
func (b *build) msiSources(arch, program string) (string, error) {
	dir := filepath.Join(b.work, "msi_"+arch)
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("remove an earlier package: %w", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", fmt.Errorf("make a folder for wixl: %w", err)
	}
	icon, err := iconFile()
	if err != nil {
		return "", fmt.Errorf("draw the icon: %w", err)
	}
	notices, err := b.notices()
	if err != nil {
		return "", err
	}
	files := map[string][]byte{"digime-sync.ico": icon}
	for name, source := range map[string]string{"digime-sync.exe": program, noticesName: notices, wxs: b.source("windows/" + wxs)} {
		if files[name], err = os.ReadFile(source); err != nil {
			return "", fmt.Errorf("read what goes into the package: %w", err)
		}
	}
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return "", fmt.Errorf("write for wixl: %w", err)
		}
		if err := os.Chtimes(path, b.mtime, b.mtime); err != nil {
			return "", fmt.Errorf("write for wixl: %w", err)
		}
	}
	return dir, nil
}

// wixl fails on anything wixl says: it warns of what it leaves out, and goes on.
func (b *build) wixl(dir string, args ...string) error {
	const script = `cd "$0"; said=$("$@" 2>&1); code=$?; echo "$said" >&2; [ $code = 0 ] && [ -z "$said" ]`
	if _, err := b.output(nil, "sh", append([]string{"-c", script, dir}, b.frozen("wixl", args...)...)...); err != nil {
		return fmt.Errorf("wixl (apt-get install wixl msitools faketime): %w", err)
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

// iconFile is the icon as a file, for the list of installed programs.
func iconFile() ([]byte, error) {
	icon, err := programIcon()
	if err != nil {
		return nil, err
	}
	var ico bytes.Buffer
	err = icon.SaveICO(&ico)
	return ico.Bytes(), err
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
