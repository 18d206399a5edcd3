package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// writer is one program at work in one folder. It alone touches its names.
type writer struct {
	h      *hostile
	rnd    *rand.Rand
	folder string
	people []string // whom its sidecars may name for good
	name   func(n int) string
	moved  int // how often its subfolder was renamed
	files  map[string]*held
}

// held is what a writer knows of one of its names.
type held struct {
	w       *writer
	path    string
	content []byte // nil: none, or it is being written
	user    string // whom the sidecar names; "" for none or a bad one
	since   time.Time
}

func sumOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// pair is what may be delivered as things stand.
func (f *held) pair() (pair, bool) {
	if len(f.content) == 0 || f.user == "" {
		return pair{}, false
	}
	return pair{sumOf(f.content), f.w.h.users[f.user]}, true
}

// stand notes how long things have stood as they do.
func (f *held) stand(until time.Time) {
	h := f.w.h
	p, good := f.pair()
	if !good {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pairs[p] = max(h.pairs[p], until.Sub(f.since))
}

// change does something to the file or its sidecar, after which they are as
// known says. The time it takes counts for what was and for what is.
func (f *held) change(do func() error, known func()) error {
	began := time.Now()
	if err := do(); err != nil {
		return err
	}
	f.stand(time.Now())
	known()
	f.since = began
	return nil
}

func (w *writer) run(stop chan struct{}) {
	ops := []struct {
		name string
		do   func(*held) error
	}{
		{"create", w.create}, {"create", w.create}, {"append", w.add}, {"truncate", w.truncate}, {"rename over", w.replace}, {"link over", w.link},
		{"symlink over", w.symlink}, {"something else there", w.oddity}, {"sidecar", w.sidecar}, {"sidecar", w.sidecar}, {"sidecar", w.sidecar},
		{"bad sidecar", w.badSidecar}, {"sidecar removed", w.dropSidecar}, {"renamed", w.rename}, {"removed", w.remove}, {"subfolder renamed", w.renameSub},
	}
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(w.rnd.IntN(150)) * time.Millisecond):
		}
		op := ops[w.rnd.IntN(len(ops))]
		w.h.ground.RLock()
		f := w.pick()
		err := op.do(f)
		if err != nil && !isGone(err) {
			w.h.t.Errorf("%s: %v", op.name, err)
		}
		if err != nil || f.content != nil && !exist(f.path) {
			w.taken(f)
		}
		w.h.ground.RUnlock()
		w.h.count(op.name)
	}
}

// pick takes one of eight names, half of them in a subfolder.
func (w *writer) pick() *held {
	n := w.rnd.IntN(8)
	key := w.name(n)
	f := w.files[key]
	if f == nil {
		f = &held{w: w, path: filepath.Join(w.folder, key), since: time.Now()}
		if n%2 == 0 {
			f.path = filepath.Join(w.sub(), key)
		}
		w.files[key] = f
	}
	return f
}

func (w *writer) sub() string {
	return filepath.Join(w.folder, fmt.Sprintf("sub-%s-%d", w.name(0), w.moved))
}

// loseAll notes that all is gone, by the test's own doing.
func (w *writer) loseAll() {
	for _, f := range w.files {
		f.stand(time.Now())
	}
	clear(w.files)
}

// taken is what becomes of a file that is not there any more: the service took
// it, which it may once it was delivered, or has been moved to Failed. It may
// also be renamed for a moment, and brought back beside a newer one.
func (w *writer) taken(f *held) {
	_, good := f.pair()
	f.stand(time.Now())
	if len(f.content) > 0 && (good || w.folder == filepath.Join(w.h.dir, "bob")) {
		sum := sumOf(f.content)
		for n := 0; !w.accounted(sum); n++ {
			if n == 1200 { // a minute
				w.h.t.Errorf("%s vanished, and %s was not delivered for %q", f.path, sum, f.user)
				break
			}
			<-time.After(50 * time.Millisecond)
		}
	}
	for key, other := range w.files {
		if other == f {
			delete(w.files, key)
		}
	}
	_ = os.RemoveAll(f.path)
	_ = os.Remove(f.path + ".meta.json")
}

// accounted says whether a content was delivered, or still lies somewhere.
func (w *writer) accounted(sum string) (found bool) {
	for p := range w.h.delivered() {
		found = found || p.sum == sum
	}
	_ = filepath.WalkDir(w.folder, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || found || d.Type()&os.ModeNamedPipe != 0 {
			return nil
		}
		if rel, _ := filepath.Rel(w.folder, path); strings.HasPrefix(rel, sentFolder+"/") {
			return nil // nobody looks for an open matter there
		}
		if content, err := os.ReadFile(path); err == nil {
			found = sumOf(content) == sum
		}
		return nil
	})
	return found
}

// text is a content that exists once.
func (w *writer) text() []byte {
	size := 1 + w.rnd.IntN(100)
	if w.rnd.IntN(4) == 0 {
		size = 60_000 + w.rnd.IntN(400_000)
	}
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(' ' + w.rnd.IntN(90))
	}
	return append(fmt.Appendf(nil, "%016x\n", w.rnd.Uint64()), b...)
}

func (w *writer) pauseWhileOpen() {
	if w.rnd.IntN(2) == 0 {
		<-time.After(time.Duration(w.rnd.IntN(700)) * time.Millisecond)
	}
}

