package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// writer drops files as people and programs do.
type writer struct {
	t    *testing.T
	rig  *crashRig
	mu   sync.Mutex
	rnd  *rand.Rand
	n    int
	list []drop
	late int // pauses that were longer than meant, so that a half-written file may have looked settled
}

// habits are the ways to drop a file.
var habits = []struct {
	name   string
	folder string // "" any
	do     func(w *writer, folder crashFolder)
}{
	{"plain", "", func(w *writer, f crashFolder) { w.describe(w.put(w.fresh(f))) }},
	{"sidecar first", "", (*writer).sidecarFirst},
	{"sidecar last", "", (*writer).sidecarLast},
	{"slow", "", (*writer).slow},
	{"by another name first", "", (*writer).renamed},
	{"two names", "", (*writer).twins},
	{"two libraries", "", (*writer).twoLibraries},
	{"rewritten", "keep", (*writer).rewritten},
	{"replaced", "keep", (*writer).replaced},
	{"taken away", "", (*writer).takenAway},
	{"new folders", "tree", (*writer).nested},
	{"bad sidecar, mended", "keep", (*writer).mended},
	{"bad sidecar", "move", (*writer).bad},
	{"without sidecar", "bare", (*writer).bare},
	{"for a provider", "fhir", (*writer).fhir},
}

// fresh makes up the next file of a folder.
func (w *writer) fresh(f crashFolder) (d drop, content []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n++
	library, dir := f.library, w.rig.folder(f.name)
	if library == "" {
		library = crashPeople[w.rnd.IntN(len(crashPeople))].name
		dir = filepath.Join(dir, library)
	}
	size := 1 << (4 + w.rnd.IntN(15)) // 16 bytes to 256 KiB: more and less than the last chunk
	content = fmt.Appendf(nil, "file %d of %s\n", w.n, library)
	for len(content) < size {
		content = fmt.Appendf(content, "%016x", w.rnd.Uint64())
	}
	return drop{path: filepath.Join(dir, fmt.Sprintf("report-%05d.txt", w.n)), library: library, sum: sumOf(content),
		tag: fmt.Sprintf("n%05d", w.n), after: f.after, must: true, last: true}, content
}

func sumOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// note keeps a drop for the checker, before it can be seen.
func (w *writer) note(d drop) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, d)
}

// superseded says that what was dropped at a path has been taken away or
// written over: it may have been delivered, and need not.
func (w *writer) superseded(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.list {
		if w.list[i].path == path {
			w.list[i].must, w.list[i].last = false, false
		}
	}
}

// rested says that all files so far have come to rest.
func (w *writer) rested() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.list {
		w.list[i].before = true
	}
}

func (w *writer) drops() []drop {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]drop{}, w.list...)
}

func (w *writer) must(err error) {
	if err != nil {
		w.t.Errorf("writer: %v", err)
	}
}

// wait lets up to so many milliseconds pass.
func (w *writer) wait(most int) {
	w.mu.Lock()
	d := time.Duration(w.rnd.IntN(most+1)) * time.Millisecond
	w.mu.Unlock()
	<-time.After(d)
}

func (w *writer) put(d drop, content []byte) drop {
	w.note(d)
	w.must(os.MkdirAll(filepath.Dir(d.path), 0o755))
	began := time.Now()
	w.must(os.WriteFile(d.path, content, 0o644))
	w.pausedSince(began, d, nil)
	return d
}

func (w *writer) describe(d drop) {
	w.must(os.MkdirAll(filepath.Dir(d.path), 0o755))
	w.must(os.WriteFile(d.path+".meta.json", sidecarOf(d), 0o644))
}

func sidecarOf(d drop) []byte {
	return fmt.Appendf(nil, `{"mimeType": "text/plain", "accounts": [{"accountId": "P-%s"}], "tags": [%q]}`, d.library, d.tag)
}

func (w *writer) sidecarFirst(f crashFolder) {
	d, content := w.fresh(f)
	w.describe(d)
	w.wait(50)
	w.put(d, content)
}

func (w *writer) sidecarLast(f crashFolder) {
	d := w.put(w.fresh(f))
	w.wait(300)
	w.describe(d)
}

// slow writes in pieces, with pauses shorter than what counts as settled.
func (w *writer) slow(f crashFolder) {
	d, content := w.fresh(f)
	w.note(d)
	w.describe(d)
	began := time.Now()
	file, err := os.Create(d.path)
	w.must(err)
	if err != nil {
		return
	}
	piece := len(content)/4 + 1
	for at := 0; at < len(content); at += piece {
		_, err := file.Write(content[at:min(at+piece, len(content))])
		w.must(err)
		w.pausedSince(began, d, content[:at])
		began = time.Now()
		if at+piece < len(content) {
			w.wait(int(crashSettle / time.Millisecond / 4))
		}
	}
	w.must(file.Close())
}

