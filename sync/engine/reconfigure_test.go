package engine

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
)

// queued drops a file that is queued and cannot be pushed yet.
func (r *rig) queued(library, name string) string {
	r.t.Helper()
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 503, Count: -1})
	path := r.drop(library, name, library+name)
	r.describe(path, `{"mimeType": "text/plain"}`)
	r.once()
	if f := r.state(path); f.State != store.Retrying {
		r.t.Fatalf("%+v", f)
	}
	r.api.ClearFaults()
	return path
}

// reconfigure takes another configuration over, as a reload does.
func (r *rig) reconfigure(change func()) {
	r.t.Helper()
	r.close()
	change()
	r.open()
}

// A folder that leaves the configuration keeps what is queued in it, and all of
// it goes by itself when the folder is there again.
func TestFolderThatComesBackIntoTheConfiguration(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "alice", "bob")
	path := r.queued("alice", "a.txt")
	before := slices.Clone(r.folders)
	r.reconfigure(func() { r.folders = r.folders[1:] })
	r.start()
	if f := r.untilState(path, store.Held); !strings.Contains(f.Reason, "not in the configuration") {
		t.Errorf("without its folder: %+v", f)
	}
	r.reconfigure(func() { r.folders = before })
	r.start()
	r.untilState(path, store.Delivered)
}

// So with a library: what waited for it, and what came meanwhile, goes by itself.
func TestLibraryThatComesBackIntoTheConfiguration(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "alice", "bob")
	path := r.queued("alice", "a.txt")
	alice := r.libs["alice"]
	r.reconfigure(func() { delete(r.libs, "alice") })
	meanwhile := r.drop("alice", "b.txt", "meanwhile")
	r.start()
	for _, path := range []string{path, meanwhile} {
		if f := r.untilState(path, store.Refused); !strings.Contains(f.Reason, `no library named "alice"`) {
			t.Errorf("without its library: %+v", f)
		}
	}
	r.reconfigure(func() { r.libs["alice"] = alice })
	r.start()
	r.untilState(path, store.Delivered)
	r.untilState(meanwhile, store.Delivered)
}

// What the configuration was wrong about goes by itself once that is right.
func TestConfigurationThatIsCorrected(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		drop    func(r *rig) string
		state   store.State
		correct func(r *rig)
	}{
		"an account is added": {
			func(r *rig) string {
				path := r.drop("alice", "a.txt", "a")
				r.describe(path, `{"mimeType": "text/plain", "accounts": [{"accountId": "new"}]}`)
				return path
			},
			store.Refused,
			func(r *rig) { l := r.libs["alice"]; l.Accounts = append(l.Accounts, "new"); r.libs["alice"] = l },
		},
		"empty files are allowed": {
			func(r *rig) string { return r.drop("alice", "a.txt", "") },
			store.Refused,
			func(r *rig) { r.folders[0].AllowEmpty = true },
		},
		"sidecars become optional": {
			func(r *rig) string {
				path := r.drop("alice", "a.txt", "a")
				must(r.t, os.Remove(path+".meta.json"))
				return path
			},
			store.Waiting,
			func(r *rig) { r.folders[0].Optional, r.folders[0].Defaults.MimeType = true, "text/plain" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil, "alice")
			path := c.drop(r)
			r.once()
			if f := r.state(path); f.State != c.state {
				t.Fatalf("%+v", f)
			}
			r.reconfigure(func() { c.correct(r) })
			r.start()
			r.untilState(path, store.Delivered)
		})
	}
}

// What the service refused is not sent again because of a new start.
func TestServicesRefusalOutlivesTheConfiguration(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "alice")
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 415})
	path := r.drop("alice", "a.txt", "a")
	r.once()
	r.restart()
	r.once()
	if f := r.state(path); f.State != store.Refused || f.Attempts != 1 {
		t.Errorf("%+v", f)
	}
}

// Whose file it is was said by its folder when it was dropped. Where the folder
// is another person's by now, a person says whether the file is too.
func TestFoldersThatAreExchanged(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "alice", "bob")
	for _, name := range []string{"alice", "bob"} {
		l := r.libs[name]
		l.Accounts = nil // nothing else says whose the file is
		r.libs[name] = l
	}
	for i := range r.folders {
		r.folders[i].Defaults.Accounts = []string{"any"}
	}
	r.restart()
	path := r.queued("alice", "a.txt")
	exchange := func() { r.folders[0].Library, r.folders[1].Library = r.folders[1].Library, r.folders[0].Library }
	r.reconfigure(exchange)
	r.start()
	f := r.untilState(path, store.Held)
	if n := len(r.api.Deliveries()); n != 0 || f.State != store.Held || !strings.Contains(f.Reason, `"alice"`) || !strings.Contains(f.Reason, `"bob"`) || !strings.Contains(f.Hint, "digime-sync push ") {
		t.Fatalf("%d deliveries; %+v", n, f)
	}
	r.reconfigure(exchange)
	r.start()
	r.untilState(path, store.Delivered)
	if got := r.api.Deliveries(); len(got) != 1 || got[0].User != r.users["alice"] {
		t.Errorf("exchanged back: %+v", got)
	}
	r.stop()
	other := r.queued("alice", "b.txt")
	r.reconfigure(exchange)
	files, err := r.engine.Push(t.Context(), []string{other}, false)
	if got := r.api.Deliveries(); err != nil || len(files) != 1 || files[0].State != store.Delivered || len(got) != 2 || got[1].User != r.users["bob"] {
		t.Errorf("a person says that it is bob's: %+v, %v, %+v", files, err, got)
	}
}

// So with one whose answer was lost: the doubt does not make it a person's matter.
func TestFileInDoubtWhoseFolderIsExchanged(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "alice", "bob")
	for i, name := range []string{"alice", "bob"} {
		l := r.libs[name]
		l.Accounts, r.folders[i].Defaults.Accounts = nil, []string{"any"}
		r.libs[name] = l
	}
	r.restart()
	r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoLose})
	path := r.drop("alice", "a.txt", "content")
	r.describe(path, `{"mimeType": "text/plain"}`)
	r.once()
	if f, _, err := r.store.Get(path); err != nil || f.State != store.Retrying || f.Doubts != 1 {
		t.Fatalf("%+v, %v", f, err)
	}
	exchange := func() { r.folders[0].Library, r.folders[1].Library = r.folders[1].Library, r.folders[0].Library }
	r.reconfigure(exchange)
	r.start()
	r.untilState(path, store.Held)
	if tried, err := r.engine.Retry(path, ""); err != nil || len(tried) != 1 {
		t.Errorf("tried again: %+v, %v", tried, err)
	}
	r.untilState(path, store.Held)
	r.reconfigure(exchange)
	r.start()
	r.untilState(path, store.Delivered)
	for _, d := range r.api.Deliveries() {
		if d.User != r.users["alice"] {
			t.Errorf("delivered to %s", d.User)
		}
	}
}