// writeSlowly writes in pieces and never closes in between.
func (f *held) writeSlowly(flags int, before, text []byte) error {
	var file *os.File
	err := f.change(func() (err error) {
		file, err = os.OpenFile(f.path, flags, 0o644)
		if err == nil {
			_, err = file.Write(text[:len(text)/2])
		}
		return err
	}, func() { f.content = nil })
	if err != nil {
		return err
	}
	f.w.pauseWhileOpen()
	whole := append(append([]byte{}, before...), text...)
	return f.change(func() error {
		if _, err := file.Write(text[len(text)/2:]); err != nil {
			return err
		}
		return file.Close()
	}, func() { f.content = whole })
}

func (w *writer) create(f *held) error {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
		return err
	}
	if info, err := os.Lstat(f.path); err == nil && !info.Mode().IsRegular() {
		if err := f.vanish(); err != nil {
			return err
		}
	}
	return f.writeSlowly(os.O_CREATE|os.O_TRUNC|os.O_WRONLY, nil, w.text())
}

func (w *writer) add(f *held) error {
	if f.content == nil {
		return nil
	}
	return f.writeSlowly(os.O_APPEND|os.O_WRONLY, f.content, w.text())
}

func (w *writer) truncate(f *held) error {
	if f.content == nil {
		return nil
	}
	half := f.content[:len(f.content)/2]
	return f.change(func() error { return os.Truncate(f.path, int64(len(half))) }, func() { f.content = half })
}

// aside writes a content under a name that is never picked up.
func (w *writer) aside(f *held) (path string, text []byte, err error) {
	text = w.text()
	path = filepath.Join(filepath.Dir(f.path), fmt.Sprintf(".%x", w.rnd.Uint64()))
	return path, text, os.WriteFile(path, text, 0o644)
}

func (w *writer) replace(f *held) error { return w.put(f, os.Rename) }

func (w *writer) link(f *held) error {
	return w.put(f, func(aside, path string) error {
		if err := os.Remove(path); err != nil {
			return err
		}
		return os.Link(aside, path)
	})
}

func (w *writer) symlink(f *held) error {
	return w.put(f, func(aside, path string) error {
		if err := os.Remove(path); err != nil {
			return err
		}
		return os.Symlink(filepath.Base(aside), path)
	})
}

// put has another content under the file's name at one stroke.
func (w *writer) put(f *held, place func(aside, path string) error) error {
	if f.content == nil {
		return nil
	}
	aside, text, err := w.aside(f)
	if err != nil {
		return err
	}
	return f.change(func() error { return place(aside, f.path) }, func() { f.content = text })
}

func (f *held) vanish() error {
	return f.change(func() error { return os.RemoveAll(f.path) }, func() { f.content = nil })
}

// oddity puts a fifo or a folder where the file was.
func (w *writer) oddity(f *held) error {
	if f.content == nil {
		return nil
	}
	if err := f.vanish(); err != nil {
		return err
	}
	if w.rnd.IntN(2) == 0 {
		return os.Mkdir(f.path, 0o755)
	}
	return unix.Mkfifo(f.path, 0o644)
}

// sidecar describes the file, for one of the people or, where only one is
// right, sometimes for another.
func (w *writer) sidecar(f *held) error {
	person := w.people[w.rnd.IntN(len(w.people))]
	named := person
	if len(w.people) == 1 && w.rnd.IntN(6) == 0 {
		named, person = "somebody", ""
	}
	text := []byte(`{"mimeType": "text/plain", "accounts": [{"accountId": "acc-` + named + `"}]}`)
	if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
		return err
	}
	if w.rnd.IntN(2) == 0 {
		return f.change(func() error { return os.WriteFile(f.path+".meta.json", text, 0o644) }, func() { f.user = person })
	}
	aside := f.path + ".meta.json.tmp"
	if err := os.WriteFile(aside, text, 0o644); err != nil {
		return err
	}
	return f.change(func() error { return os.Rename(aside, f.path+".meta.json") }, func() { f.user = person })
}

func (w *writer) badSidecar(f *held) error {
	if f.user == "" {
		return nil
	}
	return f.change(func() error { return os.WriteFile(f.path+".meta.json", []byte("{"), 0o644) }, func() { f.user = "" })
}

func (w *writer) dropSidecar(f *held) error {
	if f.user == "" {
		return nil
	}
	return f.change(func() error { return os.Remove(f.path + ".meta.json") }, func() { f.user = "" })
}

// rename gives the file another name, and its sidecar after it.
func (w *writer) rename(f *held) error {
	if f.content == nil || f.user == "" {
		return nil
	}
	to := filepath.Join(filepath.Dir(f.path), fmt.Sprintf("%x.txt", w.rnd.Uint64()))
	user := f.user
	err := f.change(func() error { return os.Rename(f.path, to) }, func() { f.user = "" })
	if err != nil {
		return err
	}
	from := f.path
	f.path = to
	return f.change(func() error { return os.Rename(from+".meta.json", to+".meta.json") }, func() { f.user = user })
}

func (w *writer) remove(f *held) error {
	if f.content == nil {
		return nil
	}
	return f.vanish()
}

// renameSub renames the subfolder with all that is in it.
func (w *writer) renameSub(*held) error {
	from := w.sub()
	w.moved++
	to := w.sub()
	if err := os.Rename(from, to); err != nil {
		w.moved--
		return err
	}
	for _, f := range w.files {
		if filepath.Dir(f.path) == from {
			f.path = filepath.Join(to, filepath.Base(f.path))
		}
	}
	return nil
}
