package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
)

// lookEvery is how often held lanes are looked at for a new token, and missing
// folders for their return.
const lookEvery = 2 * time.Second

// drain starts every push. It owns the lanes; pushes report on done. With once
// it ends when nothing more can be pushed now; with only, these paths alone are
// pushed.
func (e *Engine) drain(ctx context.Context, once bool, only map[string]bool) error {
	now := time.Now()
	d := &drainer{engine: e, once: once, only: only, began: now, lanes: map[string]*lane{}, done: make(chan outcome), probed: make(chan error)}
	e.single.Store(once)
	e.host.anew(now)
	if err := d.begin(ctx); err != nil {
		return err
	}
	fault := d.look(time.Now())
	for fault == nil && ctx.Err() == nil {
		e.beat()
		fault = d.forgive(d.fill(ctx, time.Now()), time.Now())
		if fault != nil || once && d.running == 0 && !e.host.undecided() {
			break
		}
		fault = d.wait(ctx)
	}
	for d.running > 0 { // each ends soon by ctx, and says what became of it
		d.running--
		if o := <-d.done; fault == nil {
			fault = d.forgive(o.fault, time.Now())
		}
	}
	if d.probing {
		<-d.probed // ended by ctx, too
		e.host.abandoned()
	}
	return fault
}

// drainer is the state of drain's goroutine.
type drainer struct {
	engine  *Engine
	once    bool
	began   time.Time
	clock   clock
	only    map[string]bool // nil: everything
	lanes   map[string]*lane
	order   []string // of the lanes, for taking turns
	turn    int
	running int
	silent  int             // of those that run
	heard   time.Time       // when a push was last answered
	away    map[string]bool // folders that are missing: their files are passed over
	looked  time.Time
	done    chan outcome
	probing bool // of the host; probed tells its end
	probed  chan error
}

// recover makes a lane for everything that is queued, and holds those that
// were held.
func (d *drainer) recover() error {
	names, err := d.engine.Store.Lanes()
	if err != nil {
		return fmt.Errorf("read queues: %w", err)
	}
	holds, err := d.engine.Store.Holds()
	if err != nil {
		return fmt.Errorf("read holds: %w", err)
	}
	for _, name := range names {
		d.lane(name)
	}
	if d.only == nil {
		if err := d.engine.tryHeldFiles(); err != nil {
			return fmt.Errorf("read held files: %w", err)
		}
	}
	for name := range holds {
		// A hold does not outlive a restart unproven: one file finds out.
		d.lane(name).failures = 1
	}
	return nil
}

// tryHeldFiles makes the files due that were held one by one: a start, or a
// changed configuration, may have mended what held them. Those in doubt, which
// have no next attempt, stay with a person.
func (e *Engine) tryHeldFiles() error {
	return e.Store.Unfinished(func(f store.File) error {
		e.beat() // with very many of them this takes minutes
		if f.State != store.Held || !f.NextAttempt.After(time.Now()) {
			return nil
		}
		return e.storeFault(e.Store.Defer(f, time.Now()))
	})
}

func (d *drainer) lane(name string) *lane {
	l := d.lanes[name]
	if l == nil {
		l = &lane{name: name, running: map[string]*flight{}}
		d.lanes[name] = l
		d.order = append(d.order, name)
	}
	return l
}

// fill starts pushes while there is room, one file of each lane in turn, so
// that a lane with 10,000 files does not starve one with a single file.
func (d *drainer) fill(ctx context.Context, now time.Time) error {
	d.probe(ctx, now)
	d.notice(now)
	idle := 0
	for d.room(now) && idle < len(d.order) && ctx.Err() == nil {
		d.turn = (d.turn + 1) % len(d.order)
		l := d.lanes[d.order[d.turn]]
		started, err := d.start(ctx, l, now)
		if err != nil {
			return err
		}
		if started {
			idle = 0
		} else {
			idle++
		}
	}
	return nil
}

// start pushes the lane's next file if one is due and the lane may.
func (d *drainer) start(ctx context.Context, l *lane, now time.Time) (bool, error) {
	if !l.ready(now) || d.stuck(l) || d.engine.paused(l.name) {
		return false, nil
	}
	f, due, ok, err := d.engine.Store.Next(l.name, now, func(path string) bool {
		return l.running[path] != nil || d.only != nil && !d.only[path] || len(d.away) > 0 && d.isAway(path)
	})
	if err != nil {
		return false, fmt.Errorf("read queue: %w", err)
	}
	l.empty, l.next = !ok, due
	if !ok || due.After(now) {
		return false, nil
	}
	fl := &flight{began: now}
	l.running[f.Path] = fl
	d.running++
	round := d.engine.host.trust()
	go func() {
		o := d.engine.carry(ctx, f, fl.move)
		o.round = round
		d.done <- o
	}()
	return true, nil
}

// probe asks a host that could not be reached whether it is back, if that is due.
func (d *drainer) probe(ctx context.Context, now time.Time) {
	if !d.engine.host.startProbe(now) {
		return
	}
	d.probing = true
	go func() { d.probed <- d.engine.Client.Reach(ctx) }()
}

// learnHost takes in what a probe found. What is not a fault of the host, such
// as a key set that is not where it was, is for the pushes to find out.
func (d *drainer) learnHost(ctx context.Context, err error, now time.Time) {
	d.probing = false
	e := d.engine
	var api *digime.Error
	if err != nil && (!errors.As(err, &api) || ctx.Err() != nil) {
		e.host.abandoned()
		return
	}
	if api != nil && !api.Host {
		api = nil
	}
	before := e.host.outage()
	hint := ""
	if api != nil {
		hint = passingHint(api)
	}
	switch news := e.host.probed(api, hint, now); {
	case !news:
	case api == nil:
		e.Log.Info("digi.me answers again", "since", before.Since, "away", wallSince(before.Since, now).Round(time.Second))
	default:
		o := e.host.outage()
		e.Log.Warn("digi.me cannot be reached; nothing is lost, the files wait", "since", o.Since, "why", o.Reason, "next", o.Next)
	}
}

