package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/store/failpoint"
	"github.com/digime-sync/digime-sync/watcher"
)

// Names of what the service itself puts into watched folders.
const (
	ReceiptSuffix = ".receipt.json"
	NoteSuffix    = ".error.txt"
	sentFolder    = "Sent"
	failedFolder  = "Failed"
)

// Receipt is what lies beside a delivered file, as JSON.
type Receipt struct {
	File        string    `json:"file"`
	State       string    `json:"state"` // delivered or duplicate
	Library     string    `json:"library"`
	SHA256      string    `json:"sha256"`
	Size        int64     `json:"size"` // bytes
	DeliveredAt time.Time `json:"delivered_at"`
	Attempts    int       `json:"attempts"`
	MayBeDouble bool      `json:"may_be_double"`
	Reason      string    `json:"reason,omitempty"`
	Version     string    `json:"version"` // of digime-sync
}

// finishing holds the paths whose after-actions, or notes by sweep, are under way.
// A push, a scan and the sweep may come to one at the same time, and an engine that
// gave way may have left one behind: of two moves of a file, one would see the
// other's half, and a note would come after it was to be taken away.
var finishing sync.Map

var errFinishing = errors.New("what comes after the delivery is under way")

// finish does what comes after a delivery, as the folder says: receipt, then
// keep, move or delete. It may run again at any time; what is done is not done
// twice. What it cannot do now, sweep tries again.
func (e *Engine) finish(path string) error {
	f, ok, err := e.Store.Get(path)
	if err != nil || !ok || f.After == "" || f.State != store.Delivered && f.State != store.Duplicate {
		return err
	}
	err = try(e, f.Folder, f.Path, func() error {
		if _, busy := finishing.LoadOrStore(path, true); busy {
			return errFinishing
		}
		defer finishing.Delete(path)
		now, _, err := e.Store.Get(path) // sweep may have written a note since
		if err != nil {
			return err
		}
		f.Note = now.Note
		if note := beside(f.Path, NoteSuffix); f.Note == "" {
			if own, err := ownAt(note, NoteSuffix, f.Path); err == nil && own {
				f.Note = note // the process was killed before it was recorded
			}
		}
		noted := e.unnote(f)
		return errors.Join(e.settleDown(f), noted)
	})
	if errors.Is(err, errFinishing) {
		return nil
	}
	e.sayUnfinished(f, err)
	if err != nil {
		return nil
	}
	if err := failpoint.Hit("after.done"); err != nil {
		return err
	}
	return e.Store.AfterDone(path)
}

// settleDown writes the receipt and moves or deletes the file. A file or
// sidecar that is not the delivered one any more is left alone.
func (e *Engine) settleDown(f store.File) error {
	receipt, err := e.receiptText(f)
	if err != nil {
		return err
	}
	if f.After == "move" {
		target, err := e.moveTo(sentFolder, f, ReceiptSuffix, func(string) []byte { return receipt })
		if err != nil {
			return err
		}
		if err := failpoint.Hit("after.moved"); err != nil {
			return err
		}
		return e.Store.SetMoved(f.Path, target)
	}
	if err := failpoint.Hit("after.receipt"); err != nil {
		return fmt.Errorf("write receipt: %w", err)
	}
	if err := e.put(f, f.Path, ReceiptSuffix, receipt); err != nil {
		return fmt.Errorf("write receipt: %w", err)
	}
	if f.After == "delete" {
		return e.remove(f)
	}
	return nil
}

func (e *Engine) receiptText(f store.File) ([]byte, error) {
	text, err := json.MarshalIndent(Receipt{
		File: filepath.Base(f.Path), State: string(f.State), Library: f.Library, SHA256: f.SHA256, Size: f.Sig.Size,
		DeliveredAt: f.DeliveredAt, Attempts: f.Attempts, MayBeDouble: f.Doubtful, Reason: f.Reason, Version: e.Version,
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode receipt: %w", err)
	}
	return append(text, '\n'), nil
}

// same says whether what lies at path is still what sig describes. That it is,
// but that somebody is writing to it, or that it cannot be looked into, is an
// error: what was to be done with it is done later.
func same(path string, sig store.Sig) (bool, error) {
	now, err := watcher.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case store.Sig(now) != sig:
		return false, nil
	}
	f, err := watcher.Open(path)
	if err != nil {
		return false, err
	}
	return true, f.Close()
}

