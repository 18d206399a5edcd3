package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/watcher"
)

// Status is what `status --json` prints: what became of every file, and how
// libraries and folders stand.
type Status struct {
	Version   string              `json:"version"`
	Running   bool                `json:"running"`           // a daemon answered
	Trouble   string              `json:"trouble,omitempty"` // what stops everything
	Outage    *Outage             `json:"outage,omitempty"`  // the API cannot be reached
	Paused    []store.Pause       `json:"paused,omitempty"`  // by a person
	ClockSkew string              `json:"clock_skew,omitempty"`
	Files     []FileStatus        `json:"files"`
	Counts    map[store.State]int `json:"counts"`
	Libraries []LibraryStatus     `json:"libraries"`
	Folders   []FolderStatus      `json:"folders"`
	More      []More              `json:"more,omitempty"`   // what Overview leaves out of Files
	Reason    string              `json:"reason,omitempty"` // why nothing is known of the path that was asked for
	Hint      string              `json:"hint,omitempty"`

	unsent int
}

// Unsent is how many files wait for nothing but another attempt. It does not
// leave the process.
func (s Status) Unsent() int { return s.unsent }

// FileStatus is how one file stands.
type FileStatus struct {
	Path        string      `json:"path"` // absolute
	Folder      string      `json:"folder"`
	Library     string      `json:"library"`
	State       store.State `json:"state"`
	SHA256      string      `json:"sha256"`
	Size        int64       `json:"size"` // bytes
	Reason      string      `json:"reason"`
	Hint        string      `json:"hint"`
	Attempts    int         `json:"attempts"`
	NextAttempt *time.Time  `json:"next_attempt"`
	DeliveredAt *time.Time  `json:"delivered_at"`
	UpdatedAt   *time.Time  `json:"updated_at"`
	MovedTo     string      `json:"moved_to,omitempty"`
	Code        string      `json:"code,omitempty"` // the service's own
	Message     string      `json:"message,omitempty"`
	MayBeDouble bool        `json:"may_be_double,omitempty"`
}

// LibraryStatus is how one library stands: ok, held, or none when it has no
// token yet.
type LibraryStatus struct {
	Name           string     `json:"name"`
	State          string     `json:"state"`
	Reason         string     `json:"reason,omitempty"`
	Hint           string     `json:"hint,omitempty"`
	AccessExpires  *time.Time `json:"access_expires"`
	RefreshExpires *time.Time `json:"refresh_expires"`
	Queued         int        `json:"queued"`
}

// FolderStatus is how one watched folder stands, in the watcher's words: unseen,
// ok, missing, unreadable or hanging.
type FolderStatus struct {
	Path     string     `json:"path"`
	State    string     `json:"state"`
	Watch    string     `json:"watch"`
	Reason   string     `json:"reason,omitempty"`
	LastScan *time.Time `json:"last_scan"`
	Settling int        `json:"settling"`
	Ignored  int        `json:"ignored"`
	Notes    string     `json:"notes,omitempty"` // where notes go when not beside the files
	Shut     bool       `json:"shut,omitempty"`  // not all that is in it can be read, as the reason says
}

// clockTolerance is how far this machine's clock may be off before it is said.
const clockTolerance = 2 * time.Minute

// Status tells how the file at this path, or the files below it, stand; all for "".
func (e *Engine) Status(prefix string) (Status, error) { return e.status(prefix, nil) }

func (e *Engine) status(prefix string, b *brief) (Status, error) {
	s := Status{Version: e.Version, Files: []FileStatus{}, Libraries: []LibraryStatus{}, Folders: []FolderStatus{}, Counts: map[store.State]int{}}
	holds, err := e.Store.Holds()
	if err != nil {
		return e.cannotRead(s, fmt.Errorf("read holds: %w", err))
	}
	s.Trouble, s.Outage, s.Paused = e.troubled(), e.host.outage(), e.Store.Pauses()
	if skew, ok := e.Client.Skew(); ok && skew.Abs() > clockTolerance {
		s.ClockSkew = clockWords(skew)
	}
	s.Folders = e.folderStatus()
	queued, err := s.list(e, prefix, b, e.viewOf(&s, holds))
	if err != nil {
		return e.cannotRead(s, fmt.Errorf("read files: %w", err))
	}
	s.More = b.more()
	if len(s.Files) == 1 && s.Files[0].Path == prefix {
		e.receiptElsewhere(&s.Files[0])
	}
	if len(s.Files) == 0 && prefix != "" {
		s.unrecorded(e, prefix)
	}
	s.Libraries = e.libraryStatus(holds, queued)
	return s, nil
}

