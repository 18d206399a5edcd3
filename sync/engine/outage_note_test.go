package engine

import (
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
)

// However long an outage lasts, the note of a file is written once.
func TestNoteOfAnOutageStays(t *testing.T) {
	now := time.Now()
	note := func(next time.Time) string {
		f := store.File{Path: "/in/a.txt", State: store.Queued, QueuedAt: now}
		shown := waitsForHost(f, &Outage{Since: now, Next: next, Reason: "no way there"}, now)
		if !noteDue(shown, now.Add(patience)) || !shown.NextAttempt.Equal(next) {
			t.Errorf("%+v", shown)
		}
		return string(noteText(shown))
	}
	if a, b := note(now.Add(time.Minute)), note(now.Add(time.Hour)); a != b {
		t.Errorf("another note for another probe:\n%s%s", a, b)
	}
}