// pausedSince looks whether a file may have looked settled, with its first half,
// while it was written: if that took longer than it should. What lay there may be
// delivered then, and moved or deleted with all that was written to it later.
func (w *writer) pausedSince(began time.Time, d drop, lay []byte) {
	if time.Since(began) < crashSettle/2 {
		return
	}
	w.superseded(d.path)
	half := d
	half.sum, half.must, half.last = sumOf(lay), false, false
	w.note(half)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.late++
}

func (w *writer) renamed(f crashFolder) {
	d, content := w.fresh(f)
	w.note(d)
	w.describe(d)
	part := d.path + ".part"
	w.must(os.WriteFile(part, content, 0o644))
	w.wait(100)
	w.must(os.Rename(part, d.path))
}

func (w *writer) twins(f crashFolder) {
	d, content := w.fresh(f)
	other := d
	other.path = d.path[:len(d.path)-len(".txt")] + "-copy.txt"
	w.describe(w.put(other, content))
	w.wait(30)
	w.describe(w.put(d, content))
}

// twoLibraries drops one content for two people, on their folders.
func (w *writer) twoLibraries(crashFolder) {
	d, content := w.fresh(crashFolders[0])
	other, _ := w.fresh(crashFolders[1])
	other.sum = d.sum
	w.describe(w.put(other, content))
	w.describe(w.put(d, content))
}

// overwrite puts a second content to the path of a drop.
func (w *writer) overwrite(d drop, how func(path string, content []byte) error) {
	w.superseded(d.path)
	next, content := w.fresh(crashFolders[0])
	next.path, next.tag = d.path, d.tag
	w.note(next)
	w.must(how(d.path, content))
}

func (w *writer) rewritten(f crashFolder) {
	d := w.put(w.fresh(f))
	w.describe(d)
	w.wait(600)
	w.overwrite(d, func(path string, content []byte) error { return os.WriteFile(path, content, 0o644) })
}

func (w *writer) replaced(f crashFolder) {
	d := w.put(w.fresh(f))
	w.describe(d)
	w.wait(600)
	w.overwrite(d, func(path string, content []byte) error {
		temp := path + ".tmp"
		if err := os.WriteFile(temp, content, 0o644); err != nil {
			return err
		}
		return os.Rename(temp, path)
	})
}

func (w *writer) takenAway(f crashFolder) {
	d := w.put(w.fresh(f))
	w.describe(d)
	w.wait(400)
	w.superseded(d.path)
	for _, path := range []string{d.path, d.path + ".meta.json"} {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) { // moved or deleted meanwhile
			w.must(err)
		}
	}
}

func (w *writer) nested(f crashFolder) {
	d, content := w.fresh(f)
	d.path = filepath.Join(filepath.Dir(d.path), fmt.Sprintf("year-%s", d.tag), "month", filepath.Base(d.path))
	w.describe(w.put(d, content))
}

// mended has a sidecar that is no JSON at first.
func (w *writer) mended(f crashFolder) {
	d := w.put(w.fresh(f))
	w.must(os.WriteFile(d.path+".meta.json", []byte("{not yet"), 0o644))
	w.wait(700)
	temp := d.path + ".meta.json.tmp"
	w.must(os.WriteFile(temp, sidecarOf(d), 0o644))
	w.must(os.Rename(temp, d.path+".meta.json"))
}

// bad is never to be delivered: it is not noted as a drop.
func (w *writer) bad(f crashFolder) {
	d, content := w.fresh(f)
	w.must(os.WriteFile(d.path, content, 0o644))
	w.must(os.WriteFile(d.path+".meta.json", bytes.Repeat([]byte("no"), 10), 0o644))
}

func (w *writer) bare(f crashFolder) {
	d, content := w.fresh(f)
	d.tag = ""
	w.put(d, content)
}

func (w *writer) fhir(f crashFolder) {
	d, content := w.fresh(f)
	content = fmt.Appendf(nil, `{"resourceType": "Patient", "id": %q, "text": %q}`, d.tag, content)
	d.tag, d.sum = "", sumOf(content)
	w.put(d, content)
}

// write drops files by so many of the habits, in an order of its own, and
// returns when all are written.
func (w *writer) write(most int) {
	w.mu.Lock()
	order := w.rnd.Perm(len(habits))
	folders := w.rnd.Perm(len(crashFolders) - 2) // the last are for what has no sidecar
	w.mu.Unlock()
	var wg sync.WaitGroup
	for i, n := range order[:min(most, len(order))] {
		h := habits[n]
		f := crashFolders[folders[i%len(folders)]]
		for _, named := range crashFolders {
			if named.name == h.folder {
				f = named
			}
		}
		wg.Go(func() { h.do(w, f) })
	}
	wg.Wait()
}
