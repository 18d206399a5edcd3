// Package packaging holds what installs the service. The files that both the
// packages and the command "service install" put on a machine are embedded here,
// so that there is one of each.
package packaging

import _ "embed"

// Unit is the systemd unit, complete and to be used as it is.
//
//go:embed linux/digime-sync.service
var Unit string
