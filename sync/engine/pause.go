package engine

import (
	"strings"
	"time"

	"github.com/digime-sync/digime-sync/store"
)

// A person may pause a library, or all of them: files are taken in and queued as
// ever, consents are kept alive, but no push begins until a person resumes it.

// Pause pauses a library, or all for "". Pushes that are under way are finished.
func (e *Engine) Pause(library, reason string) error {
	reason = strings.Join(strings.Fields(reason), " ")
	return e.Store.SetPause(store.Pause{Library: library, Reason: reason, Since: time.Now()})
}

// Resume ends the pause of a library, or that of all for "". It returns what is
// paused still. The error is a *UsageError when that is not paused.
func (e *Engine) Resume(library string) ([]store.Pause, error) {
	was, err := e.Store.ClearPause(library)
	if err != nil {
		return nil, err
	}
	left := e.Store.Pauses()
	if !was {
		what, hint := "nothing is paused as a whole", "digime-sync status"
		if library != "" {
			what = "library " + library + " is not paused by itself"
		}
		if len(left) > 0 {
			hint = "paused is: " + PauseWords(left[0]) + "; " + ResumeHint(left[0])
		}
		return nil, &UsageError{Reason: what, Hint: hint}
	}
	e.call()
	return left, nil
}

// PauseWords says what is paused, since when and why.
func PauseWords(p store.Pause) string {
	what := "all libraries"
	if p.Library != "" {
		what = "library " + p.Library
	}
	words := what + " since " + p.Since.Local().Format("2006-01-02 15:04")
	if p.Reason != "" {
		words += ": " + p.Reason
	}
	return words
}

// ResumeHint is the command by which it goes on.
func ResumeHint(p store.Pause) string {
	return strings.TrimSuffix("to go on: digime-sync resume "+p.Library, " ")
}

// withPause shows a file that waits as its library is paused.
func (e *Engine) withPause(f store.File) store.File {
	p, paused := e.Store.Paused(f.Library)
	if paused && (f.State == store.Queued || f.State == store.Retrying) {
		f.Reason, f.Hint, f.NextAttempt = "paused: "+PauseWords(p), ResumeHint(p), time.Time{}
	}
	return f
}

func (e *Engine) paused(library string) bool {
	_, paused := e.Store.Paused(library)
	return paused
}
