package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/digime-sync/digime-sync/store"
)

// fetched is what came of a look at the fleet's folder.
type fetched struct {
	Files   []fleetFile // what holds now
	Changed []string    // what was taken over, in words: "common.yaml serial 8 (before: 7)"
}

// fetchFleet looks whether the fleet's folder has something new, checks it as the
// configuration it will be with everything else, and keeps it. On an error
// nothing was taken, and what was held before still holds; the error is all that
// is wrong.
func fetchFleet(ctx context.Context, cfg *Config, configPath string) (fetched, error) {
	if err := makeFleetDir(cfg.StateDir); err != nil {
		return fetched{}, fmt.Errorf("keep the fleet's files: %w", err)
	}
	unlock, err := store.LockFile(filepath.Join(cfg.StateDir, "fleet", "lock"))
	if err != nil {
		return fetched{}, fmt.Errorf("lock the fleet's files: %w", err)
	}
	defer unlock()
	result, err := lookAtFleet(ctx, cfg, configPath)
	if ctx.Err() == nil { // else it tells of us, not of the fleet
		keepOutcome(cfg.StateDir, err)
	}
	return result, err
}

func lookAtFleet(ctx context.Context, cfg *Config, configPath string) (fetched, error) {
	host, err := hostName()
	if err != nil {
		return fetched{}, err
	}
	key, err := parseFleetKey(cfg.ConfigKey)
	if err != nil {
		return fetched{}, fmt.Errorf("config_key %w", err)
	}
	source, err := sourceAt(cfg, cfg.ConfigURL)
	if err != nil {
		return fetched{}, err
	}
	held, _ := readTaken(cfg.StateDir) // without it, everything is fetched anew
	f := fetch{source: source, key: key, from: cfg.ConfigURL, held: held}
	f.one(ctx, fleetCommon)
	f.one(ctx, host+".yaml")
	if err := errors.Join(f.faults...); err != nil {
		return fetched{}, err
	}
	if len(f.changed) > 0 {
		if _, err := loadConfig(configPath, f.files); err != nil {
			return fetched{}, err
		}
	}
	if len(f.changed) > 0 || f.newTag {
		if err := keepTaken(cfg.StateDir, f.files); err != nil {
			return fetched{}, err
		}
	}
	return fetched{f.files, f.changed}, nil
}

// fetch is one look at a fleet's folder.
type fetch struct {
	source  fleetSource
	key     ed25519.PublicKey
	from    string
	held    []fleetFile
	files   []fleetFile
	changed []string
	newTag  bool
	faults  []error
}

// one looks at one file, and takes it or the one that is held, or notes why not.
func (f *fetch) one(ctx context.Context, name string) {
	old := f.before(name)
	got, err := f.read(ctx, name, old)
	var fault *fleetError
	if errors.As(err, &fault) && fault.Kind == fleetSignature {
		// Perhaps the file was written after it was read, and before its signature.
		got, err = f.read(ctx, name, old)
	}
	switch {
	case err != nil:
		f.faults = append(f.faults, err)
	case got == nil: // a machine without a file of its own
	case old != nil && got.Serial == old.Serial:
		f.newTag = f.newTag || got.ETag != old.ETag || got.From != old.From
		f.files = append(f.files, *got)
	default:
		words := fmt.Sprintf("%s serial %d", name, got.Serial)
		if old != nil {
			words += fmt.Sprintf(" (before: %d)", old.Serial)
		}
		f.changed = append(f.changed, words)
		f.files = append(f.files, *got)
	}
}

// before is the file that is held, if the key vouches for it: a serial that
// another key signed binds nobody.
func (f *fetch) before(name string) *fleetFile {
	for i, old := range f.held {
		if old.Name == name && verifyFleet(f.key, name, old.Content, old.Signature) == nil {
			return &f.held[i]
		}
	}
	return nil
}

