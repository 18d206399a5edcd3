package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/engine"
)

// status is what the command says.
func (r *crashRig) status() (s engine.Status) {
	r.t.Helper()
	out, err := r.run("status", "--json")
	r.must(err)
	r.must(json.Unmarshal(out, &s))
	return s
}

// facts gathers what can be known from outside.
func (r *crashRig) facts(drops []drop) facts {
	r.t.Helper()
	f := facts{drops: drops, status: map[string]engine.FileStatus{}, lying: map[string]string{}}
	for _, d := range r.server.Deliveries() {
		f.arrivals = append(f.arrivals, arrival{library: r.library(d.User), sum: d.SHA256, descriptor: string(d.Descriptor), doubt: r.wire.trip(d.Nonce).doubt})
	}
	for _, s := range r.status().Files {
		f.status[s.Path] = s
	}
	err := store.ReadAudit(r.state(), func(e store.Entry) error {
		f.entries = append(f.entries, e)
		return nil
	})
	r.must(err)
	for _, folder := range crashFolders {
		r.walk(r.folder(folder.name), &f)
		sent := filepath.Join(r.folder(folder.name), "Sent")
		if info, err := os.Lstat(sent); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			r.walk(sent+string(filepath.Separator), &f)
		}
	}
	return f
}

// walk takes in the files and receipts below a folder, which may change meanwhile.
func (r *crashRig) walk(dir string, f *facts) {
	r.t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		f.lying[path] = sumOf(content)
		if strings.HasSuffix(path, engine.ReceiptSuffix) {
			p := paper{path: path}
			if err := json.Unmarshal(content, &p.Receipt); err != nil {
				r.t.Errorf("%s is no receipt: %v", path, err)
			}
			f.papers = append(f.papers, p)
		}
		return nil
	})
	r.must(err)
}

// decide does what a person is asked to: files that are held in doubt and are
// not in their library are sent again.
func (p *crashProgram) decide(s engine.Status) {
	arrived := map[string]bool{}
	for _, a := range p.rig.server.Deliveries() {
		arrived[p.rig.library(a.User)+" "+a.SHA256] = true
	}
	for _, f := range s.Files {
		if f.State != store.Held || arrived[f.Library+" "+f.SHA256] {
			continue
		}
		p.person++
		if _, err := p.rig.run("push", "--again", f.Path); err != nil {
			p.t.Errorf("a person sends a file in doubt again: %v", err)
		}
		arrived[f.Library+" "+f.SHA256] = true // also under the other names it has
	}
}

// otherFileSystem makes a folder that the tests' temporary folders cannot be
// renamed into, or returns "".
func otherFileSystem(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "digime-sync-crash-")
	if err != nil {
		return ""
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	probe := filepath.Join(t.TempDir(), "probe")
	if err := os.WriteFile(probe, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Rename(probe, filepath.Join(dir, "probe")) == nil {
		return ""
	}
	return dir
}