// remove deletes the sidecar and the file, unless another lies there by now, which
// the sidecar describes then. The sidecar goes first: one that stayed behind alone
// would be taken for that of the next file of this name, which may be another
// person's.
func (e *Engine) remove(f store.File) error {
	if err := failpoint.Hit("after.delete"); err != nil {
		return fmt.Errorf("delete file: %w", err)
	}
	if is, err := same(f.Path, f.Sig); err != nil || !is && exists(f.Path) {
		return stepError("delete file", err)
	}
	if side := sidecarPath(f); side != "" {
		if err := removeSettled(side, sidecarSig(f)); err != nil {
			return fmt.Errorf("delete sidecar: %w", err)
		}
	}
	if err := failpoint.Hit("after.deleted"); err != nil {
		return fmt.Errorf("delete file: %w", err)
	}
	return stepError("delete file", removeSettled(f.Path, f.Sig))
}

// sidecarSig is a delivered file's sidecar as it was read, whatever its inode has
// gone through since: a link to it, other rights, or its being put aside and brought
// back change no word of it.
func sidecarSig(f store.File) store.Sig {
	sig := f.SidecarSig
	if now, err := watcher.Lstat(sidecarPath(f)); err == nil {
		sig.ChangeTime = now.ChangeTime
	}
	return sig
}

// moveTo puts the file, its sidecar and the note or receipt about them into a
// subfolder under names that are free for all three, and returns the file's. The
// note goes first: it marks the place, so that a move broken off in the middle
// is finished there.
func (e *Engine) moveTo(sub string, f store.File, suffix string, note func(target string) []byte) (target string, err error) {
	rel, err := filepath.Rel(f.Folder, f.Path)
	if err != nil {
		return "", fmt.Errorf("move file: %w", err)
	}
	if below(f.MovedTo, filepath.Join(f.Folder, sub)) && !exists(f.Path) {
		return f.MovedTo, nil // that far it came before
	}
	for n := 1; ; n++ {
		target := numbered(filepath.Join(f.Folder, sub, rel), n)
		side, mark, text := movedSidecar(f, target, n), beside(target, suffix), note(target)
		if !placeFree(f, target, side, mark, text) {
			continue
		}
		err := os.MkdirAll(filepath.Dir(target), 0o755)
		if errors.Is(err, syscall.ENOTDIR) {
			return "", fmt.Errorf("make folder %s: %w: %s", filepath.Dir(target), errFileInTheWay, firstFile(filepath.Dir(target)))
		}
		if err != nil {
			return "", fmt.Errorf("make folder %s: %w", sub, err)
		}
		if err := e.leadsAstray(f.Folder, filepath.Dir(target)); err != nil {
			return "", err
		}
		if err := store.WriteFile(mark, text, 0o644); err != nil {
			return "", fmt.Errorf("write %s: %w", suffix, err)
		}
		if err := failpoint.Hit("after.marked"); err != nil {
			return "", fmt.Errorf("write %s: %w", suffix, err)
		}
		if err := moveBoth(f, target, side); err != nil {
			return "", err
		}
		return target, nil
	}
}

// leadsAstray refuses to move a file to where links lead into a watched folder:
// it would be taken in there, and be another person's.
func (e *Engine) leadsAstray(folder, dir string) error {
	linked := false
	for at := dir; below(at, folder) && at != folder; at = filepath.Dir(at) {
		_, err := os.Readlink(at)
		linked = linked || err == nil
	}
	if !linked {
		return nil
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("move file: %w", err)
	}
	for path := range e.folders {
		if home, err := filepath.EvalSymlinks(path); err == nil && below(real, home) {
			return fmt.Errorf("move file: %s leads by a link into %s, which is watched", dir, path)
		}
	}
	return nil
}

