package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sys/windows"
)

// checkProgramPlace refuses a folder for the program that is none of its own.
func checkProgramPlace(property, dir string) error {
	hint := `write a folder of its own, as C:\Programs\digime-sync, or leave ` + property + ` out`
	volume := filepath.VolumeName(dir)
	clean := filepath.Clean(dir)
	switch {
	case !filepath.IsAbs(dir) || strings.HasPrefix(volume, `\\?\`) || strings.HasPrefix(volume, `\\.\`):
		return failure(exitError, hint, "%s=%s is no full path of a folder", property, dir)
	case clean == volume || clean == volume+`\`:
		return failure(exitError, hint, "%s=%s is a whole drive or share", property, dir)
	case below(clean, os.Getenv("SystemRoot")):
		return failure(exitError, hint, "%s=%s belongs to Windows", property, dir)
	}
	users, _ := windows.KnownFolderPath(windows.FOLDERID_UserProfiles, 0) // without it nothing is compared
	for _, shared := range append(programFolders(), os.Getenv("ProgramData"), users) {
		if sameFolder(clean, shared) {
			return failure(exitError, hint, "%s=%s is a folder that all programs or users share", property, dir)
		}
	}
	if sameFolder(filepath.Dir(clean), users) {
		return failure(exitError, hint, "%s=%s is a user's own folder", property, dir)
	}
	return nil
}

func programFolders() []string {
	return []string{os.Getenv("ProgramFiles"), os.Getenv("ProgramFiles(x86)"), os.Getenv("ProgramW6432")}
}

// checkDataPlace refuses a data folder that is not, or would not become, ours
// alone: all but the system, administrators and the service are shut out of it.
func checkDataPlace(p map[string]string) error {
	dir := p["DATADIR"]
	if err := checkProgramPlace("DATADIR", dir); err != nil {
		return err
	}
	const hint = `write a new folder, as D:\digime-sync, or leave DATADIR out`
	for _, programs := range programFolders() {
		if below(dir, programs) {
			return failure(exitError, hint, "DATADIR=%s lies among the programs, and only the system, administrators and the service may enter it", dir)
		}
	}
	if below(p["INSTALLDIR"], dir) {
		return failure(exitError, hint, "DATADIR=%s holds the program, and only the system, administrators and the service may enter it", dir)
	}
	if sameFolder(dir, p["remembered DATADIR"]) || sameFolder(dir, p["default DATADIR"]) {
		return nil // its owner is looked at too
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 || holdsOurData(dir) {
		return nil // one that is missing will be made; one that cannot be listed is configure's to judge
	}
	return failure(exitError, hint, "DATADIR=%s has other things in it (%s), and only the system, administrators and the service may enter it then",
		dir, entries[0].Name())
}

// holdsOurData says whether a folder has a configuration or state of this
// program.
func holdsOurData(dir string) bool {
	for _, name := range []string{"state.db", "audit.log", "vault.key", "digime-sync.log"} {
		if info, err := os.Stat(filepath.Join(dir, "state", name)); err == nil && info.Mode().IsRegular() {
			return true
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "config.yaml"))
	if err != nil {
		return false
	}
	if strings.HasPrefix(string(text), starterMark) {
		return true
	}
	keys := map[string]any{}
	if yaml.Unmarshal(text, &keys) != nil {
		return false
	}
	config := reflect.TypeFor[Config]()
	for field := range config.NumField() {
		if _, ours := keys[config.Field(field).Tag.Get("yaml")]; ours {
			return true
		}
	}
	return false
}

// below says whether a path is folder, or lies in it, also by another name of
// it. The path may be missing.
func below(path, folder string) bool {
	if folder == "" {
		return false
	}
	for at := filepath.Clean(path); ; at = filepath.Dir(at) {
		if sameFolder(at, folder) {
			return true
		}
		if at == filepath.Dir(at) {
			return false
		}
	}
}

// sameFolder says whether two paths are one folder: by name, and where they are
// there as the system has them.
func sameFolder(one, two string) bool {
	if two == "" {
		return false
	}
	if strings.EqualFold(filepath.Clean(one), filepath.Clean(two)) {
		return true
	}
	first, err := os.Stat(one)
	if err != nil {
		return false
	}
	second, err := os.Stat(two)
	return err == nil && os.SameFile(first, second)
}
