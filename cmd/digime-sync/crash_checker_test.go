package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/engine"
)

// drop is a content that the writer put into a watched folder.
type drop struct {
	path    string
	library string
	sum     string // SHA-256 in hex
	tag     string // in its sidecar, "" without one
	after   string // of its folder
	must    bool   // it settled there and must be delivered; otherwise it may be
	last    bool   // nothing else was put there later, and it was not taken away
	before  bool   // it was at rest before the database was damaged, which alone knows of names beside the deliveries
}

func (d *drop) key() string { return d.library + " " + d.sum }

// arrival is a content that the sandbox took.
type arrival struct {
	library, sum string
	descriptor   string
	doubt        bool // its daemon could not know that it arrived: no answer, or killed before it was written down
}

func (a *arrival) key() string { return a.library + " " + a.sum }

// paper is a receipt, and where it lies.
type paper struct {
	path string
	engine.Receipt
}

// facts are all that is known when a crash programme has come to rest.
type facts struct {
	drops    []drop
	arrivals []arrival // in their order
	entries  []store.Entry
	status   map[string]engine.FileStatus // by path
	papers   []paper
	lying    map[string]string // path → SHA-256 of the files in the folders
}

// mishaps are what is wrong, in words, by kind.
type mishaps struct {
	lost        []string // settled, not in its library
	partial     []string // in a library, and never dropped like that
	wrong       []string // in another's library
	misnamed    []string // with another file's descriptor
	doubled     int      // copies too many
	unexplained []string // copies too many without an answer that was lost
	unflagged   []string // twice in a library, and the receipt does not say so
	claimed     []string // recorded as delivered, and not in the library
	misplaced   []string // not moved, not deleted, or not whole afterwards
	held        int      // left to a person, in doubt
}

// faults are the mishaps that should not be.
func (f *mishaps) faults() []string {
	var all []string
	for _, kind := range []struct {
		name string
		list []string
	}{{"lost", f.lost}, {"partial", f.partial}, {"wrong library", f.wrong}, {"wrong descriptor", f.misnamed},
		{"doubled without a lost answer", f.unexplained}, {"doubled and not said", f.unflagged},
		{"claimed", f.claimed}, {"misplaced", f.misplaced}} {
		for _, what := range kind.list {
			all = append(all, kind.name+": "+what)
		}
	}
	return all
}

// judgeCrash compares what was dropped, what has arrived and what is said about it.
func judgeCrash(f facts) mishaps {
	var out mishaps
	arrived := out.checkArrivals(f)
	flagged := map[string]bool{}
	for _, e := range f.entries {
		if e.Event != store.EventDelivered {
			continue
		}
		key := e.Library + " " + e.SHA256
		flagged[key] = flagged[key] || e.Doubtful
		if len(arrived[key]) == 0 {
			out.claimed = append(out.claimed, "the audit log: "+e.Path)
		}
	}
	for key, list := range arrived {
		for i := range list[1:] {
			out.doubled++
			if !list[i].doubt {
				out.unexplained = append(out.unexplained, describeKey(f, key))
			}
		}
		if said, recorded := flagged[key]; len(list) > 1 && recorded && !said { // one that is not recorded is held, in doubt
			out.unflagged = append(out.unflagged, "the audit log: "+describeKey(f, key))
		}
	}
	out.checkPapers(f, arrived)
	for i := range f.drops {
		if d := &f.drops[i]; d.must {
			out.checkDrop(f, d, arrived[d.key()])
		}
	}
	return out
}

// checkArrivals sorts what arrived by library and content.
func (out *mishaps) checkArrivals(f facts) map[string][]arrival {
	dropped, anywhere := map[string][]string{}, map[string]bool{}
	for i := range f.drops {
		d := &f.drops[i]
		dropped[d.key()] = append(dropped[d.key()], d.tag)
		anywhere[d.sum] = true
	}
	arrived := map[string][]arrival{}
	for _, a := range f.arrivals {
		arrived[a.key()] = append(arrived[a.key()], a)
		tags, known := dropped[a.key()]
		switch {
		case !anywhere[a.sum]:
			out.partial = append(out.partial, a.key())
		case !known:
			out.wrong = append(out.wrong, a.key())
		case !slices.ContainsFunc(tags, func(tag string) bool { return tag == "" || strings.Contains(a.descriptor, `"`+tag+`"`) }):
			out.misnamed = append(out.misnamed, a.descriptor)
		}
	}
	return arrived
}

// sent returns where a content lies that was moved away, "" if it does not.
func (f *facts) sent(sum string) string {
	for path, lies := range f.lying {
		if lies == sum && strings.Contains(path, string(filepath.Separator)+"Sent"+string(filepath.Separator)) {
			return path
		}
	}
	return ""
}

func (out *mishaps) checkPapers(f facts, arrived map[string][]arrival) {
	for _, p := range f.papers {
		copies := arrived[p.Library+" "+p.SHA256]
		switch {
		case len(copies) == 0:
			out.claimed = append(out.claimed, p.path)
		case len(copies) > 1 && p.State == string(store.Delivered) && !p.MayBeDouble:
			out.unflagged = append(out.unflagged, p.path)
		}
	}
}

