// Package engine is the main loop: it carries files from the watcher to the
// cloud. Intake (describe, hash, dedupe and queue) and drain (push, record,
// after) meet only in the store, so that a crash anywhere is mended by running
// the ordinary path again:
//
//	watcher ─► take: describe, hash ─► store ─► drain: push, record ─► after
//
// Who owns what:
//
//	intake   two goroutines for each folder; they share nothing but the store
//	drain    one goroutine owns all lanes (the queues of the libraries) and
//	         starts every push; a push tells it the outcome on one channel
//	sweep    one goroutine keeps error notes true: writes those that are due,
//	         removes those that are solved, repeats after-actions that failed;
//	         drops the records of files that have been gone for long (prune)
//	consent  one goroutine keeps idle tokens alive, and warns before one ends
//	kept     one goroutine has answers to refreshes verified that could not be at once
//	guard    one goroutine sees to it that the state folder's files stay in place
//
// A fault of one file is written down with that file, a fault of one library
// holds that library's lane; only a fault of the store ends Run. A disk that is
// full, read-only or failing is not such a fault: what could not be written is
// tried again, and an answer of the service is held on to until it is recorded.
// A disk that has failed (EIO) for ten minutes ends Run after all, for a start
// that opens everything anew, unless an answer would be lost by that.
//
// A fault of the API's host, or of the way to it, stops all lanes: one probe at a
// time, a fetch of the key set, finds out when it is back (see host). What that
// stands: 25 rounds of 38 files each, 1,241 pushes broken off in every way
// before, during and after the body, 444 whole files whose answer was lost: none
// lost, 350 came twice, each of them after a lost answer and said to be.
//
//	go test ./sync/engine -run TestWireFaults -faults.rounds=25
//
// What it has stood, as a process under cmd/digime-sync's tests on two busy cores:
//
//	520 kills (SIGKILL) at 71 places, every failpoint among them, and 251 faults
//	of the service: 2,685 files, none lost, in part or in a wrong library, no
//	consent lost; 77 copies too many, each after an answer that was lost and
//	said in the receipt. 6 minutes.
//	    go test ./cmd/digime-sync -run 'TestCrash$' -v -timeout 1h -crash.rounds=450 -crash.seed=7
//	60 power cuts, half of them on ext4 and half on XFS: 1,443 files, none lost,
//	32 copies too many, likewise. 2 minutes.
//	    go test ./cmd/digime-sync -run TestPowerLoss -v -timeout 1h -power.rounds=30 -crash.seed=5
//	2 hours of mixed load, 41,411 files, 3,422 faults of the service: none lost, 349
//	copies too many, likewise; 73 goroutines at first and 71 at last, 32 file
//	descriptors and 31, 11.7 MiB of memory and 16.1; 2.0 KiB of database a file.
//	    go test ./cmd/digime-sync -run TestSoak -v -timeout 3h -soak.minutes=120
//
// Many files, on the same two cores, each with its sidecar in one folder:
//
//	50,000 dropped within 4 s, by which events were lost: each delivered once, after
//	440 s; 212 MiB of memory at most, the API's sandbox included.
//	    go test ./sync/engine -run TestManyFilesAtOnce -v -timeout 20m -scale.burst=50000
//	100,000 there before the start: queued after 151 s; at the next start all were
//	known after 7 s. 110 MiB of heap while the folder is scanned, none after; 300 MiB of
//	memory at most.
//	    go test ./sync/engine -run TestFilesThereBeforeTheStart -v -timeout 20m -scale.files=100000
//
// Left out on purpose: settling (watcher), what a descriptor is (sidecar), how
// a record lasts (store), how a push looks on the wire (sync/digime).
package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/digime-sync/digime-sync/sidecar"
	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/watcher"
)

// Values of Folder.Library that name a rule instead of a library.
const (
	BySubfolder = "by-subfolder" // the first path element names the library
	ByAccount   = "by-account"   // the sidecar's account does
)

// What Folder.Push names: where files go.
const (
	PushLibrary  = "library"
	PushProvider = "provider" // FHIR JSON to the person's account with a provider
	PushPostbox  = "postbox"  // the encrypted postboxes of 2021
)