// read gives the file in the folder, or old where that has not changed; nil for
// a machine without a file of its own.
func (f *fetch) read(ctx context.Context, name string, old *fleetFile) (*fleetFile, error) {
	etag := ""
	if old != nil && old.From == f.from {
		etag = old.ETag
	}
	content, newTag, err := f.source(ctx, name, maxFleetFile, etag)
	switch {
	case errors.Is(err, errUnchanged) && old != nil:
		return old, nil
	case errors.Is(err, errUnchanged):
		return nil, &fleetError{fleetUnreachable, name, "the server says it has not changed, but it was never here", "look at the server"}
	case errors.Is(err, fs.ErrNotExist):
		return nil, missing(name, old)
	case err != nil:
		return nil, err
	case old != nil && bytes.Equal(content, old.Content):
		same := *old
		same.ETag, same.From = newTag, f.from
		return &same, nil
	}
	signature, _, err := f.source(ctx, name+".sig", maxSignature, "")
	if errors.Is(err, fs.ErrNotExist) {
		err = &fleetError{fleetSignature, name, "it has no signature beside it, " + name + ".sig", "digime-sync fleet sign " + name}
	}
	if err == nil {
		err = verifyFleet(f.key, name, content, signature)
	}
	if err != nil {
		return nil, err
	}
	file := &fleetFile{Name: name, Content: content, Signature: signature, ETag: newTag, From: f.from, Taken: time.Now().UTC().Truncate(time.Second)}
	if file.Serial, err = fleetSerialOf(name, content); err != nil {
		return nil, err
	}
	return file, newer(file, old)
}

// missing is what it means that a file is not there. One that was there is not
// taken back in silence: whoever can remove it could make a machine forget what
// was said of it alone.
func missing(name string, old *fleetFile) error {
	switch {
	case old != nil:
		return &fleetError{fleetMissing, name, fmt.Sprintf("it is gone, and was there with serial %d", old.Serial), "to withdraw it, sign one that has nothing but a higher serial"}
	case name == fleetCommon:
		return &fleetError{fleetMissing, name, "it is not there", "put it there, signed; or correct config_url"}
	}
	return nil
}

func newer(file, old *fleetFile) error {
	switch {
	case old == nil || file.Serial > old.Serial:
		return nil
	case file.Serial == old.Serial:
		return &fleetError{fleetSerial, file.Name, fmt.Sprintf("its content has changed, but not its serial, %d", file.Serial), "raise the serial and sign it again"}
	}
	return &fleetError{fleetSerial, file.Name, fmt.Sprintf("it is an older one that was put back: it has serial %d, and %d was taken before", file.Serial, old.Serial),
		"to roll back, sign the old content with a higher serial"}
}

// outcome is how the last looks at the fleet's folder went.
type outcome struct {
	Looked  time.Time `json:"looked"`            // when it was last looked
	Since   time.Time `json:"since"`             // from when on it has gone as it did
	Kind    string    `json:"kind,omitempty"`    // of the trouble: a fleetError's
	Trouble string    `json:"trouble,omitempty"` // why nothing was taken, or ""
}

func outcomePath(stateDir string) string { return filepath.Join(stateDir, "fleet", "outcome.json") }

// readOutcome is zero where it was never looked.
func readOutcome(stateDir string) (o outcome) {
	data, err := os.ReadFile(outcomePath(stateDir))
	if err == nil {
		err = json.Unmarshal(data, &o)
	}
	if err != nil {
		return outcome{}
	}
	return o
}

// keepOutcome is for people to read; where it cannot be kept, the log has it.
func keepOutcome(stateDir string, err error) {
	now := time.Now().UTC().Truncate(time.Second)
	before := readOutcome(stateDir)
	o := outcome{Looked: now, Since: before.Since, Kind: fleetKind(err)}
	if err != nil {
		o.Trouble = err.Error()
	}
	if o.Trouble != before.Trouble || o.Since.IsZero() {
		o.Since = now
	}
	if data, err := json.Marshal(o); err == nil {
		_ = store.WriteFile(outcomePath(stateDir), append(data, '\n'), 0o600)
	}
}

// fleetKind is the word for what went wrong that may be shown to others.
func fleetKind(err error) string {
	var fault *fleetError
	var config *ConfigError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &fault):
		return fault.Kind
	case errors.As(err, &config):
		return fleetConfig
	}
	return "this machine"
}

// serials names the files and their serials, for people.
func serials(files []fleetFile) string {
	words := make([]string, 0, len(files))
	for _, f := range files {
		words = append(words, fmt.Sprintf("%s serial %d", f.Name, f.Serial))
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}
