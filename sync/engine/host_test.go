package engine

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
)

var away = &digime.Error{Op: "push", Class: digime.Passing, Host: true, Status: 503}

func TestHostIsProbedNotTried(t *testing.T) {
	now := time.Now()
	h := newHost()
	if !h.room(pushesInAll-1, now) || h.room(pushesInAll, now) || h.startProbe(now) || h.outage() != nil {
		t.Fatal("a host that was never in doubt")
	}
	round := h.trust()
	h.failed(round, away, "", now)
	if h.room(0, now) || !h.startProbe(now) || h.startProbe(now) {
		t.Fatal("after a fault one probe begins at once, and nothing else")
	}
	for n := range 20 { // it stays away: ever fewer probes, none before its time
		h.probed(away, "", now)
		wait := h.wait().Sub(now)
		if most := min(firstBackoff<<n, lastBackoff); wait < most/2 || wait > most {
			t.Fatalf("%s after probe %d", wait, n)
		}
		if h.startProbe(now.Add(wait-1)) || h.room(0, now) {
			t.Fatal("too early")
		}
		h.failed(round, away, "", now) // pushes of before say nothing new
		if now = now.Add(wait); !h.startProbe(now) {
			t.Fatal("no probe when it is due")
		}
	}
	if o := h.outage(); o == nil || o.Next.IsZero() {
		t.Fatalf("%+v", o)
	}
	if !h.probed(nil, "", now) || h.outage() != nil {
		t.Fatal("it is back")
	}
	for _, most := range []int{1, 2, 4, 8, 16, 16} { // gently
		if !h.room(most-1, now) || h.room(most, now) {
			t.Fatalf("there is not room for %d pushes", most)
		}
		h.answered(now)
	}
}

// A host that answers probes and takes no push is tried by one push at a time,
// with a pause of at most a minute, so that libraries that are well get a turn.
func TestHostThatTakesNothing(t *testing.T) {
	now := time.Now()
	h := newHost()
	for range 30 {
		h.failed(h.trust(), away, "", now)
		if wait := h.wait().Sub(now); wait > longestTrial {
			t.Fatalf("a pause of %s", wait)
		}
		now = now.Add(longestTrial)
		if !h.startProbe(now) || h.probed(nil, "", now) || !h.room(0, now) || h.room(1, now) {
			t.Fatal("one push must find out")
		}
	}
	if h.undecided() {
		t.Error("a single pass would go on for ever")
	}
	if !h.room(1, now.Add(widenEvery)) {
		t.Error("a long upload keeps all others waiting")
	}
	h.failed(h.trust(), away, "", now)
	h.hinted(now)
	if !h.startProbe(now) {
		t.Error("a hint brings no probe")
	}
}

// Machines that lose their host in one second do not come back in one.
func TestFleetIsSpread(t *testing.T) {
	now := time.Now()
	seconds := map[int]int{}
	for range 1000 {
		h := newHost()
		h.failed(h.trust(), away, "", now)
		at := now
		for range 12 {
			h.startProbe(at)
			h.probed(away, "", at)
			at = h.wait()
		}
		seconds[int(at.Sub(now).Seconds())]++
		asked := int(now.Add(spread(time.Hour)).Sub(now).Seconds())
		if asked < 3600 || asked > 3600+300 {
			t.Fatalf("Retry-After of an hour became %d s", asked)
		}
	}
	for at, n := range seconds {
		if n > 30 {
			t.Errorf("%d of 1000 machines in second %d", n, at)
		}
	}
}

// gate stands before the sandbox: while it is shut, connections are reset. It
// notes what was asked.
type gate struct {
	mu      sync.Mutex
	shut    bool
	asked   map[string]int // requests by the end of their path
	running int
	most    int   // pushes at a time
	ramp    []int // how many ran when each of the first pushes began after it was opened
}

func (r *rig) guard() *gate {
	g := &gate{asked: map[string]int{}}
	next := r.server.Config.Handler
	r.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		g.mu.Lock()
		name := filepath.Base(req.URL.Path)
		g.asked[name]++
		shut, push := g.shut, name == "import"
		if push && !shut {
			g.running++
			g.most = max(g.most, g.running)
			if len(g.ramp) < 40 {
				g.ramp = append(g.ramp, g.running)
			}
		}
		g.mu.Unlock()
		if shut {
			if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
				_ = conn.(*net.TCPConn).SetLinger(0)
				conn.Close()
			}
			return
		}
		next.ServeHTTP(w, req)
		if push {
			g.mu.Lock()
			g.running--
			g.mu.Unlock()
		}
	})
	return g
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.most, g.ramp = shut, 0, nil
}

func (g *gate) count(name string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked[name]
}

