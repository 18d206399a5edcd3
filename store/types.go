package store

import (
	"errors"
	"fmt"
	"time"
)

// State is what became of a file, in the words people see.
type State string

// The states of a file.
const (
	Settling  State = "settling"  // still being written
	Waiting   State = "waiting"   // for its sidecar
	Queued    State = "queued"    // to be pushed
	Pushing   State = "pushing"   // a push has begun and has no outcome yet
	Delivered State = "delivered" // the library has it
	Duplicate State = "duplicate" // the library has it, from another file
	Refused   State = "refused"   // the file or its sidecar must be put right
	Retrying  State = "retrying"  // queued again after a passing fault
	Held      State = "held"      // needs a person
	Ignored   State = "ignored"   // excluded, or gone
)

// states gives each state the byte it has in the database. Append only.
var states = []State{"", Settling, Waiting, Queued, Pushing, Delivered, Duplicate, Refused, Retrying, Held, Ignored}

// Sig says whether a file is still the same: all zero when there is none.
// Times are Unix nanoseconds; ChangeTime is 0 where the system has none, ID is
// the inode or file index, "" when unknown.
type Sig struct {
	Size       int64  `json:"size"`
	ModTime    int64  `json:"mtime"`
	ChangeTime int64  `json:"ctime,omitzero"`
	ID         string `json:"id,omitzero"`
}

// File is what is known of one file. Path, the key, is raw bytes as the system
// gave them, as are Folder, Library, Dest, Sidecar, Note and MovedTo.
type File struct {
	Path    string `json:"-"`
	Folder  string `json:"folder,omitzero"`
	Library string `json:"library,omitzero"`
	Dest    string `json:"dest,omitzero"` // destination: kind of push, library, accounts
	State   State  `json:"state"`

	Sig        Sig    `json:"sig,omitzero"`
	SidecarSig Sig    `json:"sidecar_sig,omitzero"`
	Sidecar    string `json:"sidecar,omitzero"` // base name
	SHA256     string `json:"sha256,omitzero"`  // hex

	Reason  string `json:"reason,omitzero"`
	Hint    string `json:"hint,omitzero"`
	Code    string `json:"code,omitzero"`
	Message string `json:"message,omitzero"`

	Attempts int  `json:"attempts,omitzero"`
	Doubts   int  `json:"doubts,omitzero"`
	Asked    int  `json:"asked,omitzero"`    // how often its library could not be asked whether it has arrived, in this doubt
	Begun    bool `json:"begun,omitzero"`    // an attempt began and has no recorded outcome
	Released bool `json:"released,omitzero"` // the last chunk of that attempt may have left
	Doubtful bool `json:"doubtful,omitzero"` // delivered, perhaps twice; before: an attempt that was answered may have arrived all the same
	Again    bool `json:"again,omitzero"`    // to be pushed although it was delivered

	Since       time.Time `json:"since,omitzero"` // since when it stands like this, across attempts
	QueuedAt    time.Time `json:"queued_at,omitzero"`
	NextAttempt time.Time `json:"next_attempt,omitzero"` // zero: as soon as its turn comes
	DeliveredAt time.Time `json:"delivered_at,omitzero"`
	UpdatedAt   time.Time `json:"updated_at,omitzero"`

	Depends string `json:"depends,omitzero"`  // what has a file that rests outside the queue examined anew, in the engine's words
	Note    string `json:"note,omitzero"`     // path of the error note that was written, "" for none
	MovedTo string `json:"moved_to,omitzero"` // where the file was moved after its delivery or refusal, "" if it was not
	After   string `json:"after,omitzero"`    // after-action still to do once delivered: keep, move, delete; "" for none
}

// Hold keeps all files of a library from being pushed.
type Hold struct {
	Library string    `json:"-"`
	Reason  string    `json:"reason,omitzero"`
	Hint    string    `json:"hint,omitzero"`
	Code    string    `json:"code,omitzero"`
	Message string    `json:"message,omitzero"`
	Since   time.Time `json:"since,omitzero"`
	Until   time.Time `json:"until,omitzero"` // zero: until somebody acts
}

var (
	// ErrNewer is returned by Open for a database or vault file that a newer version of the program made.
	ErrNewer = errors.New("made by a newer version of this program")

	// ErrNotPushing is returned by Released for a file that has left the queue
	// meanwhile, or has new content: the push must be broken off.
	ErrNotPushing = errors.New("the file is not being pushed any more")

	// ErrSameContent is returned by Begin for a file whose content is being
	// pushed under another name. Next passes over such a file.
	ErrSameContent = errors.New("the same content is being pushed under another name")

	// ErrUnavailable is returned while the database could not be opened again
	// after an error, such as a full disk: the next change tries it.
	ErrUnavailable = errors.New("the database could not be opened again after an error")

	// ErrClosed is returned by every method after Close.
	ErrClosed = errors.New("the store is closed")
)

// LockedError says that another process has the database open.
type LockedError struct {
	Path string
	PID  int // 0: unknown
}

// Error names the file and the process.
func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s is in use by another process", e.Path)
	}
	return fmt.Sprintf("%s is in use by process %d", e.Path, e.PID)
}

// DamagedError says that what a file holds is not what was written to it.
type DamagedError struct {
	Path   string
	Reason string
	Err    error // may be nil
}

// Error names the file and what is wrong with it.
func (e *DamagedError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s is damaged: %s: %v", e.Path, e.Reason, e.Err)
	}
	return fmt.Sprintf("%s is damaged: %s", e.Path, e.Reason)
}

// Unwrap returns what was found, nil if there is no more to it.
func (e *DamagedError) Unwrap() error { return e.Err }
