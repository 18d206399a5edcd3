package main

import (
	"fmt"
	"time"
)

// checkLayers shows what does not come from the configuration file itself, and
// how the fleet's configuration stands.
func checkLayers(cfg *Config) []finding {
	var list []finding
	for _, s := range cfg.Settings {
		f := finding{Check: "setting", Subject: s.Key, State: checkOK, Value: s.Value, Source: s.File, Managed: s.Managed}
		if s.Line > 0 {
			f.Source = fmt.Sprintf("%s:%d", s.File, s.Line)
		}
		f.Message = fmt.Sprintf("%s (from %s)", plain(s.Value), f.Source)
		if s.Managed {
			f.Message = fmt.Sprintf("%s (managed policy, from %s)", plain(s.Value), f.Source)
		}
		list = append(list, f)
	}
	if cfg.ConfigURL != "" {
		list = append(list, checkFleet(cfg))
	}
	return list
}

func checkFleet(cfg *Config) finding {
	f := finding{Check: "fleet", Subject: shownURL(cfg.ConfigURL), State: checkOK}
	if cfg.Waiting != "" {
		f.State, f.Message, f.Hint = checkFail, cfg.Waiting, "digime-sync fleet fetch"
		return f
	}
	files, err := readTaken(cfg.StateDir)
	if err != nil {
		f.State, f.Message = checkFail, err.Error()
		return f
	}
	for i, file := range files {
		if i > 0 {
			f.Message += ", "
		}
		f.Message += fmt.Sprintf("%s serial %d, taken %s", file.Name, file.Serial, file.Taken.Local().Format(time.DateTime))
	}
	if o := readOutcome(cfg.StateDir); o.Trouble != "" {
		f.State, f.Hint = checkWarn, "digime-sync fleet fetch"
		f.Message += "; since " + o.Since.Local().Format(time.DateTime) + " not renewed: " + o.Trouble
	}
	return f
}