// wait blocks until something may have changed for fill.
func (d *drainer) wait(ctx context.Context) error {
	timer := time.NewTimer(d.sleep(time.Now()))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
		return d.look(time.Now())
	case <-d.engine.signal:
		d.wake()
	case err := <-d.probed:
		d.learnHost(ctx, err, time.Now())
	case o := <-d.done:
		d.running--
		return d.learn(o, time.Now())
	}
	return nil
}

// sleep returns how long nothing happens by itself.
func (d *drainer) sleep(now time.Time) time.Duration {
	wake := d.looked.Add(lookEvery)
	if at := d.engine.host.wait(); !at.IsZero() && at.Before(wake) {
		wake = at
	}
	if !d.room(now) {
		return wake.Sub(now) // an outcome or a look comes before the lanes matter
	}
	for _, l := range d.lanes {
		if at := l.wait(); !at.IsZero() && at.Before(wake) && !d.engine.paused(l.name) {
			wake = at
		}
	}
	return wake.Sub(now)
}

// wake takes over the lanes that intake and people called.
func (d *drainer) wake() {
	d.engine.mu.Lock()
	defer d.engine.mu.Unlock()
	for name, kicked := range d.engine.woken {
		l := d.lane(name)
		l.empty, l.next = false, time.Time{}
		if kicked && l.held {
			l.held, l.failures = false, 1 // one file finds out
		}
		if kicked {
			l.paused = time.Time{}
		}
	}
	clear(d.engine.woken)
}

// wake tells the drain that a lane has something new to push; kick, that a
// person wants it tried now whatever it waits for.
func (e *Engine) wake(lane string, kick bool) {
	e.mu.Lock()
	e.woken[lane] = e.woken[lane] || kick
	e.mu.Unlock()
	if kick {
		e.host.hinted(time.Now())
	}
	e.call()
}

// call makes the drain look around.
func (e *Engine) call() {
	select {
	case e.signal <- struct{}{}:
	default:
	}
}

// learn takes in what a push said, and writes down a hold that begins or ends.
func (d *drainer) learn(o outcome, now time.Time) error {
	l := d.lanes[o.lane]
	held, was := l.held, l.held || l.failures > 0
	l.learn(o, now)
	e := d.engine
	switch {
	case o.unreached != nil:
		news := e.host.failed(o.round, o.unreached, passingHint(o.unreached), now)
		if news && d.once { // which does not wait
			e.host.hinted(now)
		}
	case o.answers || o.reached:
		d.heard = now
		e.host.answered(now)
	}
	switch {
	case o.fault != nil:
		if err := e.storeFault(o.fault); err != nil || d.once {
			return cmp.Or(err, o.fault)
		}
		l.paused = now.Add(backoff(5)) // the disk is full: all wait some seconds
	case o.hold != nil && held: // a push that was under way beside the one that held it
	case o.hold != nil:
		e.Log.Warn("library held", "library", o.lane, "reason", o.hold.Reason, "code", o.hold.Code)
		return e.storeFault(e.Store.SetHold(*o.hold))
	case o.answers && was && !held:
		e.Log.Info("library works again", "library", o.lane)
		return e.storeFault(e.Store.ClearHold(o.lane))
	}
	return nil
}

// look finds out by itself what nobody tells: that a held lane has a new token
// or its hold's time is over, that a missing folder is back.
func (d *drainer) look(now time.Time) error {
	if now.Sub(d.looked) < lookEvery {
		return nil
	}
	d.looked = now
	if shift := d.clock.jump(now, now.Sub(d.began)); shift != 0 {
		d.engine.Log.Info("the clock was set, or the machine has slept", "by", shift.Round(time.Second))
		d.jumped(shift, now)
	}
	d.lookForFolders()
	for _, l := range d.lanes {
		if !l.held {
			continue
		}
		stamp, err := d.engine.Vault.Changed(l.name)
		l.sayUnread(err, d.engine.Log)
		if err != nil {
			continue
		}
		if stamp != l.stamp || now.After(l.paused) && !l.paused.IsZero() {
			l.held, l.failures, l.paused, l.next, l.empty = false, 1, time.Time{}, time.Time{}, false
		}
	}
	return nil
}

// jumped goes by the wall's clock again after it has left the timers behind.
// Pauses run by the timers: what passed of them in sleep is taken off; due times
// in the store are judged anew. A machine that has woken may have its network back.
func (d *drainer) jumped(shift time.Duration, now time.Time) {
	for _, l := range d.lanes {
		l.next, l.empty = time.Time{}, false
		if shift > 0 && !l.paused.IsZero() {
			l.paused, l.asked = l.paused.Add(-shift), l.asked.Add(-shift)
		}
	}
	if shift > 0 {
		d.engine.host.hinted(now)
	}
}

func (d *drainer) lookForFolders() {
	before := d.away
	d.away = d.engine.awayFolders()
	if maps.Equal(before, d.away) {
		return
	}
	for _, l := range d.lanes {
		l.next, l.empty = time.Time{}, false
	}
}

func (d *drainer) isAway(path string) bool {
	folder := d.engine.folderOf(path)
	return folder != nil && d.away[folder.Path]
}
