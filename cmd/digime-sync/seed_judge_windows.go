package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/windows/registry"
)

// refusalKey and refusalName are where a refusal waits for the installer, which
// reads it by its AppSearch and ends with it. They are the user's: this step has
// no more rights than whoever installs.
const (
	refusalKey  = `SOFTWARE\digime-sync`
	refusalName = "Refused"
)

// installerCommands are what the Windows installer runs besides configure
// itself.
func (a *app) installerCommands() []*cobra.Command {
	return []*cobra.Command{{
		Use: "judge [PROPERTY=VALUE|…]", Hidden: true, Args: cobra.ArbitraryArgs,
		Short: "Say, before an installer changes anything, whether what it was given can be used",
		RunE:  func(_ *cobra.Command, given []string) error { return a.judge(given) },
	}}
}

// judge leaves a sentence for the installer where the properties cannot be used,
// and removes an earlier one. An error means that it could not say so. What this
// user may not look at is left to configure, which the system runs.
func (a *app) judge(given []string) error {
	if err := registry.DeleteKey(registry.CURRENT_USER, refusalKey); err != nil && !errors.Is(err, registry.ErrNotExist) {
		return fmt.Errorf("remove an earlier refusal: %w", err)
	}
	if len(given) == 0 {
		return nil
	}
	properties, err := installerProperties(given)
	if err != nil {
		return err
	}
	refused := judgeProperties(properties)
	if refused == nil || errors.Is(refused, fs.ErrPermission) {
		return nil
	}
	why := explain(refused)
	sentence := why.err.Error()
	if why.hint != "" {
		sentence += ". To mend it: " + why.hint
	}
	key, _, err := registry.CreateKey(registry.CURRENT_USER, refusalKey, registry.SET_VALUE)
	if err != nil {
		return errors.Join(refused, fmt.Errorf("tell the installer: %w", err))
	}
	defer key.Close()
	if err := key.SetStringValue(refusalName, sentence); err != nil {
		return errors.Join(refused, fmt.Errorf("tell the installer: %w", err))
	}
	fmt.Fprintln(a.out, sentence)
	return nil
}

// installerProperties are those given, each closed by a bar (a backslash at the
// end would take the quote that closes it for a part of it), and for those that
// are empty what an earlier installation has remembered, as the installer has it.
func installerProperties(given []string) (map[string]string, error) {
	p := rememberedSeeds()
	remembered := p["DATADIR"]
	for _, arg := range given {
		name, value, ok := strings.Cut(arg, "=")
		value, closed := strings.CutSuffix(value, "|")
		if !ok || !closed {
			return nil, failure(exitUsage, `write each as NAME=VALUE|`, "%q is no property of an installer", arg)
		}
		if value != "" {
			p[name] = value
		}
	}
	defaults := map[string]string{
		"DATADIR":    filepath.Join(os.Getenv("ProgramData"), "digime-sync"),
		"INSTALLDIR": filepath.Join(os.Getenv("ProgramFiles"), "digi.me Sync"),
	}
	for name, value := range defaults {
		if p[name] == "" {
			p[name] = value
		}
	}
	p["remembered DATADIR"], p["default DATADIR"] = remembered, defaults["DATADIR"]
	return p, nil
}

// judgeProperties says what is wrong with them, as configure would, and with the
// folders, which the installer would make before it runs configure.
func judgeProperties(p map[string]string) error {
	if err := checkProgramPlace("INSTALLDIR", p["INSTALLDIR"]); err != nil {
		return err
	}
	if err := checkDataPlace(p); err != nil {
		return err
	}
	state := filepath.Join(p["DATADIR"], "state")
	if err := checkDataFolder(state); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	s := &seed{appID: p["APPID"], configURL: p["CONFIGURL"], configKey: p["CONFIGKEY"], proxy: p["PROXY"], caFile: p["CACERT"], installing: true}
	if f, err := os.Open(s.caFile); err == nil {
		_ = f.Close() // it was only read
	} else if errors.Is(err, fs.ErrPermission) {
		s.caFile = ""
	}
	if _, err := s.starter(state); err != nil {
		return err
	}
	if p["ENROLLTOKENFILE"] == "" {
		return nil
	}
	tokens, err := readTokens(p["ENROLLTOKENFILE"])
	if err != nil {
		return failure(exitError, "name a file the system's account may read, or leave ENROLLTOKENFILE out", "read the enrolment file: %w", err)
	}
	return checkWaiting(tokens, filepath.Join(state, enrolName))
}
