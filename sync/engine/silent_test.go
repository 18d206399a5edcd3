package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
)

func flights(paths ...string) map[string]*flight {
	m := map[string]*flight{}
	for _, path := range paths {
		m[path] = &flight{}
	}
	return m
}

// hush makes a library's next pushes go without an answer, n of them or -1 for all.
func (r *rig) hush(library string, n int) {
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, User: r.users[library], Do: sandbox.DoStall, AfterBody: true, Count: n})
}

// A push without an answer does not stop the files behind it, though another
// one has failed.
func TestSilentPushDoesNotStopItsLibrary(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "alice")
	r.stall = 10 * time.Minute // longer than all of this takes
	r.restart()
	r.engine.silentAfter = time.Second
	r.hush("alice", 1)
	silent := r.drop("alice", "silent.txt", "silent")
	r.start()
	r.until("the body has arrived", func() bool { return r.bodies.Load() > 0 })
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, User: r.users["alice"], Do: sandbox.DoRefuse, Status: 500})
	var later []string
	for i := range 5 {
		later = append(later, r.drop("alice", fmt.Sprint(i, ".txt"), fmt.Sprint("later ", i)))
	}
	for _, path := range later {
		r.untilState(path, store.Delivered)
	}
	if f := r.state(silent); f.State != store.Pushing || len(r.api.Deliveries()) != len(later) {
		t.Errorf("%+v, %d deliveries", f, len(r.api.Deliveries()))
	}
	r.stop() // the file may have arrived, and that is not forgotten
	if f, _, err := r.store.Get(silent); err != nil || f.Doubts != 1 {
		t.Errorf("%+v, %v", f, err)
	}
}

// Libraries whose pushes all go without an answer do not stop another one; the
// files behind those pushes wait, and status says for what.
func TestSilentLibrariesDoNotStopOthers(t *testing.T) {
	t.Parallel()
	silent := []string{"a", "b", "c", "d"}
	r := newRig(t, nil, append(silent, "eve")...)
	r.stall = 10 * time.Minute // longer than all of this takes
	r.restart()
	r.engine.silentAfter = time.Second
	var waiting []string
	for _, name := range silent {
		r.hush(name, -1)
		for i := range pushesPerLane {
			r.drop(name, fmt.Sprint(i, ".txt"), fmt.Sprint(name, i))
		}
	}
	r.start()
	r.until("all places are taken", func() bool { return r.bodies.Load() >= pushesInAll })
	for _, name := range silent {
		waiting = append(waiting, r.drop(name, "waiting.txt", "waiting in "+name))
	}
	for i := range 3 {
		r.untilState(r.drop("eve", fmt.Sprint(i, ".txt"), fmt.Sprint("eve ", i)), store.Delivered)
	}
	for _, path := range waiting {
		r.until("status says what a file waits for", func() bool {
			f := r.state(path)
			return f.State == store.Queued && f.Attempts == 0 && strings.Contains(f.Reason, "another push of this library has had no answer since") && f.Hint != ""
		})
	}
	if n := r.pushes.Load(); n != pushesInAll+3 {
		t.Errorf("%d pushes", n)
	}
}

// What moves is not silent, however slow; what is silent leaves its place to
// one at a time, in its library and, while nothing is answered, in all.
func TestPlaceOfASilentPush(t *testing.T) {
	now := time.Now()
	began := now.Add(-time.Hour)
	l := &lane{name: "a", running: map[string]*flight{"slow": {began: began}, "silent": {began: began}}}
	l.running["slow"].moved.Store(int64(time.Hour - silentAfter + time.Second))
	d := &drainer{engine: &Engine{host: newHost(), silentAfter: silentAfter}, lanes: map[string]*lane{"a": l}, running: 2}
	d.notice(now)
	if d.silent != 1 || l.running["slow"].silent || !l.running["silent"].silent {
		t.Fatalf("%d silent", d.silent)
	}
	if l.ready(now) || d.room(now) {
		t.Error("a slow push and a silent one: the slow one is what finds out")
	}
	if delete(l.running, "slow"); !l.ready(now) {
		t.Error("a silent push keeps its place")
	}
	d.running--
	if !d.room(now) {
		t.Error("a silent push keeps its place among all")
	}
	for i := range mostSilent {
		l.running[fmt.Sprint(i)] = &flight{began: began}
	}
	if d.notice(now); l.ready(now) {
		t.Errorf("ready with %d silent pushes", d.silent)
	}
	for i := range silentInAll {
		l.running[fmt.Sprint(i)] = &flight{began: began}
	}
	if d.notice(now); d.room(now) || !d.engine.silences.full {
		t.Errorf("room with %d silent pushes", d.silent)
	}
	f := store.File{Library: "b", State: store.Retrying, Reason: "before"}
	if shown := d.engine.silences.waits(f, now); !strings.Contains(shown.Reason, "other libraries have had no answer since") {
		t.Errorf("%+v", shown)
	}
	if f.NextAttempt = now.Add(time.Second); d.engine.silences.waits(f, now).Reason != "before" {
		t.Error("not due, and said to wait for others")
	}
	again := l.running["0"]
	l.running = map[string]*flight{"0": again}
	again.move()
	if d.notice(time.Now()); d.silent != 0 || d.engine.silences.full {
		t.Error("what moves again is still silent")
	}
}

// A person who has files tried now is told what they wait for all the same.
func TestRetryBehindSilentPushes(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "alice")
	r.stall = 10 * time.Minute // longer than all of this takes
	r.restart()
	r.engine.silentAfter = time.Second
	r.hush("alice", -1)
	for i := range mostSilent {
		r.drop("alice", fmt.Sprint(i, ".txt"), fmt.Sprint(i))
	}
	r.start()
	r.until("all are silent", func() bool {
		r.engine.mu.Lock()
		defer r.engine.mu.Unlock()
		return r.engine.silences.stuck["alice"]
	})
	behind := r.drop("alice", "behind.txt", "behind")
	r.untilState(behind, store.Queued)
	tried, err := r.engine.Retry("", "")
	if err != nil || len(tried) != 1 || tried[0].Path != behind || !strings.Contains(tried[0].Reason, "another push of this library has had no answer since") {
		t.Errorf("tried %+v, %v", tried, err)
	}
	must(t, r.engine.Pause("alice", "for today"))
	tried, err = r.engine.Retry(behind, "")
	if err != nil || len(tried) != 1 || !strings.Contains(tried[0].Reason, "paused: library alice") {
		t.Errorf("tried %+v, %v", tried, err)
	}
}

// What waits for its next attempt has its turn at once, and nothing is said to be in its way.
func TestRetryOfWhatWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "alice")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 429, RetryAfter: "3600"})
	path := r.drop("alice", "a.txt", "a")
	r.start()
	r.until("it waits for an hour", func() bool {
		f := r.state(path)
		return f.NextAttempt != nil && time.Until(*f.NextAttempt) > time.Minute
	})
	if tried, err := r.engine.Retry(path, ""); err != nil || len(tried) != 1 || tried[0].Reason != "" {
		t.Errorf("tried %+v, %v", tried, err)
	}
	r.untilState(path, store.Delivered)
	r.restart()
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 500})
	other := r.drop("alice", "b.txt", "b")
	r.once()
	if tried, err := r.engine.Retry(other, ""); err != nil || len(tried) != 1 || tried[0].Reason != "no daemon is running" {
		t.Errorf("without a daemon: tried %+v, %v", tried, err)
	}
}
