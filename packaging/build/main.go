// Command build makes everything that is released, from one version number:
//
//	go run -C packaging/build . [-version 1.2.3] [-out DIR] [TARGET…]
//
// Two checkouts of the same commit give the same bytes, wherever they lie: the
// only time in them is that of the commit (or SOURCE_DATE_EPOCH), and nothing
// of the machine gets in. Once the modules are downloaded no network is needed.
//
// It is a module of its own so that what makes packages is no dependency of the
// service. Deliberately left out: uploading anything, and keys (signing takes
// them from outside).
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// target is something that can be asked for by name.
type target struct {
	name string
	what string
	make func(*build) error
}

// targets are all that can be made, in the order they are made in: the
// checksums are those of everything before.
var targets = []target{
	{"binaries", "the program for six systems, without packages", (*build).allBinaries},
	{"deb", "packages for Debian and Ubuntu", (*build).deb},
	{"rpm", "packages for Red Hat, Fedora and SUSE", (*build).rpm},
	{"archives", "tar.gz and zip", (*build).archives},
	{"macos", "an unsigned package for macOS, and what build-pkg.sh signs on a Mac", (*build).macos},
	{"msi", "a package for Windows", (*build).msiAMD64},
	{"msi-arm64", "the same for arm64", (*build).msiARM64},
	{"sbom", "what the program is made of, in CycloneDX", (*build).sboms},
	{"sums", "SHA256SUMS of all that was made in this run", (*build).sums},
}

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "build: error:", err)
		}
		os.Exit(1)
	}
}

// run makes what the command line asks for.
func run(args []string, log io.Writer) error {
	flags := flag.NewFlagSet("build", flag.ContinueOnError)
	flags.SetOutput(log)
	version := flags.String("version", "", "version `X.Y.Z` (else that in packaging/VERSION)")
	out := flags.String("out", "dist", "`DIR` for the results; a relative one starts at the project's root")
	sign := flags.String("sign", "", "`COMMAND` that signs the Windows program or package it is given, as packaging/signing/sign.sh does")
	tags := flags.String("tags", "", "build `TAGS`, for tests: what has them is not for release")
	flags.Usage = func() { usage(flags) }
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted, err := chosen(flags.Args())
	if err != nil {
		return err
	}
	b, err := newBuild(*version, *out, log)
	if err != nil {
		return err
	}
	b.signer, b.tags = *sign, *tags
	for _, t := range wanted {
		fmt.Fprintf(log, "== %s: %s\n", t.name, t.what)
		if err := t.make(b); err != nil {
			return fmt.Errorf("make %s: %w", t.name, err)
		}
	}
	return nil
}

// chosen returns the targets of these names in the order they are made in, all
// for no names.
func chosen(names []string) ([]target, error) {
	if len(names) == 0 {
		return targets, nil
	}
	asked := map[string]bool{}
	for _, n := range names {
		asked[n] = true
	}
	var wanted []target
	for _, t := range targets {
		if asked[t.name] {
			wanted = append(wanted, t)
			delete(asked, t.name)
		}
	}
	for n := range asked {
		return nil, fmt.Errorf("there is no target %q; there are: %s", n, strings.Join(targetNames(), ", "))
	}
	return wanted, nil
}

func targetNames() []string {
	var names []string
	for _, t := range targets {
		names = append(names, t.name)
	}
	return names
}

func usage(flags *flag.FlagSet) {
	w := flags.Output()
	fmt.Fprintln(w, "usage: go run -C packaging/build . [flags] [TARGET…]")
	flags.PrintDefaults()
	fmt.Fprintln(w, "targets (all without any):")
	for _, t := range targets {
		fmt.Fprintf(w, "  %-10s %s\n", t.name, t.what)
	}
}
