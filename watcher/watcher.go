// Package watcher says which files of the watched folders have stopped changing.
//
// The scan is the truth and events are only a hint: what fsnotify reports (or
// loses: its queues overflow, unmounts and network folders are silent) merely
// decides how soon a name is looked at. Every folder is scanned at the start,
// at jittered intervals, after anything fsnotify complains of, and when asked.
//
//	inbox     names the events spoke of, by directory; filled without any I/O
//	look      one name becomes one File: exclusions, link, sidecar, signatures
//	settler   pure: which Files have been the same for Folder.Settle, and which were handed over
//	verify    the file is opened once more, just before it is offered on Files
//	schedule  pure: when to look, scan, check the folder itself and watch anew
//
// One goroutine owns all of that for one folder, so that a folder which hangs
// stops no other. It stores nothing: a file is remembered only while it settles,
// waits in line, or was handed over less than a minute ago without the known
// predicate having answered yes. A million known files cost a lookup each; while
// a directory is scanned its names are held, 1 KiB for a file with its sidecar.
//
// What it has stood, with the engine behind it, is measured by hostile folders
// (create, append, truncate, rename, swap by link, fifo and folder, sidecars of
// other people, folders renamed away, deleted, unmounted, restarts; about 30
// operations a second). Seeds 601 to 610, of 60 s each, and 701, of 300 s: 28,438
// operations, 1,493 deliveries; nothing mixed, twice or in a wrong library, and
// every file that was whole and described at the end had arrived:
//
//	go test ./sync/engine -run TestHostileFolders -hostile.seconds=60 -hostile.seed=601
//
// A file that was handed over and could not be taken in, since the folder was away
// at that moment, comes again in a second or two (Again). A disk that is away for
// less than three seconds takes its watches with it, which is noticed some six
// seconds later: an ext4 disk that was unmounted for 45 ms had its new file
// delivered within seven.
//
//	go test ./sync/engine -run TestDiskAwayForAMoment -v
//
// Left out on purpose: reading sidecars, hashing, and every lasting state. That
// a file has vanished is not reported either; whoever opens it will see.
package watcher

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"time"
)

// Sig says whether a file is still the same; all zero when there is none.
type Sig struct {
	Size       int64  // bytes
	ModTime    int64  // Unix nanoseconds
	ChangeTime int64  // Unix nanoseconds of the inode's change; 0 where the system has none (Windows)
	ID         string // inode number; "" on Windows and on file systems that renumber (FAT, FUSE, network)
}

// Folder is what to watch. Its patterns are those of doublestar, matched
// without regard to case: against the slash-separated path relative to Path,
// and against the base name when the pattern holds no slash.
type Folder struct {
	Path      string   // absolute
	Recursive bool     // else only files directly in Path
	Include   []string // none means every file
	Exclude   []string // wins over Include; also prunes directories
	Settle    time.Duration
	Mode      string // auto, events or poll; "" is auto
	Mounted   bool   // something was mounted at Path when it was last seen: without, it is missing
}

// File is a file that has settled, with the sidecar that describes it. With
// Orphan set it is a sidecar that describes no file.
type File struct {
	Folder     string // Folder.Path
	Path       string // absolute, its raw bytes
	Sig        Sig
	Sidecar    string // absolute path, "" when there is none
	SidecarSig Sig
	Orphan     bool
	// Err says why the file cannot be described: its sidecar is ambiguous
	// (*sidecar.AmbiguousError) or no plain file, or one of the two cannot be opened (fs.ErrPermission).
	Err error
}

// Status is what is known of one folder.
type Status struct {
	Path     string
	State    string // unseen, ok, missing, unreadable or hanging
	Watch    string // events or poll; "" before the folder was first found
	Reason   string // why it is polled, missing or unreadable, in words
	LastScan time.Time
	Settling int  // files that are not yet handed over
	Ignored  int  // files the exclusions left out in the last scan
	Mounted  bool // something is mounted there, or was when it was last found
	Shut     bool // it is ok, but not all that is in it can be looked at, as Reason says
}

// The states of a folder.
const (
	StateUnseen     = "unseen" // not looked at yet
	StateOK         = "ok"
	StateMissing    = "missing"
	StateUnreadable = "unreadable"
	StateHanging    = "hanging" // a call into it has not come back for long
)

