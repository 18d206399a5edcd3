//go:build docs

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// With the build tag docs this program is a tool of packaging/build, which runs
// it as "digime-sync docs DIR". It is not a command among the others, so that
// the documentation is of the product and the product has nothing of it.
func init() {
	if len(os.Args) != 3 || os.Args[1] != "docs" {
		return
	}
	if err := writeDocs(os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitError)
	}
	os.Exit(exitDone)
}

// writeDocs writes manual pages and completions into dir. Their date is that of
// SOURCE_DATE_EPOCH, in seconds since 1970.
func writeDocs(dir string) error {
	epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("read SOURCE_DATE_EPOCH: %w", err)
	}
	date := time.Unix(epoch, 0).UTC()
	root, _ := (&app{}).commands()
	root.DisableAutoGenTag = true
	root.Long += "\n" + exitCodes
	// Whoever builds it, the pages name the service's configuration.
	config := root.PersistentFlags().Lookup("config")
	served, _ := systemPaths(runtime.GOOS, true, func(string) string { return "" })
	config.Usage = strings.ReplaceAll(config.Usage, DefaultConfigPath(), served)
	for _, sub := range []string{"man", "completions"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
	}
	header := &doc.GenManHeader{Section: "1", Date: &date, Source: "digime-sync " + version, Manual: "digime-sync"}
	if err := doc.GenManTree(root, header, filepath.Join(dir, "man")); err != nil {
		return fmt.Errorf("write manual pages: %w", err)
	}
	return writeCompletions(root, filepath.Join(dir, "completions"))
}

func writeCompletions(root *cobra.Command, dir string) error {
	for name, write := range map[string]func(path string) error{
		"digime-sync.bash": func(path string) error { return root.GenBashCompletionFileV2(path, true) },
		"_digime-sync":     root.GenZshCompletionFile,
		"digime-sync.fish": func(path string) error { return root.GenFishCompletionFile(path, true) },
		"digime-sync.ps1":  root.GenPowerShellCompletionFileWithDesc,
	} {
		if err := write(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("write completion: %w", err)
		}
	}
	return nil
}
