package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// What the build sets; a build by hand leaves commit and date to what Go itself
// has noted, if it has.
var (
	version = "0.1.0-dev"
	commit  string // the whole hash
	date    string // of the commit, RFC 3339
)

// build says which program this is, as `version --json` prints it.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Date    string `json:"date,omitempty"` // of the commit
	Changed bool   `json:"changed"`        // built from more than the commit holds
	Go      string `json:"go"`
	System  string `json:"system"` // operating system/processor
	Newest  string `json:"newest_version,omitempty"`
	Notice  string `json:"notice,omitempty"` // that a newer version is there
}

func built() build {
	b := build{Version: version, Commit: commit, Date: date, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = cmp.Or(b.Commit, s.Value)
		case "vcs.time":
			b.Date = cmp.Or(b.Date, s.Value)
		case "vcs.modified":
			b.Changed = s.Value == "true"
		}
	}
	return b
}

// String is the build in a line.
func (b build) String() string {
	text := b.Version
	if b.Commit != "" {
		text += " (" + b.Commit[:min(12, len(b.Commit))] + changed(b.Changed) + " of " + cmp.Or(b.Date, "an unknown day") + ")"
	}
	return text + " " + b.System + " " + b.Go
}

func changed(is bool) string {
	if is {
		return ", changed,"
	}
	return ""
}

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Which version this is, and whether a newer one is there",
		Long: "version says which version this is, of which commit. Where the configuration names a newest_version, it\n" +
			"also says whether that is newer: the program never updates itself, packages and whoever manages them do.",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := built()
			b.Newest, b.Notice = a.newest()
			if asJSON {
				return a.printJSON(b)
			}
			fmt.Fprintln(a.out, "digime-sync "+b.String())
			if b.Notice != "" {
				fmt.Fprintln(a.out, b.Notice)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// newest is the version the configuration names as the newest, with what to say
// if that is newer than this one. Without a configuration there is neither.
func (a *app) newest() (newest, notice string) {
	cfg, err := LoadConfig(a.config())
	if err != nil {
		return "", ""
	}
	return cfg.NewestVersion, newerNotice(version, cfg.NewestVersion)
}

// newerNotice says that a newer version is there, "" when none is.
func newerNotice(have, newest string) string {
	if newest == "" || !older(have, newest) {
		return ""
	}
	return fmt.Sprintf("version %s is there; this is %s", strings.TrimPrefix(newest, "v"), have)
}

// older says whether one version goes before another, number by number. What
// comes before a release (1.2.0-rc1) goes before it.
func older(a, b string) bool {
	a, beforeA, preA := strings.Cut(strings.TrimPrefix(a, "v"), "-")
	b, beforeB, preB := strings.Cut(strings.TrimPrefix(b, "v"), "-")
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(as), len(bs)) {
		if x, y := number(as, i), number(bs, i); x != y {
			return x < y
		}
	}
	if preA != preB {
		return preA
	}
	return beforeA < beforeB
}

func number(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	n, _ := strconv.Atoi(parts[i]) // the configuration is checked; our own is a number
	return n
}