// The ways to watch a folder: Folder.Mode, and Status.Watch but for ModeAuto.
const (
	ModeAuto   = "auto"
	ModeEvents = "events"
	ModePoll   = "poll"
)

// stopGrace is how long Run waits for a folder that hangs in a system call.
const stopGrace = 2 * time.Second

// Watcher watches folders. Make one with New.
type Watcher struct {
	trees []*tree
	log   *slog.Logger
}

// New prepares a Watcher; nothing happens before Run. The known predicate says
// that the store has this very file with this very sidecar already, so that it
// is neither settled nor handed over. It is asked with Err unset, from several
// goroutines, for every file of every scan. It should answer no for a file that was last
// handed over with an Err, or that file is tried again only when it changes.
func New(folders []Folder, known func(File) bool, log *slog.Logger) *Watcher {
	w := &Watcher{log: log}
	for _, f := range folders {
		w.trees = append(w.trees, newTree(f, known, make(chan File), log))
	}
	return w
}

// Run watches until ctx ends and then returns nil. A folder that cannot be
// watched is no error: its Status says what is the matter.
func (w *Watcher) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, t := range w.trees {
		wg.Go(func() { t.run(ctx) })
	}
	watchdog := time.NewTicker(hangAfter / 2)
	defer watchdog.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-watchdog.C:
			w.sayHanging()
		}
	}
	w.waitFor(&wg)
	return nil
}

// waitFor waits for goroutines that were told to stop; not for long, since one may hang.
func (w *Watcher) waitFor(wg *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(stopGrace):
		w.log.Warn("a watched folder does not answer, stopping without it")
	}
}

// sayHanging logs each folder that has begun or ceased to hang.
func (w *Watcher) sayHanging() {
	for _, t := range w.trees {
		switch said, hangs := t.hang.said.Load(), !t.hang.since().IsZero(); {
		case hangs && !said:
			t.log.Warn("folder does not answer")
			t.hang.said.Store(true)
		case said && !hangs:
			t.log.Info("folder answers again")
			t.hang.said.Store(false)
		}
	}
}

// Files hands over a folder's settled files one by one; nil for a folder that
// is not watched. It is unbuffered and never closed; the consumer may be as slow
// as it likes. Each folder has its own, so that one whose files cannot be read
// keeps no other waiting.
func (w *Watcher) Files(folder string) <-chan File {
	for _, t := range w.trees {
		if t.Path == filepath.Clean(folder) {
			return t.out
		}
	}
	return nil
}

// Rescan has a folder, or all of them for "", scanned now. It never blocks.
func (w *Watcher) Rescan(folder string) {
	for _, t := range w.trees {
		if folder != "" && filepath.Clean(folder) != t.Path {
			continue
		}
		select {
		case t.rescan <- struct{}{}:
		default: // one is asked for already
		}
	}
}

// Hangs says whether a folder has ceased to answer.
func (w *Watcher) Hangs(folder string) bool {
	for _, t := range w.trees {
		if t.Path == filepath.Clean(folder) {
			return !t.hang.since().IsZero()
		}
	}
	return false
}

// HangReason is the Status.Reason of a folder that has not answered since then.
func HangReason(since time.Time) string {
	return "it has not answered since " + since.Local().Format("2006-01-02 15:04:05") + "; look whether its network share or disk works"
}

// Reexamine is Rescan, and has files handed over again that were a moment ago,
// as long as the known predicate says no of them.
func (w *Watcher) Reexamine(folder string) {
	for _, t := range w.trees {
		if folder == "" || filepath.Clean(folder) == t.Path {
			t.anew.Store(true)
		}
	}
	w.Rescan(folder)
}

// Status says how each folder fares, in the order given to New.
func (w *Watcher) Status() []Status {
	all := make([]Status, 0, len(w.trees))
	for _, t := range w.trees {
		all = append(all, t.snapshot())
	}
	return all
}

// Settling lists the files (and sidecars without one) that still settle or wait
// to be handed over.
func (w *Watcher) Settling() []string {
	var paths []string
	for _, t := range w.trees {
		paths = append(paths, t.unsettled()...)
	}
	return paths
}