// checkDrop looks at what became of one file that was to be delivered.
func (out *mishaps) checkDrop(f facts, d *drop, copies []arrival) {
	s := f.status[d.path]
	if len(copies) == 0 {
		out.lost = append(out.lost, fmt.Sprintf("%s (%s): %s %s", d.path, d.tag, s.State, s.Reason))
		return
	}
	if !d.last {
		return
	}
	switch s.State {
	case store.Held: // only a file in doubt may end there
		out.held++
		return
	case store.Delivered, store.Duplicate:
	case "":
		if d.before {
			break
		}
		fallthrough
	default:
		out.misplaced = append(out.misplaced, fmt.Sprintf("%s has arrived and is %q: %s", d.path, s.State, s.Reason))
		return
	}
	place := d.path
	switch d.after {
	case "delete":
		place = ""
	case "move":
		place = s.MovedTo
		if d.before && place == "" {
			place = f.sent(d.sum)
		}
	}
	if sum, lies := f.lying[d.path]; lies && place != d.path {
		out.misplaced = append(out.misplaced, fmt.Sprintf("%s (%.8s) should have been %sd", d.path, sum, d.after))
	}
	if place != "" && f.lying[place] != d.sum {
		out.misplaced = append(out.misplaced, fmt.Sprintf("%s does not lie whole at %q", d.path, place))
	}
	if d.after == "move" && d.tag != "" && f.lying[place+".meta.json"] == "" {
		out.misplaced = append(out.misplaced, "no sidecar beside "+place)
	}
	receipt := cmpOr(place, d.path) + engine.ReceiptSuffix
	if !slices.ContainsFunc(f.papers, func(p paper) bool { return p.path == receipt && p.SHA256 == d.sum }) {
		out.misplaced = append(out.misplaced, "no receipt "+receipt)
	}
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func describeKey(f facts, key string) string {
	for i := range f.drops {
		if f.drops[i].key() == key {
			return key + " " + f.drops[i].path
		}
	}
	return key
}

// The checker is itself tested: each fabricated mishap must be found, as what
// it is and as nothing else.
func TestCrashCheckerFindsMishaps(t *testing.T) {
	good := func() facts {
		sum := strings.Repeat("a", 64)
		return facts{
			drops:    []drop{{path: "/in/a", library: "ann", sum: sum, tag: "a1", after: "move", must: true, last: true}},
			arrivals: []arrival{{library: "ann", sum: sum, descriptor: `{"tags":["a1"]}`}},
			entries:  []store.Entry{{Event: store.EventDelivered, Library: "ann", SHA256: sum, Path: "/in/a"}},
			status:   map[string]engine.FileStatus{"/in/a": {State: store.Delivered, MovedTo: "/in/Sent/a"}},
			papers:   []paper{{"/in/Sent/a" + engine.ReceiptSuffix, engine.Receipt{State: "delivered", Library: "ann", SHA256: sum}}},
			lying:    map[string]string{"/in/Sent/a": sum, "/in/Sent/a.meta.json": "x"},
		}
	}
	again := func(f *facts, doubt bool) {
		f.arrivals[0].doubt = doubt
		f.arrivals = append(f.arrivals, f.arrivals[0])
	}
	for _, mishap := range []struct {
		name string
		do   func(*facts)
		want string
	}{
		{"nothing", func(*facts) {}, ""},
		{"lost", func(f *facts) { f.arrivals, f.entries, f.papers = nil, nil, nil }, "lost"},
		{"half a file", func(f *facts) { f.arrivals = append(f.arrivals, arrival{library: "ann", sum: "half"}) }, "partial"},
		{"wrong library", func(f *facts) { f.arrivals = append(f.arrivals, arrival{library: "ben", sum: f.drops[0].sum}) }, "wrong library"},
		{"wrong descriptor", func(f *facts) { f.arrivals[0].descriptor = `{"tags":["b2"]}` }, "wrong descriptor"},
		{"twice, both answered and said", func(f *facts) {
			again(f, false)
			f.entries[0].Doubtful, f.papers[0].MayBeDouble = true, true
		}, "doubled without a lost answer"},
		{"twice after a lost answer, said", func(f *facts) {
			again(f, true)
			f.entries[0].Doubtful, f.papers[0].MayBeDouble = true, true
		}, ""},
		{"twice after a lost answer, the receipt is silent", func(f *facts) {
			again(f, true)
			f.entries[0].Doubtful = true
		}, "doubled and not said"},
		{"twice after a lost answer, the log is silent", func(f *facts) {
			again(f, true)
			f.papers[0].MayBeDouble = true
		}, "doubled and not said"},
		{"claimed by the log", func(f *facts) {
			f.entries = append(f.entries, store.Entry{Event: store.EventDelivered, Library: "ben", SHA256: "other"})
		}, "claimed"},
		{"claimed by a receipt", func(f *facts) {
			f.papers = append(f.papers, paper{"/in/b", engine.Receipt{Library: "ben", SHA256: "other"}})
		}, "claimed"},
		{"not moved", func(f *facts) { f.lying["/in/a"] = f.drops[0].sum }, "misplaced"},
		{"moved in part", func(f *facts) { f.lying["/in/Sent/a"] = "half" }, "misplaced"},
		{"moved without its sidecar", func(f *facts) { delete(f.lying, "/in/Sent/a.meta.json") }, "misplaced"},
		{"no receipt", func(f *facts) { f.papers = nil }, "misplaced"},
		{"still queued", func(f *facts) { f.status["/in/a"] = engine.FileStatus{State: store.Queued} }, "misplaced"},
	} {
		f := good()
		mishap.do(&f)
		found := judgeCrash(f)
		faults := found.faults()
		if mishap.want == "" && len(faults) > 0 || mishap.want != "" && (len(faults) != 1 || !strings.HasPrefix(faults[0], mishap.want+": ")) {
			t.Errorf("%s: found %q, want %q", mishap.name, faults, mishap.want)
		}
	}
}
