package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/digime-sync/digime-sync/sidecar"
	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/store/failpoint"
	"github.com/digime-sync/digime-sync/watcher"
)

// patience is how long a file may wait for its sidecar, or be retried, before
// a note beside it says so.
const patience = 10 * time.Minute

// noteDue says whether a note beside the file should say how it stands.
func noteDue(f store.File, now time.Time) bool {
	switch f.State {
	case store.Refused, store.Held:
		return true
	case store.Waiting, store.Retrying:
		return now.Sub(f.Since) >= patience
	default:
		return false
	}
}

// keepNote writes the file's note if one is due, and takes away one that is
// solved.
func (e *Engine) keepNote(f store.File, now time.Time) error {
	err := try(e, f.Folder, f.Path, func() error {
		if !noteDue(f, now) {
			e.unnote(f)
			return nil
		}
		return e.writeNote(f)
	})
	if errors.Is(err, errHangs) {
		return nil // sweep does it when the folder answers again
	}
	return err
}

// noteOf writes the note of a file as the store has it.
func (e *Engine) noteOf(path string) error {
	f, ok, err := e.Store.Get(path)
	if err != nil || !ok {
		return err
	}
	return e.keepNote(f, time.Now())
}

// writeNote tells whoever dropped the file, where they dropped it.
func (e *Engine) writeNote(f store.File) error {
	folder := e.folders[f.Folder]
	if folder == nil || folder.OnFailure == "quiet" {
		return nil
	}
	away := strings.HasPrefix(f.Path, filepath.Join(f.Folder, failedFolder)+string(filepath.Separator))
	if folder.OnFailure == "move" && f.State == store.Refused && !away && same(f.Path, f.Sig) {
		return e.moveToFailed(f)
	}
	text := noteText(f)
	if f.Note != "" && !e.comesBack(f) {
		if old, err := os.ReadFile(f.Note); err == nil && bytes.Equal(old, text) {
			return nil
		}
	}
	if err := e.put(f, notedFile(f.Path), NoteSuffix, text); err != nil {
		e.Log.Warn("note could not be written", e.file(f.Path), "err", pathless(err))
	} else if e.comesBack(f) {
		_ = os.Remove(f.Note) // a copy in the state folder; the note is where it belongs
	}
	return nil
}

// comesBack says whether a file's note lies in the state folder although its
// folder can be written to again, as far as is known.
func (e *Engine) comesBack(f store.File) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return below(f.Note, e.notesFolder(f.Folder)) && e.diverted[f.Folder] == ""
}

// moveToFailed takes a refused file out of the way, with a note that says how
// to bring it back. What is known of it goes along: the next file of that name
// is another matter.
func (e *Engine) moveToFailed(f store.File) error {
	name, back := filepath.Base(f.Path), filepath.Dir(f.Path)
	todo, _, _ := strings.Cut(f.Hint, ";")
	moved := func(target string) store.File {
		m := f
		m.Path = target
		m.Hint = strings.ReplaceAll(todo, name, filepath.Base(target)) + "; then move the file and its sidecar back to " + back
		return m
	}
	target, err := e.moveTo(failedFolder, f, NoteSuffix, func(target string) []byte { return noteText(moved(target)) })
	if err != nil {
		e.Log.Warn("refused, but it could not be moved away", e.file(f.Path), "err", pathless(err))
		return nil
	}
	if err := failpoint.Hit("refused.moved"); err != nil {
		return fmt.Errorf("record move: %w", err)
	}
	m := moved(target)
	m.Note = beside(target, NoteSuffix)
	if sig, err := watcher.Lstat(target); err == nil {
		m.Sig = store.Sig(sig)
	}
	return errors.Join(e.Store.Put(m), e.Store.Forget(f.Path))
}

// failedPath is where a file lies that was refused and moved away.
func failedPath(f *Folder, path string) string {
	rel, err := filepath.Rel(f.Path, path)
	if err != nil {
		return ""
	}
	return filepath.Join(f.Path, failedFolder, rel)
}

