package main

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/digime-sync/digime-sync/store"
)

const (
	// startSpread keeps the machines that get their power back at the same moment
	// from asking at the same moment.
	startSpread = 10 * time.Second
	// firstRetry is how soon a look that failed is repeated, at first.
	firstRetry = time.Minute
	// waitingRetry is the same for a machine that has no configuration yet.
	waitingRetry = 5 * time.Second
	// troubleLook is how often it is looked whether there is other trouble to report.
	troubleLook = 30 * time.Second
)

// nextLook is how long to wait for the next look at the fleet's folder: the
// interval give or take a fifth, less after failures, soon where there is no
// configuration at all. dice is from 0 to 1.
func nextLook(interval time.Duration, failures int, waiting bool, dice float64) time.Duration {
	wait := interval
	if failures > 0 {
		first := firstRetry
		if waiting {
			first = waitingRetry
		}
		wait = min(interval, first<<min(failures-1, 10))
	}
	return time.Duration(float64(wait) * (0.8 + 0.4*dice))
}

// fleetLoop looks at the fleet's folder, takes enrolment files and reports, at
// intervals.
type fleetLoop struct {
	path   string // of the configuration
	config func() *Config
	vault  *store.Vault
	audit  func(event, reason string) error
	reload func(ctx context.Context) error
	status func() (machineReport, error) // without counts of files
	counts func(*machineReport) error    // adds them
	log    *slog.Logger
	again  chan struct{} // somebody wants a look now

	failures int    // only Run's, as the next two
	known    string // serials of the files that were last found good
	reported string // the trouble that was last reported

	mu      sync.Mutex
	trouble [3]string // of fetching, enrolling, reporting
}

// Trouble says what is the matter with the fleet's configuration, an enrolment
// file or the report; "" when nothing is.
func (f *fleetLoop) Trouble() string {
	return strings.Join(f.Troubles(), "\n")
}

// Troubles are the same, one by one.
func (f *fleetLoop) Troubles() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return said(f.trouble[:]...)
}

// said are those of the texts that say something.
func said(texts ...string) []string {
	return slices.DeleteFunc(slices.Clone(texts), func(text string) bool { return text == "" })
}

func (f *fleetLoop) has(which int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.trouble[which] != ""
}

// The places in trouble.
const (
	troubleFetch = iota
	troubleEnrol
	troubleReport
)

// Run looks and reports until ctx ends.
func (f *fleetLoop) Run(ctx context.Context) error {
	cfg := f.config()
	first := time.Duration(rand.Float64() * float64(startSpread))
	if cfg.Waiting != "" {
		first = 0
	}
	look := time.NewTimer(first)
	defer look.Stop()
	trouble := time.NewTicker(troubleLook)
	defer trouble.Stop()
	if held, err := readTaken(cfg.StateDir); err == nil {
		f.known = serials(held)
	}
	f.enrol()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.again:
		case <-look.C:
		case <-trouble.C:
			f.report(ctx, false)
			continue
		}
		f.fetch(ctx)
		f.enrol()
		f.report(ctx, true)
		cfg := f.config()
		look.Reset(nextLook(cfg.ConfigInterval, f.failures, cfg.Waiting != "", rand.Float64()))
	}
}

// LookNow has Run look and report at once, as after a change of the
// configuration.
func (f *fleetLoop) LookNow() {
	select {
	case f.again <- struct{}{}:
	default: // it is about to
	}
}

