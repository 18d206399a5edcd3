package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The configuration has layers. Each goes before those above it:
//
//	config.yaml             the configuration file
//	conf.d/*.yaml           beside it, in the order of their names
//	common.yaml, HOST.yaml  the fleet's, which were last found good (fleet.go)
//	policy                  of whoever manages the machine (policy.go)
//
// A later layer's text, number or list takes the place of an earlier one's;
// groups of keys and of names are put together key by key, and so are folders
// with the same path. Other folders are added.

// layerKind says where a layer comes from.
type layerKind int

const (
	layerMain layerKind = iota
	layerConfD
	layerFleet
	layerPolicy
)

// layer is one of the configuration's.
type layer struct {
	kind     layerKind
	file     string        // what faults call it; "" for the configuration file itself
	data     []byte        // its text, or nil when there is none,
	root     *yaml.Node    // but this
	faults   []ConfigFault // why it cannot be read
	lineless bool          // it is no text
}

// emptyRoot is a configuration without keys.
func emptyRoot() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"} }

// forbids says why a key may not stand in the layer, or "".
func (l *layer) forbids(tag reflect.StructTag, name string) string {
	switch {
	case l.kind == layerFleet && tag.Get("local") != "":
		return "can be set on the machine itself only, not by the fleet"
	case l.kind != layerFleet && name == "serial":
		return "is possible in the fleet's files only"
	}
	return ""
}

// LoadConfig reads the configuration file, the layers over it and the key files
// they name, and changes nothing. The error is a *ConfigError with everything
// that is wrong.
func LoadConfig(path string) (*Config, error) { return loadConfig(path, nil) }

// loadConfig reads the configuration with these files of the fleet in the place
// of those that were last found good, unless they are nil.
func loadConfig(path string, fleet []fleetFile) (*Config, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find the folder of %s: %w", path, err)
	}
	local, policy, err := localLayers(path)
	if err != nil {
		return nil, &ConfigError{Path: path, Faults: []ConfigFault{unreadable(err)}, err: err}
	}
	own := newConfigLoader(filepath.Dir(abs), os.LookupEnv)
	known := own.read(slices.Concat(local, policy))
	waiting, held := "", known.ConfigURL != "" && fleet == nil
	if held {
		fleet, err = goodFleet(cmp.Or(known.StateDir, defaultStateDir()), known.ConfigKey)
		if err != nil {
			waiting = err.Error()
		}
	}
	layers := slices.Concat(local, fleetLayers(fleet), policy)
	l := newConfigLoader(filepath.Dir(abs), os.LookupEnv)
	cfg := l.read(layers)
	if waiting != "" && !l.unread && len(l.faults) == 0 {
		return l.waiting(cfg, path, layers, waiting)
	}
	if !l.unread {
		l.complete(cfg)
	}
	l.readFiles(cfg)
	if held && waiting == "" && len(l.faults) > 0 && len(own.faults) == 0 {
		// A better one comes the same way, if there is somebody to fetch it.
		return l.waiting(known, path, layers, "with the fleet's last good configuration it cannot be run: "+l.err(path, layers).Error())
	}
	cfg.Settings = l.elsewhere()
	return cfg, orNothing(&cfg, l.err(path, layers))
}

// loadAlone reads a configuration without the layers over it, as that of a demo,
// which no policy is meant for.
func loadAlone(path string) (*Config, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find the folder of %s: %w", path, err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &ConfigError{Path: path, Faults: []ConfigFault{unreadable(err)}, err: err}
	}
	layers := []*layer{{data: data}}
	l := newConfigLoader(filepath.Dir(abs), os.LookupEnv)
	cfg := l.load(layers)
	l.readFiles(cfg)
	return cfg, orNothing(&cfg, l.err(path, layers))
}

// ready says that there is nothing to do yet, for a command that would do nothing
// without a word.
func (cfg *Config) ready() error {
	if cfg.Waiting == "" || len(cfg.Folders) > 0 {
		return nil
	}
	return failure(exitHeld, "digime-sync fleet fetch", "%s, and without it there is nothing to do", cfg.Waiting)
}

// orNothing takes the configuration away when there is an error.
func orNothing(cfg **Config, err error) error {
	if err != nil {
		*cfg = nil
	}
	return err
}

// waiting is the configuration until the fleet's has been here: what there is,
// if that is complete; else only what leads to the fleet's. A daemon runs with
// it, says what it waits for, and watches no folder.
func (l *configLoader) waiting(cfg *Config, path string, layers []*layer, why string) (*Config, error) {
	if len(l.faults) == 0 {
		l.complete(cfg)
		l.readFiles(cfg)
	}
	if len(l.faults) > 0 {
		l.faults = nil
		cfg = &Config{
			ApplicationID: cmp.Or(cfg.ApplicationID, "not-known-yet"), StateDir: cfg.StateDir, API: cfg.API, Log: cfg.Log,
			ConfigURL: cfg.ConfigURL, ConfigKey: cfg.ConfigKey, ConfigInterval: cfg.ConfigInterval,
			EnrolmentFile: cfg.EnrolmentFile, ReportTo: cfg.ReportTo, NewestVersion: cfg.NewestVersion,
		}
		l.leading(cfg)
	}
	cfg.Waiting, cfg.Settings = why, l.elsewhere()
	return cfg, orNothing(&cfg, l.err(path, layers))
}

