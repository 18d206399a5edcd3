package watcher

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// errUnmounted: an empty folder is left where a disk or share was.
var errUnmounted = errors.New("the disk or share that was there is missing: nothing is mounted there. Mount it; if it is gone for good, " +
	"take the folder out of the configuration, reload, and put it back")

// Mounted says whether something is mounted at path.
func Mounted(path string) bool {
	_, mount, err := identity(path)
	return err == nil && mount
}

// UnmountedReason is the Status.Reason of a folder at which something was mounted.
func UnmountedReason() string { return errUnmounted.Error() }

// checkRoot looks whether the folder is still there and still the same one. An
// unmount, or a mount over it, is told by no event.
func (t *tree) checkRoot(now time.Time) {
	t.plan.rootChecked(now)
	id, mount, err := identity(t.Path)
	if err == nil && t.mount && !mount {
		err = errUnmounted
	}
	switch {
	case err != nil:
		t.lose(err)
	case id != t.id:
		t.find(now, id, mount)
	default:
		t.checkWatches(now)
	}
}

// checkWatches has watches rebuilt that ended without our doing. At a single
// look that may be an event we have yet to see.
func (t *tree) checkWatches(now time.Time) {
	shrank := t.watches != nil && (t.watches.shrunk() || !t.watches.has(t.Path))
	if shrank && t.shrank {
		t.plan.troubled(now)
	}
	t.shrank = shrank
}

// lose notes that the folder is not there, or that it may not be looked at. It
// is not taken for empty: nothing is concluded about its files.
func (t *tree) lose(err error) {
	state, reason := lossOf(err)
	var before Status
	t.update(func(s *Status) {
		before = *s
		s.State, s.Reason = state, reason
	})
	if before.State != state || before.Reason != reason {
		t.log.Warn("folder is "+state, "reason", reason)
		t.lossSaid = true
	}
	if t.id == "" {
		return
	}
	t.id, t.sweep = "", nil
	t.closeWatches()
	t.plan.lost()
	t.mu.Lock()
	t.settler = newSettler(t.Settle)
	t.mu.Unlock()
	t.offered = offer{}
}

func lossOf(err error) (state, reason string) {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return StateUnreadable, "this service may not read it (permission denied)"
	case errors.Is(err, fs.ErrNotExist):
		return StateMissing, "there is no such folder"
	case errors.Is(err, syscall.ENOTDIR):
		return StateMissing, "it is not a folder"
	}
	if outOfResources(err) {
		return StateUnreadable, cause(err).Error()
	}
	return StateMissing, cause(err).Error()
}

// outOfResources says that it is this process or machine that lacks something.
func outOfResources(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// find begins with a folder that has come, or come back, or been replaced.
func (t *tree) find(now time.Time, id string, mount bool) {
	real, err := filepath.EvalSymlinks(t.Path)
	if err != nil { // on Windows that needs to list every folder above
		real = t.Path
	}
	t.id, t.mount, t.real, t.sweep, t.shrank = id, mount, real, nil, false
	t.update(func(s *Status) { s.Mounted = mount })
	t.openWatches(now)
	t.plan.scan = now
}

// setOK notes that the folder could be listed.
func (t *tree) setOK() {
	t.update(func(s *Status) { s.State, s.Reason = StateOK, "" })
	if t.lossSaid {
		t.log.Info("folder is back again")
		t.lossSaid = false
	}
}

// openWatches begins to watch anew by events, or by polling if that is asked
// for or events cannot be had. A scan must follow.
func (t *tree) openWatches(now time.Time) {
	t.closeWatches()
	v, err := volumeOf(t.real)
	if err != nil {
		t.log.Debug("file system unknown", "err", cause(err))
	}
	if reason := t.pollReason(v); reason != "" {
		t.setWatch(ModePoll, reason)
		return
	}
	w, err := newWatchset(t.Path, t.real, v.remote)
	if err == nil {
		t.watches = w
		t.inbox.reset(w.fsw)
		t.gatherers.Go(func() { t.inbox.gather(w.fsw, w.real) })
		err = w.add(t.Path, true)
	}
	if reason, yes := exhausted(err); yes {
		t.degrade(now, reason)
		return
	}
	t.setWatch(ModeEvents, "")
}

// pollReason says why the folder is polled from the outset, "" when it is not.
func (t *tree) pollReason(v volume) string {
	switch {
	case t.Mode == ModePoll:
		return "as configured (watch: poll)"
	case t.Mode == ModeEvents:
		return ""
	case v.remote:
		return remoteReason(v)
	case t.Recursive && runtime.GOOS == "windows":
		// A watched folder's parent cannot be renamed or deleted on Windows.
		return "watching its subfolders would keep people from renaming them"
	}
	return ""
}

func remoteReason(v volume) string {
	return fmt.Sprintf("it is on a network or virtual file system (%s), where changes made elsewhere are not reported", v.name)
}

// degrade polls the folder from now on; events are tried again in a while.
func (t *tree) degrade(now time.Time, reason string) {
	t.closeWatches()
	if t.setWatch(ModePoll, reason) {
		t.log.Warn("folder cannot be watched by events, it is polled", "reason", reason)
	}
	t.plan.rebuild = now.Add(t.plan.jitter(maxBackoff))
	if !t.plan.scan.IsZero() {
		t.plan.scan = earlier(t.plan.scan, now.Add(pollEvery))
	}
}

// setWatch says whether that is news.
func (t *tree) setWatch(how, reason string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	news := t.status.Watch != how || t.polled != reason
	t.status.Watch, t.polled = how, reason
	return news
}

func (t *tree) closeWatches() {
	t.inbox.reset(nil)
	if t.watches != nil {
		_ = t.watches.fsw.Close()
		t.watches = nil
	}
}

// interval is the least time between two scans.
func (t *tree) interval() time.Duration {
	if t.watches == nil {
		return pollEvery
	}
	return eventsEvery
}