// fetch looks at the fleet's folder. What is said of a failure, once, goes to
// the log, the status and the audit log.
func (f *fleetLoop) fetch(ctx context.Context) {
	waiting := f.config().Waiting
	cfg, err := loadLocal(f.path) // also where a change of it is not taken over before the fleet's is here
	if err != nil {
		cfg = f.config()
	}
	if cfg.ConfigURL == "" {
		f.failures = 0
		f.note(troubleFetch, "")
		return
	}
	got, err := fetchFleet(ctx, cfg, f.path)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		f.failures++
		words := "the fleet's configuration was not taken, what held before still holds: " + err.Error()
		if waiting != "" {
			words = waiting + ", and no folder of it is watched: " + err.Error()
		}
		if f.note(troubleFetch, words) {
			f.log.Error("the fleet's configuration was not taken, what held before still holds", "err", err)
			f.audited("fleet configuration refused", err.Error())
		}
	default:
		f.failures = 0
		f.note(troubleFetch, "")
		if now := serials(got.Files); now != f.known { // fleet fetch may have taken it
			f.known = now
			f.log.Info("the fleet's configuration was taken", "serials", now)
			f.audited("fleet configuration taken", now)
		}
		if len(got.Changed) > 0 {
			if err := f.reload(ctx); err != nil && ctx.Err() == nil {
				f.log.Error("the fleet's configuration was not taken over, the one before still holds", "err", err)
			}
		}
	}
}

func (f *fleetLoop) audited(event, reason string) {
	if err := f.audit(event, reason); err != nil {
		f.log.Error("the audit log could not be written", "err", err)
	}
}

// note keeps a trouble and says whether it is another one than before.
func (f *fleetLoop) note(which int, words string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	changed := f.trouble[which] != words
	f.trouble[which] = words
	return changed
}

// enrol takes the enrolment files that are there.
func (f *fleetLoop) enrol() {
	cfg := f.config()
	var trouble []string
	for _, path := range enrolmentFiles(cfg) {
		e, err := enrolFrom(cfg, f.vault, path)
		for _, words := range e.Warnings {
			f.log.Warn("an enrolment file is not kept secret", "why", words)
		}
		for _, library := range e.Imported {
			f.log.Info("token imported from an enrolment file", "library", library)
			f.audited("token enrolled", "library "+library)
		}
		if err = cmp.Or(err, e.err()); err != nil {
			trouble = append(trouble, "enrolment file "+path+": "+err.Error())
		}
	}
	words := strings.Join(trouble, "\n")
	if f.note(troubleEnrol, words) && words != "" {
		f.log.Error("not all of an enrolment file was taken", "err", words)
	}
}

// report writes this machine's report; where always is false, only if there is
// other trouble than was reported.
func (f *fleetLoop) report(ctx context.Context, always bool) {
	cfg := f.config()
	if cfg.ReportTo == "" {
		f.note(troubleReport, "")
		return
	}
	r, err := f.status()
	if err == nil && !always && f.reported == r.words() {
		return
	}
	if err == nil {
		err = f.counts(&r)
	}
	if err == nil {
		err = putReport(ctx, cfg, r)
	}
	words := ""
	if err != nil && ctx.Err() == nil {
		words = "the report could not be put to " + shownURL(cfg.ReportTo) + ": " + err.Error()
	}
	if f.note(troubleReport, words) && words != "" {
		f.log.Error("the report could not be put", "err", err)
	}
	if err == nil {
		f.reported = r.words()
	}
}

// newFleetLoop makes the loop of a daemon.
func newFleetLoop(d *daemon) *fleetLoop {
	f := &fleetLoop{path: d.path, config: d.config, vault: d.parts.vault, reload: d.reload, log: slog.Default(), again: make(chan struct{}, 1)}
	f.audit = func(event, reason string) error { return d.parts.store.Audit(event, store.File{Reason: reason}) }
	f.status = func() (machineReport, error) {
		cfg := d.config()
		s, err := d.status(cfg.StateDir, true) // no file lies there, so that none is listed
		if err != nil {
			return machineReport{}, err
		}
		r, err := newReport(s, cfg, time.Now())
		d.mu.Lock()
		refused := d.refused != nil
		d.mu.Unlock()
		r.addTrouble(s, cfg, standing{refused, !refused && strings.TrimSuffix(s.Trouble, f.Trouble()) != "", f.has(troubleEnrol)})
		return r, err
	}
	f.counts = func(r *machineReport) error {
		holds, err := d.parts.store.Holds()
		if err != nil {
			return err
		}
		return r.addCounts(d.parts.store, holds)
	}
	return f
}

// config is the configuration the daemon runs with.
func (d *daemon) config() *Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cfg
}
