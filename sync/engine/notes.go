package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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
			return e.unnote(f)
		}
		return e.writeNote(f)
	})
	if errors.Is(err, errHangs) || inUse(err) {
		return nil // done later: by sweep, or with the delivery
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
	if folder.OnFailure == "move" && f.State == store.Refused && !away {
		if moved, err := e.moveToFailed(f); moved || err != nil {
			return err
		}
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
// is another matter. One that cannot be moved now gets its note where it lies.
func (e *Engine) moveToFailed(f store.File) (moved bool, err error) {
	if is, err := same(f.Path, f.Sig); err != nil || !is {
		return false, nil
	}
	name, back := filepath.Base(f.Path), filepath.Dir(f.Path)
	todo, _, _ := strings.Cut(f.Hint, ";")
	there := func(target string) store.File {
		m := f
		m.Path = target
		m.Hint = strings.ReplaceAll(todo, name, filepath.Base(target)) + "; then move the file and its sidecar back to " + back
		return m
	}
	target, err := e.moveTo(failedFolder, f, NoteSuffix, func(target string) []byte { return noteText(there(target)) })
	if err != nil {
		e.Log.Warn("refused, but it could not be moved away", e.file(f.Path), "err", pathless(err))
		return false, nil
	}
	if err := failpoint.Hit("refused.moved"); err != nil {
		return true, fmt.Errorf("record move: %w", err)
	}
	m := there(target)
	m.Note = beside(target, NoteSuffix)
	if sig, err := watcher.Lstat(target); err == nil {
		m.Sig = store.Sig(sig)
	}
	if err := e.Store.Put(m); err != nil {
		return true, err
	}
	_ = e.unnote(f) // beside the place where it lay; it says why if that fails
	return true, e.Store.Forget(f.Path)
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
	fmt.Fprintf(&b, "%s\n\n", noteBegins(notedFile(f.Path)))
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
	target, err := placeOf(path, suffix)
	if err == nil {
		err = store.WriteFile(target, text, 0o644)
	}
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

// placeOf is where the note or receipt of a file goes: beside it, and never over
// a file that somebody else has put there under that name.
func placeOf(path, suffix string) (string, error) {
	for n := 1; ; n++ {
		target := beside(numbered(path, n), suffix)
		own, err := ownAt(target, suffix, path)
		if own || errors.Is(err, fs.ErrNotExist) {
			return target, nil
		}
		if err != nil {
			return "", err
		}
	}
}

// ownAt says whether a file is a note or receipt about the one at path that this
// program wrote.
func ownAt(target, suffix, path string) (bool, error) {
	info, err := os.Lstat(target)
	if err != nil || !info.Mode().IsRegular() || info.Size() > longestNote {
		return false, err
	}
	data, err := os.ReadFile(target)
	if errors.Is(err, fs.ErrPermission) {
		return false, nil // it can read its own
	}
	if suffix == NoteSuffix {
		return bytes.HasPrefix(data, []byte(noteBegins(path))), err
	}
	var r Receipt
	if err != nil || json.Unmarshal(data, &r) != nil {
		return false, err
	}
	return r.File == jsonName(path) && len(r.SHA256) == 2*sha256.Size && r.State != "" && !r.DeliveredAt.IsZero(), nil
}

// jsonName is a file's name as it comes out of a receipt: JSON is UTF-8.
func jsonName(path string) string { return string([]rune(filepath.Base(path))) }

// longestNote is more than any note or receipt takes, in bytes.
const longestNote = 1 << 20

func noteBegins(path string) string {
	return printable(filepath.Base(path)) + " has not been delivered."
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

// unnote removes the note of a matter that is solved; what somebody has put in
// its place stays. An error is returned only where another program has it open.
func (e *Engine) unnote(f store.File) error {
	if f.Note == "" {
		return nil
	}
	err := failpoint.Hit("note.remove")
	own := false
	if err == nil {
		own, err = ownAt(f.Note, NoteSuffix, notedFile(f.Path))
	}
	if err == nil && own {
		err = os.Remove(f.Note)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.Log.Warn("note could not be removed", e.file(f.Path), "err", pathless(err))
		if inUse(err) {
			return fmt.Errorf("remove note: %w", err)
		}
		return nil
	}
	if err := e.Store.SetNote(f.Path, ""); err != nil {
		e.Log.Warn("note could not be forgotten", e.file(f.Path), "err", err)
	}
	return nil
}