// localLayers are those of the machine itself: config.yaml with conf.d, and the
// policy. The error is why config.yaml or the policy cannot be read; config.yaml
// may be missing where a policy stands in for it.
func localLayers(path string) (local, policy []*layer, err error) {
	if err := policyClosed(); err != nil {
		return nil, nil, err
	}
	policy = policyLayers()
	main := &layer{kind: layerMain}
	main.data, err = os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(policy) > 0:
		main.root = emptyRoot()
	case err != nil:
		return nil, nil, err
	case main.data == nil:
		main.data = []byte{}
	}
	return append([]*layer{main}, folderLayers(layerConfD, filepath.Join(filepath.Dir(path), "conf.d"))...), policy, nil
}

// folderLayers are the files of conf.d or policy.d. One that ends in .yml would
// not be read without a word, so that is said.
func folderLayers(kind layerKind, dir string) []*layer {
	entries, err := os.ReadDir(dir)
	var list []*layer
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		list = append(list, &layer{kind: kind, file: dir, root: emptyRoot(), lineless: true, faults: []ConfigFault{unreadable(err)}})
	}
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if strings.HasPrefix(e.Name(), ".") || ext != ".yaml" && ext != ".yml" {
			continue
		}
		l := &layer{kind: kind, file: filepath.Join(dir, e.Name())}
		if ext == ".yml" {
			l.root = emptyRoot()
			l.faults = []ConfigFault{{Text: "the name ends in .yml, and only .yaml is read", Hint: "rename it"}}
		} else if l.data, err = readRegular(l.file, 0, maxLocalFile); err != nil {
			l.root, l.faults = emptyRoot(), []ConfigFault{unreadable(err)}
		}
		if l.data == nil && l.root == nil {
			l.root = emptyRoot()
		}
		list = append(list, l)
	}
	return list
}

// elsewhere lists the values that other layers than the configuration file have
// given, in the order of the layers.
func (l *configLoader) elsewhere() []Setting {
	var list []Setting
	for key, value := range l.settings {
		at := l.lines[key]
		if at.layer.kind == layerMain || key == "serial" {
			continue
		}
		list = append(list, Setting{Key: key, Value: value, File: at.layer.file, Line: at.line, Managed: at.layer.kind == layerPolicy})
	}
	slices.SortFunc(list, func(a, b Setting) int {
		return cmp.Or(cmp.Compare(l.lines[a.Key].layer.kind, l.lines[b.Key].layer.kind), cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key))
	})
	return list
}

// written is a value as it stands in the configuration, without the password
// of a URL.
func written(n *yaml.Node) string {
	if n.Kind == yaml.SequenceNode {
		var items []string
		for _, item := range n.Content {
			items = append(items, written(resolved(item)))
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	if u, err := url.Parse(n.Value); strings.Contains(n.Value, "@") && (err != nil || u.User != nil) {
		if err != nil {
			return "(not shown)"
		}
		return u.Redacted()
	}
	return n.Value
}

// layerStamp tells one state of the layers on this machine from another. "" when
// there is no configuration. The fleet's files are not among them: whoever takes
// those says so.
func layerStamp(path string) string {
	main, policy := fileStampOf(path), policyStamp()
	if main == "" && policy == "" {
		return ""
	}
	return main + folderStamp(filepath.Join(filepath.Dir(path), "conf.d")) + policy
}

func fileStampOf(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s %d %d %s\n", path, info.Size(), info.ModTime().UnixNano(), info.Mode())
}

func folderStamp(dir string) (stamp string) {
	entries, _ := os.ReadDir(dir) // none is a state too
	for _, e := range entries {
		stamp += fileStampOf(filepath.Join(dir, e.Name()))
	}
	return stamp
}

// loadLocal reads what leads to the fleet's configuration and to a running
// daemon, from a configuration that may otherwise be bad.
func loadLocal(path string) (*Config, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find the folder of %s: %w", path, err)
	}
	local, policy, err := localLayers(path)
	if err != nil {
		return nil, &ConfigError{Path: path, Faults: []ConfigFault{unreadable(err)}, err: err}
	}
	layers := slices.Concat(local, policy)
	l := newConfigLoader(filepath.Dir(abs), os.LookupEnv)
	cfg := l.read(layers)
	if l.unread {
		return nil, l.err(path, layers)
	}
	l.faults = nil
	l.leading(cfg)
	return cfg, orNothing(&cfg, l.err(path, layers))
}

// leading checks what leads to the fleet's configuration.
func (l *configLoader) leading(cfg *Config) {
	if cfg.StateDir == "" {
		cfg.StateDir = defaultStateDir()
	}
	l.api(cfg)
	l.fleet(cfg)
	l.caFile(cfg)
}

// stateDirOf finds the state folder in a configuration that may be bad.
func stateDirOf(path string) string {
	cfg, err := loadLocal(path)
	if err != nil {
		return defaultStateDir()
	}
	return cfg.StateDir
}

// isEmpty says whether a text has nothing but blank lines and comments.
func isEmpty(data []byte) bool {
	for line := range bytes.Lines(data) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return true
}
