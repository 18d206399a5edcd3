package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// leastInterval keeps a slip of the pen from becoming an attack on the fleet's
// server.
const leastInterval = 10 * time.Second

// fleet checks the keys by which a machine belongs to a fleet, and makes paths
// of them absolute.
func (l *configLoader) fleet(cfg *Config) {
	l.meetingPlace("config_url", &cfg.ConfigURL)
	l.meetingPlace("report_to", &cfg.ReportTo)
	_, err := parseFleetKey(cfg.ConfigKey)
	switch {
	case cfg.ConfigURL != "" && cfg.ConfigKey == "":
		l.fault("config_url", "add config_key, as digime-sync fleet keygen showed it", "needs config_key, by which the fleet's files are known to be genuine")
	case cfg.ConfigKey != "" && err != nil:
		l.fault("config_key", "write it as digime-sync fleet keygen showed it", "%v", err)
	}
	if cfg.ConfigInterval < leastInterval {
		l.fault("config_interval", "write 15m", "must be at least %s", leastInterval)
	}
	if cfg.NewestVersion != "" && !versionForm.MatchString(cfg.NewestVersion) {
		l.fault("newest_version", "write for example 1.4.2", "is not a version")
	}
}

var versionForm = regexp.MustCompile(`^v?[0-9]+(\.[0-9]+){1,2}(-[0-9A-Za-z.-]+)?$`)

// parseFleetKey reads a public key as fleet keygen shows it.
func parseFleetKey(text string) (ed25519.PublicKey, error) {
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("is not a public key of %d bytes in base64", ed25519.PublicKeySize)
	}
	return key, nil
}

// absent notes that a key is missing. Where nobody gives it, and the fleet has
// files, it is theirs to give: the machine's own may lead to the fleet and no more.
func (l *configLoader) absent(key string) {
	if at := l.place(key); at.layer.kind == layerMain && l.fleetFile != "" && !strings.ContainsAny(key, ".[") {
		l.faults = append(l.faults, ConfigFault{File: l.fleetFile, Key: key, Text: "is missing, there and in the machine's own configuration"})
		return
	}
	l.fault(key, "", "is missing")
}

// meetingPlace checks where the fleet's files are: a URL, or a path.
func (l *configLoader) meetingPlace(key string, into *string) {
	text := *into
	if text == "" {
		return
	}
	u, err := url.Parse(text)
	switch {
	case !isURL(text):
		*into = l.absolute(strings.TrimPrefix(text, "file://"))
	case err != nil || u.Hostname() == "" || !possiblePort(u):
		l.fault(key, "write for example https://config.example/digime/", "is not a URL")
	case u.RawQuery != "" || u.Fragment != "":
		l.fault(key, "remove it", "has a query or a fragment in it")
	case !safe(u):
		l.fault(key, "write https://", "must begin with https://; http:// is possible to this very machine only")
	case !strings.HasSuffix(text, "/"):
		*into = text + "/"
	}
}

// isURL tells a URL from a path. file:// is a path.
func isURL(text string) bool {
	scheme, _, found := strings.Cut(text, "://")
	return found && !strings.EqualFold(scheme, "file") && !strings.ContainsAny(scheme, `/\`) && !filepath.IsAbs(text)
}