// Folder is a watched folder and what becomes of the files in it.
type Folder struct {
	watcher.Folder
	Library          string           // a library's name, BySubfolder or ByAccount
	Contract         *digime.Contract // for libraries that are not listed; nil: none
	Push             string           // PushLibrary, PushProvider or PushPostbox; "" is PushLibrary
	Provider         digime.Provider  // for PushProvider, where the sidecar names none
	AccountReference string           // for PushProvider: what the account is looked up by where nothing names its id
	Optional         bool             // a file without a sidecar is pushed by the defaults alone
	Defaults         sidecar.Defaults
	AllowEmpty       bool
	Hold             time.Duration // how long a file is held back before it leaves
	After            string        // keep, move or delete
	OnFailure        string        // report, move or quiet
	InDoubt          string        // resend or hold
}

// Library is one person's digi.me, reached with the token the vault holds
// under the same name.
type Library struct {
	Name     string
	Contract digime.Contract
	Read     *digime.Contract       // by which it can be read back, with the token ReadToken names; nil: none
	Accounts []string               // the only accounts a sidecar may name; empty: any
	Postbox  *digime.PostboxAddress // for PushPostbox; nil: the one that came with the token
}

// Options are the parts an engine works with; all are required.
type Options struct {
	Folders   []Folder
	Libraries map[string]Library
	Store     *store.Store
	Vault     *store.Vault
	Client    *digime.Client
	StateDir  string // where notes go when a folder cannot be written to
	Version   string // of the program, for receipts
	FullNames bool   // log lines show file names instead of a short hash
	Log       *slog.Logger
}

// Engine carries files. Use New.
type Engine struct {
	Options
	watcher *watcher.Watcher
	folders map[string]*Folder
	stamps  map[string]string // of the configuration, by folder
	signal  chan struct{}     // woken is not empty
	pause   time.Duration     // after the first question about a reading, and after a failed one
	asking  time.Duration     // before a library that could not be asked for a file in doubt is asked again
	host    *host
	single  atomic.Bool  // a single pass is under way, which does not wait for a disk for long
	answers atomic.Int32 // of the service, that are held on to until they can be recorded
	round   atomic.Int64 // when the main loop last went round, Unix nanoseconds
	swept   atomic.Int64 // likewise, when sweep last began to go through all that is unfinished

	hangAfter   time.Duration // how long a folder may take to answer
	silentAfter time.Duration // how long nothing may move in a push that keeps its place
	leave       chan struct{} // closed when Run is to end

	mounts map[string]bool // the folders that mounts.json names; only sweep's, after New

	mu         sync.Mutex
	running    bool                 // by Run: what the watcher says of folders means something
	woken      map[string]bool      // lanes with something new to push; true: forget their pause
	unsaved    map[string]unsaved   // refreshed, but the vault could not be written yet
	kept       map[string]bool      // libraries with an answer that cannot be verified yet
	refreshed  map[string]time.Time // when each library's token was last renewed, by this process
	hung       map[string]bool      // folders that did not answer a single pass's scan
	diverted   map[string]string    // folder → where its notes go instead
	unfinished map[string]string    // path → why its after-action waits; on a second line what to do
	settleFrom map[string]time.Time // path → since when it is known to settle
	openLong   map[string]time.Time // path → since when another program has it open
	silences   silences             // of pushes that are under way
	trouble    trouble              // what is the matter with the state folder
}

// New returns an engine that does nothing until Run, Once or Push is called.
func New(o Options) *Engine {
	e := &Engine{
		Options: o,
		folders: map[string]*Folder{}, stamps: stampsOf(o.Folders, o.Libraries),
		signal: make(chan struct{}, 1),
		pause:  firstPause, asking: firstAsking, host: newHost(),
		woken: map[string]bool{}, unsaved: map[string]unsaved{}, kept: map[string]bool{}, refreshed: map[string]time.Time{}, diverted: map[string]string{},
		unfinished: map[string]string{}, hangAfter: hangAfter, silentAfter: silentAfter, leave: make(chan struct{}),
	}
	for i := range o.Folders {
		e.folders[o.Folders[i].Path] = &o.Folders[i]
	}
	if o.Store != nil { // what opening it had to repair is said as what was mended since
		e.trouble.mended, e.trouble.mendedAt = o.Store.Repaired(), time.Now()
	}
	e.mounts = e.readMounts()
	for path, folder := range e.folders {
		folder.Mounted = e.mounts[path]
	}
	e.watcher = watcher.New(e.watched(), e.known, o.Log)
	return e
}