// Many libraries lose their host: nothing but the probe asks for it, no file's
// attempts grow, status says since when and when it is tried next, a hint brings
// a probe at once, and back again all files go, once.
func TestManyLibrariesAndOneProbe(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range 60 {
		names = append(names, fmt.Sprintf("library-%02d", i))
	}
	r := newRig(t, nil, names...)
	g := r.guard()
	g.set(true)
	for _, name := range names {
		r.drop(name, "a.txt", "one of "+name)
		r.drop(name, "b.txt", "two of "+name)
	}
	r.start()
	outage := func() *Outage {
		s, err := r.engine.Status("")
		must(t, err)
		if s.Outage != nil && !strings.Contains(s.Trouble, "cannot be reached since") {
			t.Errorf("trouble %q", s.Trouble)
		}
		return s.Outage
	}
	r.until("all files wait for the host", func() bool {
		s, err := r.engine.Status("")
		must(t, err)
		return s.Outage != nil && s.Counts[store.Retrying] == 2*len(names)
	})
	r.until("some probes", func() bool { return g.count("oauth") >= 4 })
	if n := g.count("import"); n == 0 || n > pushesInAll {
		t.Errorf("%d pushes", n)
	}
	since := outage().Since
	for range 3 { // a person, again and again
		before := g.count("oauth")
		r.engine.Rescan("")
		r.until("a probe at once", func() bool { return g.count("oauth") > before })
	}
	s, err := r.engine.Status("")
	must(t, err)
	attempts := 0
	for _, f := range s.Files {
		if attempts += f.Attempts; !strings.Contains(f.Reason, "cannot be reached since") || f.NextAttempt == nil {
			t.Errorf("%+v", f)
		}
	}
	if attempts > pushesInAll || g.count("import") > pushesInAll || !s.Outage.Since.Equal(since) {
		t.Errorf("%d attempts, %d pushes, away since %s, then %s", attempts, g.count("import"), since, s.Outage.Since)
	}
	g.set(false)
	r.engine.Rescan("")
	r.until("all are delivered", func() bool { return len(r.api.Deliveries()) >= 2*len(names) })
	r.until("status is quiet", func() bool { return outage() == nil })
	if n := len(r.api.Deliveries()); n != 2*len(names) {
		t.Errorf("%d deliveries of %d files", n, 2*len(names))
	}
	if g.most > pushesInAll {
		t.Errorf("%d pushes at a time", g.most)
	}
}

// What a person asks for while the host is away is answered, not waited for.
func TestPushWhileTheHostIsAway(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "alice", "bob")
	g := r.guard()
	g.set(true)
	first := r.drop("alice", "a.txt", "one")
	r.start()
	r.until("away", func() bool { return r.engine.host.outage() != nil })
	path := r.drop("bob", "b.txt", "two")
	probes := g.count("oauth")
	must(t, r.engine.Submit(t.Context(), path, false))
	f, err := r.engine.Outcome(t.Context(), path)
	if err != nil || f.State != store.Retrying || f.Attempts != 0 || !strings.Contains(f.Reason, "cannot be reached") || g.count("oauth") == probes {
		t.Errorf("%+v, %v", f, err)
	}
	g.set(false)
	must(t, r.engine.Submit(t.Context(), path, false))
	r.untilState(path, store.Delivered)
	r.untilState(first, store.Delivered)
}

// A pass over a host that is away ends soon, with an attempt of few files; one
// over libraries that fail for themselves serves the others.
func TestOnePassAndTheHost(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range 30 {
		names = append(names, fmt.Sprintf("library-%02d", i))
	}
	r := newRig(t, nil, names...)
	g := r.guard()
	var paths []string
	for _, name := range names {
		paths = append(paths, r.drop(name, "a.txt", "of "+name))
	}
	g.set(true)
	r.once()
	// Of probes there may be more than one where the pushes take so long to fail.
	if n := g.count("import"); n > pushesInAll || g.count("oauth") > pushesInAll {
		t.Errorf("%d pushes, %d probes", n, g.count("oauth"))
	}
	g.set(false)
	for _, name := range names[:10] {
		r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, User: r.users[name], Do: sandbox.DoRefuse, Status: 503, Count: -1})
	}
	r.until("all but the ten are delivered", func() bool {
		r.once()
		delivered := 0
		for _, path := range paths[10:] {
			if f, ok, err := r.store.Get(path); err == nil && ok && f.State == store.Delivered {
				delivered++
			}
		}
		return delivered == 20
	})
}

// What each kind of answer means for the file, and for when it is sent again.
func TestWhatAnAnswerMeansForTheFile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		kind   string
		state  store.State
	}{
		{200, "text/plain", store.Delivered}, {299, "text/plain", store.Delivered}, {200, "text/html", store.Retrying}, {302, "text/plain", store.Retrying},
		{400, "text/plain", store.Refused}, {401, "text/plain", store.Delivered}, // once refreshed
		{404, "text/plain", store.Held}, {406, "text/plain", store.Delivered}, // once signed anew
		{407, "text/plain", store.Held}, {408, "text/plain", store.Retrying}, {413, "text/plain", store.Refused}, {422, "text/plain", store.Refused},
		{425, "text/plain", store.Retrying}, {429, "text/plain", store.Retrying}, {500, "text/plain", store.Retrying}, {502, "text/plain", store.Retrying}, {503, "text/plain", store.Retrying},
		{504, "text/plain", store.Retrying}, {511, "text/plain", store.Held}, {599, "text/plain", store.Retrying},
	} {
		for _, after := range []bool{false, true} {
			r := newRig(t, nil, "alice")
			r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoAnswer, Status: c.status, Type: c.kind, Body: "x", AfterBody: after})
			path := r.drop("alice", "a.txt", "content")
			r.once()
			if f := r.state(path); f.State != c.state {
				t.Errorf("%d %s, after the body %v: %s, %s", c.status, c.kind, after, f.State, f.Reason)
			}
		}
	}
}