// list adds the files at or below prefix, and returns how many wait for each library.
func (s *Status) list(e *Engine, prefix string, b *brief, seen *view) (queued map[string]int, err error) {
	queued = map[string]int{}
	settling := e.settling(prefix)
	add := func(f store.File) {
		s.Counts[f.State]++
		if b.shows(f) {
			s.Files = append(s.Files, NewFileStatus(f))
		}
	}
	err = e.Store.FilesBut(prefix, func(path string, state store.State, reason bool) bool {
		if !below(path, prefix) || !b.skips(path, state, reason || seen.unfinished[path] != "") {
			return false
		}
		settling.recorded(path, state)
		s.Counts[state]++
		return true
	}, func(f store.File) error {
		if !below(f.Path, prefix) {
			return nil
		}
		settling.recorded(f.Path, f.State)
		f = seen.of(f)
		switch f.State {
		case store.Queued, store.Pushing, store.Retrying, store.Held:
			queued[f.Library]++
		}
		if f.State == store.Retrying || f.State == store.Queued && f.NextAttempt.IsZero() {
			s.unsent++
		}
		add(f)
		return nil
	})
	for _, f := range settling.rest(e) {
		add(f)
	}
	return queued, err
}

// below says whether path is top or lies below it; everything lies below "".
func below(path, top string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(top, string(filepath.Separator)))
	return ok && (rest == "" || top == "" || rest[0] == filepath.Separator)
}

// configured returns the folder whose path leads to path, watched or not.
func (e *Engine) configured(path string) *Folder {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if f := e.folders[dir]; f != nil || dir == filepath.Dir(dir) {
			return f
		}
	}
}

func (e *Engine) folderPath(path string) string {
	if f := e.configured(path); f != nil {
		return f.Path
	}
	return ""
}

// NewFileStatus makes of a record what people see of it.
func NewFileStatus(f store.File) FileStatus {
	return FileStatus{
		Path: f.Path, Folder: f.Folder, Library: f.Library, State: f.State, SHA256: f.SHA256, Size: f.Sig.Size,
		Reason: f.Reason, Hint: f.Hint, Attempts: f.Attempts, NextAttempt: when(f.NextAttempt), DeliveredAt: when(f.DeliveredAt),
		UpdatedAt: when(f.UpdatedAt), MovedTo: f.MovedTo, Code: f.Code, Message: f.Message, MayBeDouble: f.Doubtful && !f.DeliveredAt.IsZero(),
	}
}

func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (e *Engine) libraryStatus(holds map[string]store.Hold, queued map[string]int) []LibraryStatus {
	names, _ := e.Vault.List() // a token that cannot be read is said by TokenStatus, and by the guard
	for name := range e.Libraries {
		names = append(names, name)
	}
	for name := range queued {
		names = append(names, name)
	}
	slices.Sort(names)
	list := []LibraryStatus{}
	for _, name := range slices.Compact(names) {
		if _, read := TokenLibrary(name); read || name == "" {
			continue // a further token of a library; files whose sidecar does not say yet
		}
		l := TokenStatus(e.Vault, name)
		if h, held := holds[name]; held {
			l.State, l.Reason, l.Hint = "held", h.Reason, h.Hint
		}
		l.Queued = queued[name]
		list = append(list, l)
	}
	return list
}

