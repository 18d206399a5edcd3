// Package packaging holds what installs the service. The files that both the
// packages and the command "service install" put on a machine are embedded here,
// so that there is one of each.
package packaging

import _ "embed"

// The places where the packages put the program and its configuration, which the
// unit and the plist name.
const (
	LinuxProgram = "/usr/bin/digime-sync"
	LinuxConfig  = "/etc/digime-sync/config.yaml"
	MacProgram   = "/usr/local/bin/digime-sync"
	MacConfig    = "/Library/Application Support/digime-sync/config.yaml"
)

// MacLabel is what launchd knows the service by, and what the plist is called.
const MacLabel = "me.digi.digime-sync"

// Unit is the systemd unit, complete and to be used as it is.
//
//go:embed linux/digime-sync.service
var Unit string

// ConfigureUnit is the systemd unit that opens to the service what its
// configuration names; PathUnit starts it when the configuration has changed.
// Both are complete.
//
//go:embed linux/digime-sync-configure.service
var ConfigureUnit string

// PathUnit starts ConfigureUnit.
//
//go:embed linux/digime-sync-configure.path
var PathUnit string

// Plist is the launchd plist, complete and to be used as it is.
//
//go:embed macos/me.digi.digime-sync.plist
var Plist string