// placeFree says whether the three names are free, or this very move was broken
// off there.
func placeFree(f store.File, target, side, mark string, text []byte) bool {
	old, err := os.ReadFile(mark)
	ours := err == nil && bytes.Equal(old, text)
	switch {
	case exists(target): // a move that got that far is over unless the same file was dropped again
		return ours && (!exists(f.Path) || copied(f, target, side))
	case ours:
		return exists(f.Path) && !differ(side, sidecarPath(f)) // else it was moved to another place
	default:
		return !exists(mark) && (side == "" || !exists(side))
	}
}

// copied says whether a move to another file system was broken off between the
// copy and the removal. The sidecar had gone before; that of a file that was
// dropped again is there again.
func copied(f store.File, target, side string) bool {
	if side == "" || !exists(side) || exists(sidecarPath(f)) {
		return false
	}
	content, err := os.Open(target)
	if err != nil {
		return false
	}
	defer content.Close()
	h := sha256.New()
	_, err = io.Copy(h, content)
	return err == nil && hex.EncodeToString(h.Sum(nil)) == f.SHA256
}

// differ says whether both files are there and hold different things. Of two
// that are the same one is the copy of a move that was broken off.
func differ(a, b string) bool {
	one, errA := os.ReadFile(a)
	other, errB := os.ReadFile(b)
	return errA == nil && errB == nil && !bytes.Equal(one, other)
}

// movedSidecar is the sidecar's name beside target, "" if there is none.
func movedSidecar(f store.File, target string, n int) string {
	if f.Sidecar == "" {
		return ""
	}
	if rest, exact := strings.CutPrefix(f.Sidecar, filepath.Base(f.Path)); exact {
		return target + rest
	}
	return numbered(filepath.Join(filepath.Dir(target), f.Sidecar), n)
}

func moveBoth(f store.File, target, side string) error {
	link, _ := os.Readlink(f.Path) // before same: what same has seen must be what is moved
	if is, err := same(f.Path, f.Sig); err != nil || !is {
		return stepError("move file", err) // none: gone already, or another content by now
	}
	if exists(target) {
		return removeSettled(f.Path, f.Sig) // it was copied
	}
	described, err := moveSidecar(f, side)
	if err != nil {
		return fmt.Errorf("move sidecar: %w", err)
	}
	if err := failpoint.Hit("after.sidecar"); err != nil {
		return fmt.Errorf("move file: %w", err)
	}
	if err := store.Move(f.Path, target); err != nil {
		return fmt.Errorf("move file: %w", err)
	}
	sig := f.Sig
	if now, err := watcher.Lstat(target); err == nil {
		sig.ID = now.ID // of a copy, where Sent/ is on another file system
	}
	is, inUse := stillSame(target, sig, link)
	if is {
		return nil
	}
	if described {
		if err := bringBack(side, sidecarPath(f)); err != nil {
			return err
		}
	}
	return errors.Join(bringBack(target, f.Path), stepError("move file", inUse))
}

// moveSidecar moves a file's sidecar, "" if it has none, unless that is another
// one by now. What is there already is the copy of a move that was broken off.
func moveSidecar(f store.File, side string) (moved bool, err error) {
	from := sidecarPath(f)
	switch {
	case side == "":
		return false, nil
	case exists(side):
		return false, removeSettled(from, sidecarSig(f))
	}
	if is, err := same(from, sidecarSig(f)); err != nil || !is {
		return false, err
	}
	return true, store.Move(from, side)
}

func stepError(step string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", step, err)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// numbered returns "report (2).pdf" for report.pdf and 2.
func numbered(path string, n int) string {
	if n == 1 {
		return path
	}
	ext := filepath.Ext(path)
	return strings.TrimSuffix(path, ext) + " (" + strconv.Itoa(n) + ")" + ext
}

// sidecarPath returns where f's sidecar lies, "" if it has none.
func sidecarPath(f store.File) string {
	if f.Sidecar == "" {
		return ""
	}
	return filepath.Join(filepath.Dir(f.Path), f.Sidecar)
}

// pathless takes the path out of a file system's error, for the log.
func pathless(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	var l *os.LinkError
	if errors.As(err, &l) {
		return l.Err
	}
	return err
}
