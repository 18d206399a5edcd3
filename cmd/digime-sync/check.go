package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/engine"
	"github.com/digime-sync/digime-sync/watcher"
)

// How a check turned out.
const (
	checkOK   = "ok"
	checkWarn = "warn" // it works, but somebody should know
	checkFail = "fail"
)

// finding is the outcome of one check, as `check --json` prints it.
type finding struct {
	Check   string `json:"check"` // user, policy, configuration, setting, fleet, state, service, folder, library, api or clock
	Subject string `json:"subject"`
	State   string `json:"state"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	// Of a setting that does not come from the configuration file.
	Value   string `json:"value,omitempty"`
	Source  string `json:"source,omitempty"` // file:line, or the policy's place
	Managed bool   `json:"managed,omitempty"`
}

// findings is what `check --json` prints.
type findings struct {
	OK     bool      `json:"ok"`
	Checks []finding `json:"checks"`
}

func (a *app) checkCommand() *cobra.Command {
	var offline, asJSON bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check configuration, keys, folders, consent, the clock, and that the API can be reached",
		Long: "check looks at the configuration and its layers, its keys, the state folder, what the service may touch,\n" +
			"every folder and consent, and unless --offline is given at the API and the clock. Root checks as the user\n" +
			"who owns the state folder, as the service runs; the running daemon is asked how it finds the folders.\n" +
			"It ends with 78 for a configuration that cannot be run, and with 1 when another check fails.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.check(offline, asJSON) },
	}
	cmd.Flags().BoolVar(&offline, "offline", false, "do not talk to the API")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) check(offline, asJSON bool) error {
	service := a.checkService() // the service manager may want root
	list := checkAsOwner(stateDirOf(a.config()))
	cfg, err := LoadConfig(a.config())
	if offline && errors.Is(err, errRootsService) {
		cfg, list, err = a.withoutPolicy(list, err)
	}
	if err != nil {
		return a.checkedConfig(list, err, asJSON)
	}
	list = append(list, finding{Check: "configuration", Subject: a.config(), State: checkOK, Message: "it can be run, and its keys can be read"})
	list = append(append(append(list, checkLayers(cfg)...), checkState(cfg.StateDir)), service...)
	for _, f := range cfg.folders() {
		list = append(list, checkFolder(f))
	}
	if len(cfg.Folders) == 0 {
		list = append(list, finding{Check: "folder", Subject: a.config(), State: checkWarn, Message: "no folder is watched, so that nothing is pushed", Hint: "add one under folders: (README.md shows how)"})
	}
	list = withDaemonsView(cfg.StateDir, list)
	list = append(list, checkConsents(cfg)...)
	if !offline {
		list = append(list, checkAPI(cfg)...)
	}
	return a.found(list, asJSON)
}

// withoutPolicy reads a configuration that somebody has named, and who may not
// read the policy: looking at it does no harm. Otherwise closed, the error, stays.
func (a *app) withoutPolicy(list []finding, closed error) (*Config, []finding, error) {
	if a.config() == DefaultConfigPath() {
		return nil, list, closed
	}
	cfg, err := loadAlone(a.config())
	if errors.Is(err, fs.ErrPermission) {
		return nil, list, closed
	}
	return cfg, append(list, finding{Check: "policy", Subject: "this machine", State: checkWarn, Hint: "sudo digime-sync check",
		Message: "you cannot read its managed policy: the file is checked alone, without policy, conf.d and fleet"}), err
}

// checkedConfig reports a configuration that cannot be run: as JSON too, for
// checking a fleet's before it is rolled out. As whom it was read is said first.
func (a *app) checkedConfig(user []finding, err error, asJSON bool) error {
	if asJSON {
		list := append(user, finding{Check: "configuration", Subject: a.config(), State: checkFail, Message: err.Error(), Hint: explain(err).hint})
		return errors.Join(a.printJSON(findings{Checks: list}), err)
	}
	return errors.Join(a.found(user, false), err)
}

func (a *app) found(list []finding, asJSON bool) error {
	failed := 0
	for _, f := range list {
		if f.State == checkFail {
			failed++
		}
		if asJSON {
			continue
		}
		fmt.Fprintf(a.out, "%-5s %-13s %s: %s\n", f.State, f.Check, plain(f.Subject), strings.ReplaceAll(f.Message, "\n", "\n      "))
		if f.Hint != "" {
			fmt.Fprintf(a.out, "      do: %s\n", f.Hint)
		}
	}
	if asJSON {
		if err := a.printJSON(findings{OK: failed == 0, Checks: list}); err != nil {
			return err
		}
	}
	if failed > 0 {
		return failure(exitError, "", "%d of %d checks failed", failed, len(list))
	}
	return nil
}

func checkState(dir string) finding {
	f := finding{Check: "state", Subject: dir, State: checkOK, Message: "it can be written to"}
	if !exists(dir) { // making it would make it root's, who checks
		f.Message = "it is not there yet, and is made by the service"
		above := filepath.Dir(dir)
		for !exists(above) && above != filepath.Dir(above) {
			above = filepath.Dir(above)
		}
		if err := store.CanWrite(above); err != nil {
			f.State, f.Message, f.Hint = checkFail, "it is not there, and cannot be made: "+err.Error(), writeHint(err, "make the folder, owned by the user the service runs as")
		}
		return f
	}
	if err := store.CanWrite(dir); err != nil {
		f.State, f.Message, f.Hint = checkFail, err.Error(), writeHint(err, "let the user the service runs as write to it")
	}
	return f
}

// exists says whether there is something at a path, also what cannot be looked at.
func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR)
}

// writeHint says what to do about a folder that cannot be written to: no right
// makes room on a full disk.
func writeHint(err error, otherwise string) string {
	if errors.Is(err, syscall.ENOSPC) {
		return "make room on its disk"
	}
	return otherwise
}

// checkConsents looks at the libraries' consents. Without a state folder there is
// none, and opening a vault would make one.
func checkConsents(cfg *Config) []finding {
	var list []finding
	if !exists(cfg.StateDir) {
		for _, name := range cfg.libraryList() {
			list = append(list, checkLibrary(engine.LibraryStatus{Name: name, State: "none", Reason: "there is no token for this library", Hint: engine.ConsentHint(name)}))
		}
		return list
	}
	vault, err := store.OpenVault(cfg.StateDir)
	if err != nil {
		return []finding{{Check: "state", Subject: cfg.StateDir, State: checkFail, Message: err.Error(), Hint: explain(err).hint}}
	}
	for _, name := range cfg.libraryList() {
		list = append(list, checkLibrary(engine.TokenStatus(vault, name)))
	}
	return list
}

// folderPatience is how long a folder may take to answer. A call into a share that
// hangs never comes back, and no signal ends it.
const folderPatience = 10 * time.Second

func checkFolder(folder engine.Folder) finding {
	done := make(chan finding, 1)
	go func() { done <- lookAtFolder(folder) }()
	select {
	case f := <-done:
		return f
	case <-time.After(folderPatience):
		return finding{Check: "folder", Subject: folder.Path, State: checkFail, Message: "it does not answer",
			Hint: "look whether its network share or disk works; the other folders are not held up by it"}
	}
}

func lookAtFolder(folder engine.Folder) finding {
	f := finding{Check: "folder", Subject: folder.Path, State: checkOK}
	watch, reason, err := watcher.Probe(folder.Path)
	if err != nil {
		f.State, f.Message = checkFail, err.Error()
		f.Hint = "make the folder or mount it, and let the user the service runs as read it; files are picked up once it is there"
		return f
	}
	f.Message = "it can be read, and is watched by " + watch
	if reason != "" {
		f.Message += " (" + reason + ")"
	}
	if _, err := os.ReadDir(folder.Path); err != nil {
		f.State, f.Message, f.Hint = checkFail, err.Error(), "let the user the service runs as read it"
		return f
	}
	if err := store.CanWrite(folder.Path); err != nil {
		f.State, f.Hint = checkWarn, writeHint(err, "let the user the service runs as write to it")
		f.Message += "; it cannot be written to, so that receipts and error notes go to the state folder"
		if folder.After != "keep" {
			f.State = checkFail
			f.Message = fmt.Sprintf("it cannot be written to (%v), but after: %s needs that", err, folder.After)
		}
	}
	return f
}

func checkLibrary(l engine.LibraryStatus) finding {
	f := finding{Check: "library", Subject: l.Name, State: checkOK, Hint: l.Hint}
	switch {
	case l.State == "held":
		f.State, f.Message = checkWarn, l.Reason
		return f
	case l.State != "ok":
		f.State, f.Message = checkWarn, l.Reason+"; its files are held until there is one"
		return f
	case l.Reason != "":
		f.State, f.Message = checkWarn, l.Reason
		return f
	}
	f.Message = "consent until " + minute(l.RefreshExpires)
	return f
}

// checkAPI reaches for the service's key set, which needs no consent, and
// compares clocks on the way.
func checkAPI(cfg *Config) []finding {
	api := finding{Check: "api", Subject: cfg.API.BaseURL, State: checkOK, Message: "it answers, and serves its key set"}
	client, err := newClient(cfg, slog.New(slog.DiscardHandler))
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		err = client.Reach(ctx)
	}
	if err != nil {
		api.State, api.Message, api.Hint = checkFail, err.Error(), "check network, firewall, api.base_url, api.proxy and api.ca_file; or: digime-sync check --offline"
		return []finding{api}
	}
	clock := finding{Check: "clock", Subject: "this machine", State: checkOK, Message: "it agrees with digi.me's"}
	switch skew, ok := client.Skew(); {
	case !ok:
		clock.State, clock.Message = checkWarn, "the answer had no date to compare with"
	case skew.Abs() > 2*time.Minute:
		clock.State, clock.Message = checkFail, fmt.Sprintf("it differs from digi.me's by %s", skew.Round(time.Second))
		clock.Hint = "set this machine's clock; a wrong one makes every request fail"
	}
	return []finding{api, clock}
}