// errRanBefore: what Run leaves behind, such as calls that hang, is not for a second one.
var errRanBefore = errors.New("an engine runs once: make a new one")

// Run carries files until ctx ends or the store fails. It can be called once for
// an engine; after that it is an error. It returns within 5 s
// of ctx's end, in the middle of uploads too, but for one thing: a token refresh
// that has left is waited for up to 25 s, since its answer may be the only copy
// of a person's consent; that is logged.
func (e *Engine) Run(ctx context.Context) error {
	e.mu.Lock()
	again := e.running
	e.running = true
	e.mu.Unlock()
	if again {
		return errRanBefore
	}
	g, ctx := errgroup.WithContext(ctx)
	defer e.leaveWith(ctx)()
	g.Go(func() error { return e.watcher.Run(ctx) })
	for path, folder := range e.folders {
		g.Go(func() error { e.tidy(ctx, folder); return nil })
		for range hashersPerFolder {
			g.Go(func() error { return e.intake(ctx, e.watcher.Files(path)) })
		}
	}
	g.Go(func() error { return e.drain(ctx, false, nil) })
	g.Go(func() error { return e.sweep(ctx) })
	g.Go(func() error { return e.consent(ctx) })
	g.Go(func() error { return e.verifyKept(ctx) })
	g.Go(func() error { return e.guard(ctx) })
	err := g.Wait()
	e.lastLook()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Once makes one pass: every file that is ready is pushed, once. Files that
// fail in passing stay queued for the next pass. A state folder that cannot be
// written to ends the pass with an error: whoever started it is to hear of it.
func (e *Engine) Once(ctx context.Context) error {
	err := e.once(ctx)
	if passingDisk(err) {
		return fmt.Errorf("the state folder cannot be written to; nothing is lost, the next pass goes on: %w", err)
	}
	return err
}

func (e *Engine) once(ctx context.Context) error {
	now := time.Now()
	e.findKept()
	e.verifyAll(ctx)
	if err := e.Store.Unfinished(func(f store.File) error { return e.examineOutdated(f, now) }); err != nil {
		return err
	}
	scan := watcher.Once(ctx, e.watched(), e.known, e.Log, func(f watcher.File) error { return e.takeOnce(ctx, f) })
	if passingDisk(scan) {
		return scan
	}
	e.noteHanging(scan)
	if err := e.drain(ctx, true, nil); err != nil {
		return err
	}
	if err := e.sweepOnce(time.Now()); err != nil {
		return err
	}
	if err := e.pruneAll(ctx); err != nil {
		return err
	}
	return scan
}

// Rescan looks at a folder's files again, at all folders for "".
// Who asks for that may know that the network is back: a host that cannot be
// reached is tried at once.
func (e *Engine) Rescan(folder string) {
	e.watcher.Rescan(folder)
	e.host.hinted(time.Now())
	e.call()
}

func (e *Engine) watched() []watcher.Folder {
	var fs []watcher.Folder
	for _, f := range e.Folders {
		fs = append(fs, f.Folder)
	}
	return fs
}

// known is the watcher's predicate: nothing is to be done about this file.
func (e *Engine) known(f watcher.File) bool {
	return e.Store.Known(f.Path, store.Sig(f.Sig), store.Sig(f.SidecarSig))
}

// folderOf returns the configured folder whose files path is one of, nil if
// there is none.
func (e *Engine) folderOf(path string) *Folder {
	f := e.configured(path)
	if f != nil && (f.Recursive || filepath.Dir(path) == f.Path) {
		return f
	}
	return nil
}

// file is how a log line names a file: patient-safe unless FullNames.
func (e *Engine) file(path string) slog.Attr {
	if e.FullNames {
		return slog.String("file", path)
	}
	sum := sha256.Sum256([]byte(path))
	return slog.String("file", filepath.Base(filepath.Dir(path))+"/#"+hex.EncodeToString(sum[:4]))
}
