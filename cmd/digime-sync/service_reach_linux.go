package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// footprint is what of the file system a configuration has the service touch.
type footprint struct {
	config      string   // the configuration file
	write       []string // folders that are written to
	read        []string // files and folders that are read
	credentials []string // names below credentialsDir
	refused     []string // what the fleet names and is not opened for it
}

// roughConfig reads what a configuration says, however little of it can be run,
// with the fleet's layer or without it. Of that only what config_key vouches for
// and what is for this machine is believed: the service's user can write where it
// is kept. The error is a *ConfigError when it cannot be read, or is not YAML.
func roughConfig(path string, withFleet bool, env func(string) (string, bool)) (*Config, error) {
	local, policy, err := localLayers(path)
	if err != nil {
		return nil, &ConfigError{Path: path, Faults: []ConfigFault{unreadable(err)}, err: err}
	}
	known := newConfigLoader(filepath.Dir(path), env).read(slices.Concat(local, policy))
	var fleet []fleetFile
	if withFleet && known.ConfigURL != "" { // without what was last taken, the machine's own still holds
		fleet, _ = goodFleet(cmp.Or(known.StateDir, defaultStateDir()), known.ConfigKey)
		host, _ := hostName()
		fleet = slices.DeleteFunc(fleet, func(f fleetFile) bool { return f.Name != fleetCommon && f.Name != host+".yaml" })
	}
	layers := slices.Concat(local, fleetLayers(fleet), policy)
	l := newConfigLoader(filepath.Dir(path), env)
	cfg := l.read(layers)
	if l.unread {
		return nil, l.err(path, layers)
	}
	return cfg, nil
}

// reachOf reads what a configuration has the service touch, whether or not it
// can be run as it is: keys that cannot be read yet do not matter here. The
// error is a *ConfigError when it cannot be read, or is not YAML.
func reachOf(config string) (footprint, error) {
	all, err := reachWith(config, true)
	if err != nil {
		return footprint{}, err
	}
	own, err := reachWith(config, false)
	if err != nil {
		return footprint{}, err
	}
	all.refuse(own, realPath)
	return all, nil
}

// reachWith is reachOf before anything is refused.
func reachWith(config string, withFleet bool) (footprint, error) {
	cfg, err := roughConfig(config, withFleet, func(name string) (string, bool) {
		if name == "CREDENTIALS_DIRECTORY" {
			return credentialsDir, true
		}
		return os.LookupEnv(name)
	})
	if data, missing := os.ReadFile(config); err != nil && isEmpty(data) && (missing == nil || errors.Is(missing, fs.ErrNotExist)) {
		cfg, err = &Config{}, nil // it is yet to be written
	}
	if err != nil {
		return footprint{}, err
	}
	r := footprint{config: config, read: []string{filepath.Dir(config), cfg.API.CAFile}}
	for _, f := range cfg.Folders {
		r.write = append(r.write, filepath.Clean(f.Path))
	}
	if state := cmp.Or(cfg.StateDir, defaultStateDir()); state != defaultStateDir() {
		r.write = append(r.write, state)
	}
	for _, place := range []string{cfg.ConfigURL, cfg.ReportTo} {
		if place = strings.TrimPrefix(place, "file://"); filepath.IsAbs(place) { // the others are URLs
			r.write = append(r.write, filepath.Clean(place))
		}
	}
	if cfg.EnrolmentFile != "" {
		r.write = append(r.write, filepath.Dir(cfg.EnrolmentFile)) // it is removed when it was read
	}
	for _, c := range cfg.Contracts {
		if name, found := strings.CutPrefix(c.PrivateKeyFile, credentialsDir+"/"); found {
			r.credentials = append(r.credentials, name)
		} else {
			r.read = append(r.read, c.PrivateKeyFile)
		}
	}
	for _, l := range cfg.Libraries {
		if l.Postbox != nil {
			r.read = append(r.read, l.Postbox.PublicKeyFile)
		}
	}
	r.write, r.read, r.credentials = distinct(r.write), distinct(r.read), distinct(r.credentials)
	return r, nil
}

// distinct sorts a list and leaves out what is empty or twice there.
func distinct(list []string) []string {
	list = slices.DeleteFunc(list, func(s string) bool { return s == "" })
	slices.Sort(list)
	return slices.Compact(list)
}

// alwaysLoaded is the credential that the unit itself names.
const alwaysLoaded = "contract.key"

// dropIn is the unit's drop-in that lets the service reach what it is to touch.
// Links are followed: what they lead to must be open too. What is not there is
// passed over by systemd ("-").
func (r footprint) dropIn(resolve func(string) string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "# Made by \"digime-sync service configure\" from %s.\n# It is made anew each time: write what is your own into a file of another name.\n[Service]\n", r.config)
	for _, path := range withTargets(r.write, resolve) {
		if hidden(path) {
			fmt.Fprintf(&b, "BindPaths=%s\n", unitPath("-"+bindable(path)))
		} else {
			fmt.Fprintf(&b, "ReadWritePaths=%s\n", unitPath("-"+path))
		}
	}
	for _, path := range withTargets(r.read, resolve) {
		if hidden(path) {
			fmt.Fprintf(&b, "BindReadOnlyPaths=%s\n", unitPath("-"+bindable(path)))
		}
	}
	for _, name := range r.credentials {
		if name == alwaysLoaded {
			continue
		}
		fmt.Fprintf(&b, "LoadCredential=%s%s:digime-sync.%s\n", name, plainCredential, name)
		fmt.Fprintf(&b, "LoadCredentialEncrypted=%s:/etc/credstore.encrypted/digime-sync.%s\nSetCredential=%s:%s\n", name, name, name, noCredential)
	}
	if strings.ContainsFunc(strings.ReplaceAll(b.String(), "\n", ""), isControl) {
		return "", failure(exitConfig, "rename it", "a path with a control character cannot be opened to the service")
	}
	return b.String(), nil
}

// bindable writes a path of BindPaths=, where a colon separates.
func bindable(path string) string { return strings.ReplaceAll(path, ":", `\:`) }

// withTargets adds to paths what they lead to.
func withTargets(paths []string, resolve func(string) string) []string {
	all := slices.Clone(paths)
	for _, path := range paths {
		all = append(all, resolve(path))
	}
	return distinct(all)
}
