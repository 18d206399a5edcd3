package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// build is one run: what is built, and where it goes.
type build struct {
	root    string    // the project's root
	out     string    // folder of the results
	work    string    // folder of what lies between, inside out
	version string    // X.Y.Z
	commit  string    // the commit's full name
	mtime   time.Time // the one time that results carry, UTC, in seconds
	log     io.Writer
	signer  string // a command that signs the file it is given, "" for none
	tags    string // build tags, of tests only

	binaries    map[string]string // goos/goarch → path, of those built so far
	docsDir     string            // manual pages and completions, once they are made
	noticesFile string            // licences of what is linked, once they are collected
	products    []string          // names in out, of what is released
}

var versionForm = regexp.MustCompile(`^\d{1,3}\.\d{1,3}\.\d{1,5}$`) // what an MSI can express too

// newBuild prepares a run from within packaging/build. An empty version means
// that in packaging/VERSION.
func newBuild(version, out string, log io.Writer) (*build, error) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return nil, fmt.Errorf("find the project: %w", err)
	}
	if version == "" {
		data, err := os.ReadFile(filepath.Join(root, "packaging", "VERSION"))
		if err != nil {
			return nil, fmt.Errorf("read the version (run from packaging/build): %w", err)
		}
		version = strings.TrimSpace(string(data))
	}
	if !versionForm.MatchString(version) {
		return nil, fmt.Errorf("version %q is not of the form 1.2.3", version)
	}
	if !filepath.IsAbs(out) {
		out = filepath.Join(root, out)
	}
	b := &build{root: root, out: out, work: filepath.Join(out, "work"), version: version, log: log, binaries: map[string]string{}}
	if err := os.MkdirAll(b.work, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder for results: %w", err)
	}
	return b, b.stamp()
}

// stamp finds out the commit and its time, which SOURCE_DATE_EPOCH overrides
// (https://reproducible-builds.org/specs/source-date-epoch/).
func (b *build) stamp() error {
	head, err := b.output(nil, "git", "log", "-1", "--format=%H %ct")
	if err != nil {
		return fmt.Errorf("find the commit: %w", err)
	}
	hash, epoch, _ := strings.Cut(strings.TrimSpace(head), " ")
	if e := os.Getenv("SOURCE_DATE_EPOCH"); e != "" {
		epoch = e
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return fmt.Errorf("read the time of the commit: %w", err)
	}
	b.commit, b.mtime = hash, time.Unix(seconds, 0).UTC()
	changed, err := b.output(nil, "git", "status", "--porcelain")
	if err != nil {
		return fmt.Errorf("look for changes: %w", err)
	}
	if changed != "" {
		fmt.Fprintln(b.log, "warning: there are changes that are not committed; this is not for release")
	}
	return nil
}

// platforms are the systems the program is built for.
var platforms = []struct{ os, arch string }{
	{"linux", "amd64"}, {"linux", "arm64"},
	{"windows", "amd64"}, {"windows", "arm64"},
	{"darwin", "amd64"}, {"darwin", "arm64"},
}

func (b *build) allBinaries() error {
	for _, p := range platforms {
		if _, err := b.binary(p.os, p.arch); err != nil {
			return err
		}
	}
	return nil
}

// binary returns the path of the program for a system, built once a run.
func (b *build) binary(goos, goarch string) (path string, err error) {
	key := goos + "/" + goarch
	if path, built := b.binaries[key]; built {
		return path, nil
	}
	path = filepath.Join(b.work, goos+"_"+goarch, "digime-sync")
	if goos == "windows" {
		path += ".exe"
	}
	args := []string{"build", "-buildvcs=true", "-trimpath", "-ldflags", "-s -w -buildid= -X main.version=" + b.version, "-tags", b.tags, "-o", path}
	if _, err := b.output([]string{"GOOS=" + goos, "GOARCH=" + goarch}, "go", append(args, "./cmd/digime-sync")...); err != nil {
		return "", fmt.Errorf("build the program for %s: %w", key, err)
	}
	if goos == "windows" {
		if err := b.addResources(path); err != nil {
			return "", err
		}
		if err := b.signed(path); err != nil {
			return "", err
		}
	}
	b.binaries[key] = path
	return path, nil
}

// product returns the path in out of something that is released under name,
// and notes it for the checksums.
func (b *build) product(name string) string {
	b.products = append(b.products, name)
	return filepath.Join(b.out, name)
}

// output runs a command in the project's root and returns what it writes to its
// standard output. The environment is this program's, without what would change
// results, and env.
func (b *build) output(env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = b.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOWORK=off", "LC_ALL=C", "TZ=UTC")
	cmd.Env = append(cmd.Env, env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil {
		return "", errors.Join(fmt.Errorf("%s %s: %w", name, args[0], err), errors.New(strings.TrimSpace(stderr.String())))
	}
	return string(stdout), nil
}
