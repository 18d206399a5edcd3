package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/digime-sync/digime-sync/store"
)

// seed is what an installer is given for a machine: the first configuration is
// made of it. The properties of the MSI, and DIGIME_SYNC_ with these names in
// the environment, mean the same.
type seed struct {
	appID      string // APPID
	configURL  string // CONFIGURL
	configKey  string // CONFIGKEY
	proxy      string // PROXY
	caFile     string // CACERT
	enrolment  string // ENROLLTOKENFILE
	installing bool   // the state folder is that beside the configuration
}

// starterMark begins the first line of a configuration this command has
// written. A sum of the rest follows, which tells whether a person has changed it.
const starterMark = "# Written by digime-sync configure. "

func (a *app) configureCommand() *cobra.Command {
	s := &seed{}
	cmd := &cobra.Command{
		Use:   "configure [flags]",
		Short: "Write the first configuration of a machine, as installers do",
		Long: "configure writes a configuration with what is given, in a flag or else in the environment. One that a person\n" +
			"has written or changed is left as it is. Tokens of an enrolment file are taken over for the daemon, and the\n" +
			"file is removed.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			err := a.configure(s)
			if err != nil && s.installing { // nobody sees what an installer's steps say
				reportEvent(err)
			}
			return err
		},
	}
	for _, f := range []struct {
		into            *string
		flag, env, what string
	}{
		{&s.appID, "app-id", "APPID", "application `ID` (application_id)"},
		{&s.configURL, "config-url", "CONFIGURL", "https:// `URL` or path of the fleet's configuration (config_url)"},
		{&s.configKey, "config-key", "CONFIGKEY", "public `KEY` of the fleet's signatures (config_key)"},
		{&s.proxy, "proxy", "PROXY", "`URL` of the proxy (api.proxy)"},
		{&s.caFile, "ca-cert", "CACERT", "`FILE` of certificates that are trusted too (api.ca_file)"},
		{&s.enrolment, "enrolment-file", "ENROLLTOKENFILE", "`FILE` of tokens, read once and removed"},
	} {
		env := "DIGIME_SYNC_" + f.env
		cmd.Flags().StringVar(f.into, f.flag, os.Getenv(env), f.what+"; else $"+env)
	}
	cmd.Flags().BoolVar(&s.installing, "data-beside", false, "keep the state in the folder state beside the configuration")
	return cmd
}

// configure writes the configuration, then has the enrolment file wait for the
// daemon. Everything is checked before anything is written.
func (a *app) configure(s *seed) error {
	path, err := filepath.Abs(a.config())
	if err != nil {
		return fmt.Errorf("find the configuration: %w", err)
	}
	state := defaultStateDir()
	if s.installing {
		state = filepath.Join(filepath.Dir(path), "state")
	}
	text, err := s.starter(state)
	if err != nil {
		return err
	}
	var tokens []byte
	if s.enrolment != "" {
		if tokens, err = readTokens(s.enrolment); err != nil {
			return failure(exitError, "name a file this account may read, or leave it out", "read the enrolment file: %w", err)
		}
	}
	if err := makeDataFolder(state); err != nil {
		return err
	}
	if err := a.writeStarter(path, text); err != nil {
		return err
	}
	if s.enrolment == "" {
		return nil
	}
	return a.enrolLater(s.enrolment, tokens, filepath.Join(state, enrolName))
}

// starter is the configuration's text. An installer does not know the contracts
// and folders, so only what it does know is checked.
func (s *seed) starter(state string) (string, error) {
	type api struct {
		Proxy  string `yaml:"proxy,omitempty"`
		CAFile string `yaml:"ca_file,omitempty"`
	}
	values := struct {
		ApplicationID string `yaml:"application_id,omitempty"`
		ConfigURL     string `yaml:"config_url,omitempty"`
		ConfigKey     string `yaml:"config_key,omitempty"`
		StateDir      string `yaml:"state_dir,omitempty"`
		API           api    `yaml:"api,omitempty"`
	}{s.appID, s.configURL, s.configKey, "", api{s.proxy, s.caFile}}
	if s.installing {
		values.StateDir = state
	}
	data, err := yaml.Marshal(values)
	if err != nil {
		return "", fmt.Errorf("write configuration: %w", err)
	}
	if string(data) == "{}\n" {
		data = nil
	}
	return string(data), s.check(data)
}

// check reads the text as the daemon would and says what is wrong with what was
// given.
func (s *seed) check(text []byte) error {
	dir, err := os.MkdirTemp("", "digime-sync-configure")
	if err != nil {
		return fmt.Errorf("check what was given: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is in the system's folder for what may go
	path := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("check what was given: %w", err)
	}
	_, err = LoadConfig(path)
	var report *ConfigError
	if !errors.As(err, &report) {
		return nil // also what cannot be told: it is the daemon's to say
	}
	given := map[string]bool{"application_id": s.appID != "", "config_url": s.configURL != "", "config_key": s.configKey != "",
		"api.proxy": s.proxy != "", "api.ca_file": s.caFile != ""}
	for _, f := range report.Faults {
		if given[f.Key] && (f.File == "" || f.File == path) {
			return failure(exitConfig, f.Hint, "%s %s", f.Key, f.Text)
		}
	}
	return nil
}

// writeStarter writes the configuration unless there is one that is not ours.
func (a *app) writeStarter(path, text string) error {
	before, err := os.ReadFile(path)
	switch {
	case err == nil && !isStarter(string(before)):
		fmt.Fprintf(a.out, "kept: %s\n", path)
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read configuration: %w", err)
	}
	text = starterMark + starterSum(text) + "\n" + text
	if text == string(before) {
		fmt.Fprintf(a.out, "unchanged: %s\n", path)
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make the configuration's folder: %w", err)
	}
	if err := store.WriteFile(path, []byte(text), 0o640); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	fmt.Fprintf(a.out, "written: %s\n", path)
	return nil
}

// isStarter says whether this command wrote the text and nobody has changed it.
func isStarter(text string) bool {
	first, rest, _ := strings.Cut(text, "\n")
	return first == starterMark+starterSum(rest)
}

func starterSum(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text)))[:16] }

func readTokens(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > mostEnrolment {
		return nil, fmt.Errorf("%s is no file of at most %d MiB", path, mostEnrolment>>20)
	}
	return os.ReadFile(path)
}

// enrolLater puts the enrolment where the daemon finds it: that may not be able
// to read or remove the file itself. One that waits already is not lost.
func (a *app) enrolLater(from string, tokens []byte, to string) error {
	if err := checkWaiting(tokens, to); err != nil {
		return err
	}
	if _, err := os.Stat(to); err != nil {
		if err := store.WriteFile(to, tokens, 0o600); err != nil {
			return fmt.Errorf("take over the enrolment file: %w", err)
		}
	}
	if err := os.Remove(from); err != nil {
		fmt.Fprintf(a.err, "warning: %s holds tokens and could not be removed: %v\n", from, err)
	}
	fmt.Fprintf(a.out, "taken over: %s\n", from)
	return nil
}

// checkWaiting refuses tokens where other ones wait to be read.
func checkWaiting(tokens []byte, to string) error {
	if waiting, err := os.ReadFile(to); err == nil && string(waiting) != string(tokens) {
		return failure(exitError, "start the service and wait until it has read that one", "another enrolment file waits to be read: %s", to)
	}
	return nil
}
