package main

import (
	"fmt"
	"strings"

	"github.com/digime-sync/digime-sync/packaging"
)

// The unit is the packages' own, with the paths of this program and configuration
// in the place of the packages'.

// renderUnit returns the unit that runs exe with the configuration. What lies
// where the sandbox hides everything is let in.
func renderUnit(exe, config string) (string, error) {
	if strings.ContainsFunc(exe+config, isControl) {
		return "", fmt.Errorf("%q, %q: a path in a unit cannot have control characters", exe, config)
	}
	unit := strings.ReplaceAll(packaging.Unit, packaging.LinuxConfig, unitArgument(config))
	unit = strings.ReplaceAll(unit, "="+packaging.LinuxProgram+" ", "="+unitArgument(exe)+" ")
	if hidden(exe) {
		unit = strings.Replace(unit, "\n[Install]", "BindReadOnlyPaths="+unitPath(exe)+"\n\n[Install]", 1)
	}
	return unit, nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// unitArgument writes an argument of ExecStart= as systemd.service(5) reads it:
// % and $ are doubled, and quotes keep it in one piece.
func unitArgument(s string) string {
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$").Replace(s)
	if quoted == s && !strings.ContainsAny(s, " '") {
		return s
	}
	return `"` + quoted + `"`
}

// unitPath writes a path of a list of paths as systemd.exec(5) reads it.
func unitPath(s string) string {
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%").Replace(s)
	if quoted == s && !strings.ContainsAny(s, " '") {
		return s
	}
	return `"` + quoted + `"`
}

// hiddenBelow are the folders that the unit hides (ProtectHome=, PrivateTmp=).
var hiddenBelow = []string{"/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/"}

// hidden says whether the unit's sandbox hides a path.
func hidden(path string) bool {
	for _, top := range hiddenBelow {
		if strings.HasPrefix(path+"/", top) {
			return true
		}
	}
	return false
}

// unitConfig finds the configuration in a unit of ours; "" in another one.
func unitConfig(unit string) string {
	for line := range strings.Lines(unit) {
		command, found := strings.CutPrefix(strings.TrimSpace(line), "ExecStart=")
		if !found {
			continue
		}
		_, config, found := strings.Cut(command, " run --config ")
		if !found {
			return ""
		}
		if inner, quoted := strings.CutPrefix(config, `"`); quoted {
			config = strings.NewReplacer(`\\`, `\`, `\"`, `"`, "%%", "%", "$$", "$").Replace(strings.TrimSuffix(inner, `"`))
		}
		return config
	}
	return ""
}