// TokenStatus tells how a token in the vault stands: a library's, or its ReadToken.
func TokenStatus(v *store.Vault, library string) LibraryStatus {
	l := LibraryStatus{Name: library, State: "ok"}
	data, err := v.Load(library)
	var tok digime.Token
	if err == nil {
		tok, err = digime.ParseToken(data)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.State, l.Reason, l.Hint = "none", errNoToken.Error(), ConsentHint(library)
		return l
	case err != nil:
		l.State, l.Reason, l.Hint = "damaged", tokenFault(err), tokenHint(err, library)
		return l
	}
	if u := tok.Unverified; u != nil {
		l.State, l.Reason, l.Hint = "held", unverifiedReason(u), unverifiedHint(u, library)
		if tok.Refresh.Value != "" {
			l.AccessExpires, l.RefreshExpires = expiry(tok.Access), expiry(tok.Refresh)
		}
		return l
	}
	l.AccessExpires, l.RefreshExpires = expiry(tok.Access), expiry(tok.Refresh)
	if now := time.Now(); now.Before(*l.RefreshExpires) && warningDue(tok, now) > 0 {
		l.Reason = "the consent ends on " + l.RefreshExpires.Local().Format("2006-01-02 15:04")
		l.Hint = ConsentHint(library)
	}
	if time.Now().After(*l.RefreshExpires) {
		l.State, l.Reason, l.Hint = "expired", "the consent has ended: the refresh token has expired", ConsentHint(library)
	}
	return l
}

// KeyLostHint is what to type where the key is lost that the consents were sealed with.
const KeyLostHint = "digime-sync state restore FILE --force   (a backup has the key; stop the service before), or digime-sync authorize LIBRARY"

// tokenFault says in plain words why a token cannot be used.
func tokenFault(err error) string {
	var damaged *store.DamagedError
	switch {
	case errors.Is(err, store.ErrKeyLost):
		return store.ErrKeyLost.Error()
	case errors.As(err, &damaged):
		return "no copy of its token is whole: " + damaged.Path + " is damaged"
	}
	return err.Error()
}

func tokenHint(err error, library string) string {
	if errors.Is(err, store.ErrKeyLost) {
		return "digime-sync state restore FILE --force   (a backup has the key; stop the service before), or " + ConsentHint(library)
	}
	return ConsentHint(library)
}

func expiry(p digime.TokenPart) *time.Time {
	t := time.Unix(p.Expiry, 0).UTC()
	return &t
}

func (e *Engine) folderStatus() []FolderStatus {
	e.mu.Lock()
	running := e.running
	e.mu.Unlock()
	all := e.watcher.Status()
	for i, s := range all {
		if !running {
			all[i] = e.atRest(s.Path)
		}
		if since := hangingOf(s.Path).since(); !since.IsZero() {
			all[i].State, all[i].Reason = watcher.StateHanging, watcher.HangReason(since)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	list := []FolderStatus{}
	for _, s := range all {
		list = append(list, FolderStatus{Path: s.Path, State: s.State, Watch: s.Watch, Reason: s.Reason, LastScan: when(s.LastScan),
			Settling: s.Settling, Ignored: s.Ignored, Notes: e.diverted[s.Path], Shut: s.Shut})
	}
	return list
}

// atRest is how a folder stands that nobody watches.
func (e *Engine) atRest(path string) watcher.Status {
	s := watcher.Status{Path: path, State: watcher.StateOK}
	began := time.Now()
	unmounted, err := patiently(e, path, path, func(func()) (bool, error) {
		_, err := os.ReadDir(path)
		return err == nil && e.unmounted(path), err
	})
	switch {
	case errors.Is(err, errHangs):
		s.State, s.Reason = watcher.StateHanging, watcher.HangReason(began)
	case errors.Is(err, fs.ErrNotExist):
		s.State, s.Reason = watcher.StateMissing, "it is not there"
	case unmounted:
		s.State, s.Reason = watcher.StateMissing, watcher.UnmountedReason()
	case err != nil:
		s.State, s.Reason = watcher.StateUnreadable, err.Error()
	}
	return s
}