// notedFile is the file a note is about: of a lone sidecar, the file it waits for.
func notedFile(path string) string {
	if sidecar.Is(path) {
		return path[:len(path)-len(sidecar.Suffix)]
	}
	return path
}

func noteText(f store.File) []byte {
	var b strings.Builder
	line := func(label, text string) {
		if text != "" {
			fmt.Fprintf(&b, "%-14s %s\n", label, text)
		}
	}
	fmt.Fprintf(&b, "%s has not been delivered.\n\n", printable(filepath.Base(notedFile(f.Path))))
	line("What:", f.Reason)
	line("Since:", f.Since.Local().Format("2006-01-02 15:04:05 -07:00"))
	line("What to do:", f.Hint)
	line("digi.me says:", strings.TrimSpace(f.Code+" "+f.Message))
	b.WriteString("\nNothing is lost: the file is kept. This note goes away by itself once the matter is solved.\n")
	return []byte(strings.ReplaceAll(b.String(), "\n", "\r\n")) // Notepad reads it too
}

func printable(name string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return '?'
		}
		return r
	}, name)
}

// put writes a note or receipt beside the file, or, where the folder cannot be
// written to, into the state folder, and remembers where the note is.
func (e *Engine) put(f store.File, path, suffix string, text []byte) error {
	target := beside(path, suffix)
	err := store.WriteFile(target, text, 0o644)
	diverted := keepsOut(err)
	if diverted {
		target = filepath.Join(e.notesFolder(f.Folder), flat(f.Folder, target))
		if err = os.MkdirAll(filepath.Dir(target), 0o700); err == nil {
			err = store.WriteFile(target, text, 0o600)
		}
	}
	if err != nil {
		return err
	}
	e.divert(f.Folder, diverted)
	if suffix != NoteSuffix || f.Note == target {
		return nil
	}
	if err := failpoint.Hit("note.written"); err != nil {
		return err
	}
	f.Note = target
	return e.Store.SetNote(f.Path, target)
}

// notesFolder is where notes go of a folder that cannot be written to.
func (e *Engine) notesFolder(folder string) string {
	return filepath.Join(e.StateDir, "notes", printable(filepath.Base(folder))+"-"+shortHash(folder))
}

func (e *Engine) divert(folder string, diverted bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, was := e.diverted[folder]; was == diverted {
		return
	}
	if diverted {
		e.diverted[folder] = e.notesFolder(folder)
		e.Log.Warn("folder cannot be written to: its notes go to the state folder", "folder", folder, "notes", e.diverted[folder])
		return
	}
	delete(e.diverted, folder)
}

// flat makes one file name of a path below a folder.
func flat(folder, path string) string {
	rel, err := filepath.Rel(folder, path)
	if err != nil {
		rel = filepath.Base(path)
	}
	return fit(strings.NewReplacer("/", "__", `\`, "__").Replace(rel), "")
}

func beside(path, suffix string) string {
	return filepath.Join(filepath.Dir(path), fit(filepath.Base(path), suffix))
}

// longestName is in bytes: what Linux's file systems take.
const longestName = 255

// fit returns name with the suffix, shortened where it would be too long; a
// hash keeps shortened names apart.
func fit(name, suffix string) string {
	if len(name)+len(suffix) <= longestName {
		return name + suffix
	}
	cut := name[:longestName-len(suffix)-10]
	for !utf8.ValidString(cut) && len(cut) > longestName/2 {
		cut = cut[:len(cut)-1]
	}
	return cut + "~" + shortHash(name) + suffix
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}

// unnote removes the note of a matter that is solved.
func (e *Engine) unnote(f store.File) {
	if f.Note == "" {
		return
	}
	err := failpoint.Hit("note.remove")
	if err == nil {
		err = os.Remove(f.Note)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.Log.Warn("note could not be removed", e.file(f.Path), "err", pathless(err))
		return
	}
	if err := e.Store.SetNote(f.Path, ""); err != nil {
		e.Log.Warn("note could not be forgotten", e.file(f.Path), "err", err)
	}
}
