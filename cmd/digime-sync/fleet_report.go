package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/engine"
	"github.com/digime-sync/digime-sync/watcher"
)

// machineReport is what a machine tells the fleet of itself, as HOST.json. There
// are no names in it, of files, folders or libraries, and nothing an error may
// have quoted: what is the matter is said in words of our own, and the machine's
// own status says the rest.
type machineReport struct {
	Host    string    `json:"host"`
	Version string    `json:"version"`
	Time    time.Time `json:"time"`
	Every   int       `json:"every"` // seconds until the next report, at the latest
	// What needs a person, in words; empty when nothing does.
	Trouble []string `json:"trouble"`
	// Files by state.
	Files map[store.State]int `json:"files"`
	// Libraries by state: ok, held, none.
	Libraries     map[string]int    `json:"libraries"`
	Folders       map[string]int    `json:"folders"` // by state: ok, missing, …
	OldestQueued  *time.Time        `json:"oldest_queued,omitempty"`
	LastDelivered *time.Time        `json:"last_delivered,omitempty"`
	ConsentEnds   *time.Time        `json:"consent_ends,omitempty"` // the first that ends within two weeks
	ConsentSoon   int               `json:"consent_soon,omitempty"` // how many end within two weeks
	Fleet         map[string]uint64 `json:"fleet,omitempty"`        // serials of common and own
}

// consentSoon is how long before its end a consent is reported.
const consentSoon = 14 * 24 * time.Hour

// words tells one trouble from another.
func (r *machineReport) words() string { return strings.Join(r.Trouble, "\n") }

// newReport makes of the status a report without the counts of files.
func newReport(s engine.Status, cfg *Config, now time.Time) (machineReport, error) {
	host, err := hostName()
	if err != nil {
		return machineReport{}, err
	}
	r := machineReport{
		Host: host, Version: s.Version, Time: now.UTC().Truncate(time.Second), Every: int((cfg.ConfigInterval * 6 / 5).Seconds()),
		Trouble: []string{}, Files: map[store.State]int{}, Libraries: map[string]int{}, Folders: map[string]int{},
	}
	for _, l := range s.Libraries {
		r.Libraries[l.State]++
		if l.RefreshExpires != nil && l.State == "ok" && l.RefreshExpires.Before(now.Add(consentSoon)) {
			r.ConsentSoon++
			if r.ConsentEnds == nil || l.RefreshExpires.Before(*r.ConsentEnds) {
				r.ConsentEnds = l.RefreshExpires
			}
		}
	}
	for _, f := range s.Folders {
		state := f.State
		if state == watcher.StateUnseen { // which passes by itself
			state = watcher.StateOK
		}
		r.Folders[state]++
	}
	for _, f := range heldFleet(cfg) {
		if r.Fleet == nil {
			r.Fleet = map[string]uint64{}
		}
		name := "own"
		if f.Name == fleetCommon {
			name = "common"
		}
		r.Fleet[name] = f.Serial
	}
	return r, nil
}

func heldFleet(cfg *Config) []fleetFile {
	if cfg.ConfigURL == "" {
		return nil
	}
	files, _ := readTaken(cfg.StateDir) // none is said as the fleet's trouble
	return files
}

// standing is what a daemon knows of itself besides its engine's status.
type standing struct {
	refused  bool // a changed configuration
	inEngine bool // the status says trouble of its own
	enrol    bool // an enrolment file was not taken
}

// addTrouble puts into words what needs a person.
func (r *machineReport) addTrouble(s engine.Status, cfg *Config, is standing) {
	say := func(so bool, format string, args ...any) {
		if so {
			r.Trouble = append(r.Trouble, fmt.Sprintf(format, args...))
		}
	}
	say(is.refused, "a changed configuration was refused")
	say(is.inEngine, "the service is in trouble")
	say(is.enrol, "an enrolment file was not taken")
	if cfg.ConfigURL != "" {
		kind := readOutcome(cfg.StateDir).Kind
		say(kind != "", "the fleet's configuration was not taken: %s", kind)
	}
	say(cfg.Waiting != "", "the fleet's configuration has not been here yet")
	say(s.ClockSkew != "", "the clock is wrong")
	all := slices.ContainsFunc(s.Paused, func(p store.Pause) bool { return p.Library == "" })
	say(all, "all libraries are paused")
	say(!all && len(s.Paused) > 0, "libraries that are paused: %d", len(s.Paused))
	away := 0
	for state, n := range r.Folders {
		if state != watcher.StateOK {
			away += n
		}
	}
	say(away > 0, "folders that cannot be watched: %d", away)
	say(r.Libraries["held"] > 0, "libraries that are held: %d", r.Libraries["held"])
	say(r.Libraries["none"] > 0, "libraries without a token: %d", r.Libraries["none"])
	say(r.ConsentSoon > 0, "consents that end within two weeks: %d", r.ConsentSoon)
}

// addCounts goes through all files, holding none of them.
func (r *machineReport) addCounts(s *store.Store, holds map[string]store.Hold) error {
	err := s.Files("", func(f store.File) error {
		state := f.State
		waits := state == store.Queued || state == store.Retrying
		if _, held := holds[f.Library]; held && waits {
			state = store.Held
		}
		r.Files[state]++
		if waits && !f.QueuedAt.IsZero() && (r.OldestQueued == nil || f.QueuedAt.Before(*r.OldestQueued)) {
			at := f.QueuedAt.UTC()
			r.OldestQueued = &at
		}
		if !f.DeliveredAt.IsZero() && (r.LastDelivered == nil || f.DeliveredAt.After(*r.LastDelivered)) {
			at := f.DeliveredAt.UTC()
			r.LastDelivered = &at
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("count files: %w", err)
	}
	return nil
}

// putReport puts the report where the configuration says, whole or not at all.
func putReport(ctx context.Context, cfg *Config, r machineReport) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	data = append(data, '\n')
	if isURL(cfg.ReportTo) {
		return sendReport(ctx, cfg, r.Host+".json", data)
	}
	return onShare(ctx, cfg.ReportTo, func() error {
		return store.WriteFile(filepath.Join(cfg.ReportTo, r.Host+".json"), data, 0o644)
	})
}

func sendReport(ctx context.Context, cfg *Config, name string, data []byte) error {
	client, err := fleetClient(cfg)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, cfg.ReportTo+url.PathEscape(name), bytes.NewReader(data))
	if err != nil {
		return errors.New("report_to is not a URL") // its text may hold a password
	}
	req.Header.Set("User-Agent", "digime-sync/"+version)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return errors.New(cause(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("the server answers %s", resp.Status)
	}
	return nil
}
