package watcher

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/digime-sync/digime-sync/sidecar"
)

// dueAtOnce bounds how many files one look takes from the settler.
const dueAtOnce = 20_000

// cameOrWent is what an event says of a directory that may be another one now.
const cameOrWent = fsnotify.Create | fsnotify.Remove | fsnotify.Rename

// look looks at the names events told, and at the files the settler has due.
func (t *tree) look(now time.Time) {
	begun := time.Now()
	told := t.inbox.take()
	if told.trouble != nil && t.plan.rebuild.IsZero() {
		t.log.Info("events were lost, the folder will be scanned", "err", cause(told.trouble))
	}
	if told.trouble != nil {
		t.plan.troubled(now)
	}
	if told.root != 0 {
		t.rootTold(told.root, now)
	}
	byDir := hints{}
	for dir, names := range told.names {
		if t.watches == nil {
			break
		}
		for name, op := range names {
			byDir.add(t.watches.name(dir), name, op)
		}
	}
	asked := t.takeAsked(now)
	t.mu.Lock()
	due := t.settler.due(now, dueAtOnce)
	t.mu.Unlock()
	for _, path := range append(asked, due...) {
		byDir.add(filepath.Dir(path), filepath.Base(path), 0)
	}
	for dir, names := range byDir.names {
		v := t.view(dir)
		for name, op := range names {
			t.lookAt(v, name, op, now)
		}
	}
	t.plan.looked(time.Since(begun))
}

// rootTold reacts to an event about the folder itself: one that is removed and
// made again at once can look the same, down to the inode number.
func (t *tree) rootTold(op fsnotify.Op, now time.Time) {
	t.plan.root, t.plan.scan = now, now
	if op&cameOrWent != 0 {
		t.plan.troubled(now)
	}
}

// lookAt takes in what one name is now: a file, a sidecar, a directory, or gone.
func (t *tree) lookAt(v *view, name string, op fsnotify.Op, now time.Time) {
	if v.looked[name] {
		return
	}
	v.looked[name] = true
	t.hang.enter(time.Now())
	m, err := v.stat(name)
	switch {
	case err != nil && !absent(err):
		t.cannotSee(v.dir, err, now)
		return
	case err == nil && m.mode.IsDir():
		t.enter(v, name, op)
		return
	case err != nil:
		t.gone(v.path(name))
	}
	if sidecar.Is(name) {
		t.lookAtSidecar(v, name, now)
		return
	}
	if err == nil {
		t.lookAtFile(v, name, now)
	}
	if op != 0 {
		t.lookAtKin(v, name, now)
	}
}

// gone drops what was known of a path at which there is nothing any more.
func (t *tree) gone(path string) {
	t.forget(path)
	if t.watches != nil && t.watches.has(path) {
		t.watches.drop(path)
	}
}

// enter has a directory scanned that came into being or was moved here, after
// its watch is set up anew.
func (t *tree) enter(v *view, name string, op fsnotify.Op) {
	path := v.path(name)
	t.forget(path)
	if t.filter.dir(v.relName(name)) != "" {
		return
	}
	if t.watches != nil {
		if op&cameOrWent == 0 && t.watches.has(path) {
			return
		}
		t.watches.drop(path)
	}
	t.sweepAlso(path)
}

// lookAtSidecar looks at the files a sidecar describes, or did before it went.
func (t *tree) lookAtSidecar(v *view, name string, now time.Time) {
	v.looked[name] = true
	file := name[:len(name)-len(sidecar.Suffix)]
	if m, err := v.stat(file); err == nil && !m.mode.IsDir() && t.filter.file(v.relName(file)) == "" {
		t.forget(v.path(name))
		t.lookAt(v, file, 0, now)
		return
	}
	if err := v.list(); err != nil {
		t.cannotSee(v.dir, err, now)
		return
	}
	for _, file := range v.index.Files(name) {
		t.lookAt(v, file, 0, now)
	}
	t.lookAtOrphan(v, name, now)
}

// lookAtOrphan observes a sidecar if it describes nothing.
func (t *tree) lookAtOrphan(v *view, name string, now time.Time) {
	path := v.path(name)
	if t.filter.orphan(v.relName(name)) != "" {
		t.forget(path)
		return
	}
	m, reason, err := statInside(t.real, path)
	if err != nil && !absent(err) {
		t.cannotSee(v.dir, err, now)
		return
	}
	if err != nil || reason != "" || !v.alone(name) {
		t.forget(path)
		return
	}
	t.observe(File{Folder: t.Path, Path: path, Sig: m.sig, Orphan: true}, now)
}

// lookAtKin looks at sidecars that may mean something else now that this file
// has come or gone: its own, which may have been left alone, and that of its stem.
func (t *tree) lookAtKin(v *view, name string, now time.Time) {
	stem := strings.TrimSuffix(name, filepath.Ext(name))
	for _, kin := range []string{name + sidecar.Suffix, stem + sidecar.Suffix} {
		if v.looked[kin] || !sidecar.Is(kin) {
			continue
		}
		if _, err := v.stat(kin); err == nil {
			t.lookAtSidecar(v, kin, now)
		}
	}
}

// lookAtFile observes a file unless it is left out, which it tells.
func (t *tree) lookAtFile(v *view, name string, now time.Time) (leftOut bool) {
	path := v.path(name)
	if t.filter.file(v.relName(name)) != "" {
		t.forget(path)
		return true
	}
	m, reason, err := statInside(t.real, path)
	if err != nil && !absent(err) {
		t.cannotSee(v.dir, err, now)
		return false
	}
	if err != nil || reason != "" {
		t.forget(path)
		return err == nil
	}
	f := File{Folder: t.Path, Path: path, Sig: m.sig}
	if err := t.addSidecar(v, name, &f); err != nil {
		t.cannotSee(v.dir, err, now)
		return false
	}
	t.observe(f, now)
	return false
}

// addSidecar completes f with its sidecar. The error says that it could not be
// found out which that is.
func (t *tree) addSidecar(v *view, name string, f *File) error {
	name, err := v.sidecarOf(name)
	var ambiguous *sidecar.AmbiguousError
	switch {
	case errors.As(err, &ambiguous):
		f.Err = err
		return nil
	case err != nil:
		return err
	case name == "":
		return nil
	}
	m, reason, err := statInside(t.real, v.path(name))
	switch {
	case err != nil && absent(err):
		return nil // it has just gone: an event, or the next look, will tell
	case err != nil:
		return err
	case reason != "":
		f.Err = fmt.Errorf("sidecar %q: %s", name, reason)
	}
	f.Sidecar, f.SidecarSig = v.path(name), m.sig
	return nil
}
