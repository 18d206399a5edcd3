package store

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/digime-sync/digime-sync/store/failpoint"
)

const (
	auditName   = "audit.log"
	maxLine     = 1 << 20
	auditPerm   = 0o600
	tailSection = 64 << 10
)

// auditLog appends to the audit log. Its caller sees to it that there is one at a time.
type auditLog struct {
	path  string
	log   *slog.Logger
	f     *os.File // nil: to be opened again
	end   int64    // up to here everything is whole lines and flushed
	dirty bool     // bytes beyond end may be in the file
	cut   bool     // somebody shortened it while it was open: it has lost lines
	syncs int      // how often the file was flushed
}

// openAudit opens or creates the log in dir and puts its last line right.
func openAudit(dir string, log *slog.Logger) (*auditLog, error) {
	a := &auditLog{path: filepath.Join(dir, auditName), log: log}
	f, err := os.OpenFile(a.path, os.O_RDWR|os.O_CREATE, auditPerm)
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	a.f = f
	if err := adopt(a.path); err != nil {
		return nil, errors.Join(fmt.Errorf("open audit log: %w", err), f.Close())
	}
	if err := a.tidy(); err != nil {
		return nil, errors.Join(fmt.Errorf("repair the end of %s: %w", a.path, diskFull(err)), f.Close())
	}
	if err := syncDir(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("open audit log: %w", err), f.Close())
	}
	return a, nil
}

// tidy finds the end of the last whole line and cuts what lies behind it: a
// line that was being appended when the machine stopped was never acknowledged.
func (a *auditLog) tidy() error {
	size, err := a.f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	whole, err := lastNewline(a.f, size)
	if err != nil {
		return err
	}
	if whole == size {
		a.end = size
		return a.f.Sync()
	}
	if tail := make([]byte, min(size-whole, maxLine)); size-whole < maxLine {
		if _, err := a.f.ReadAt(tail, whole); err != nil {
			return err
		}
		if _, err := parseLine(tail); err == nil {
			a.log.Warn("audit log: last line was complete but for its newline", "path", a.path)
			a.end = size
			return a.write([]byte("\n"))
		}
	}
	a.log.Warn("audit log: incomplete last line cut off", "path", a.path, "offset", whole, "bytes", size-whole)
	if err := failpoint.Hit("audit.cut"); err != nil {
		return err
	}
	if err := a.f.Truncate(whole); err != nil {
		return err
	}
	a.end = whole
	return a.f.Sync()
}

// lastNewline returns the offset behind the last newline before size, 0 if there is none.
func lastNewline(f *os.File, size int64) (int64, error) {
	buf := make([]byte, tailSection)
	for end := size; end > 0; {
		start := max(0, end-tailSection)
		part := buf[:end-start]
		if _, err := f.ReadAt(part, start); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			return start + int64(i) + 1, nil
		}
		end = start
	}
	return 0, nil
}

// append adds whole lines and flushes them. After an error none of them counts:
// the next append first cuts off whatever of them reached the file.
func (a *auditLog) append(lines []byte) error {
	if a.f == nil || a.dirty || a.shortened() {
		if err := a.reopen(); err != nil {
			return fmt.Errorf("reopen audit log: %w", diskFull(err))
		}
	}
	if err := a.write(lines); err != nil {
		return fmt.Errorf("append to audit log: %w", diskFull(err))
	}
	return nil
}

// shortened says whether the file has lost bytes that were flushed: to write
// behind them would leave a hole.
func (a *auditLog) shortened() bool {
	info, err := a.f.Stat()
	return err == nil && info.Size() < a.end
}

func (a *auditLog) write(lines []byte) error {
	a.dirty = true
	err := failpoint.Hit("audit.write")
	if err == nil {
		_, err = a.f.WriteAt(lines, a.end)
	}
	if err == nil {
		err = failpoint.Hit("audit.written")
	}
	if err != nil {
		// What is half there is removed at once if possible, so that other readers do not see it.
		if a.f.Truncate(a.end) == nil {
			a.dirty = a.f.Sync() != nil
		}
		return err
	}
	a.syncs++
	if err := a.f.Sync(); err != nil {
		return err
	}
	if err := failpoint.Hit("audit.flushed"); err != nil {
		return err
	}
	a.end += int64(len(lines))
	a.dirty = false
	return nil
}

// reopen starts again from the file after an error. A flush that failed must
// not be repeated as if nothing had happened: the system may have dropped the
// pages and call them clean. So the bytes beyond the last good flush are cut
// off and written anew by whoever still needs them.
func (a *auditLog) reopen() error {
	if err := failpoint.Hit("audit.reopen"); err != nil {
		return err
	}
	if a.f != nil {
		_ = a.f.Close() // its state is what we no longer trust
		a.f = nil
	}
	f, err := os.OpenFile(a.path, os.O_RDWR|os.O_CREATE, auditPerm)
	if err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil && size > a.end {
		a.log.Warn("audit log: entries that were not flushed cut off", "path", a.path, "offset", a.end, "bytes", size-a.end)
		err = f.Truncate(a.end)
	}
	if err == nil && size < a.end {
		a.log.Error("audit log: shorter than it was", "path", a.path, "bytes", size, "expected", a.end)
		a.cut = true
		a.end, err = lastNewline(f, size)
		if err == nil {
			err = f.Truncate(a.end)
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	a.f, a.dirty = f, false
	return nil
}

// at says whether a line begins at offset, as it must where the database left off.
func (a *auditLog) at(offset int64) bool {
	if offset == 0 {
		return true
	}
	var b [1]byte
	if offset > a.end {
		return false
	}
	_, err := a.f.ReadAt(b[:], offset-1)
	return err == nil && b[0] == '\n'
}

// scan hands every whole entry between from and the end to fn, with the offset
// behind it, and returns the number of damaged lines it left out.
func (a *auditLog) scan(from int64, fn func(e Entry, next int64) error) (damaged int, err error) {
	return scanLines(io.NewSectionReader(a.f, from, a.end-from), from, fn)
}

func scanLines(r io.Reader, offset int64, fn func(e Entry, next int64) error) (damaged int, err error) {
	err = scanRaw(r, offset, func(line []byte, next int64) error {
		e, err := parseLine(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil {
			damaged++
			return nil
		}
		return fn(e, next)
	})
	return damaged, err
}

// scanRaw hands every whole line to fn, with its newline and the offset behind it. One
// that is too long to be one comes in pieces.
func scanRaw(r io.Reader, offset int64, fn func(line []byte, next int64) error) error {
	br := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := br.ReadSlice('\n')
		offset += int64(len(line))
		if err == io.EOF {
			return nil // an incomplete last line is one being written
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if err := fn(line, offset); err != nil {
			return err
		}
	}
}

func (a *auditLog) close() error {
	if a.f == nil {
		return nil
	}
	f := a.f
	a.f = nil
	return f.Close()
}

// ReadAudit hands every entry of the audit log in dir to fn, oldest first, also
// while another process appends to it. It returns fn's error, or at the end a
// *DamagedError when damaged lines were left out. No log means no entries.
func ReadAudit(dir string, fn func(Entry) error) error {
	path := filepath.Join(dir, auditName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open audit log: %w", err)
	}
	defer f.Close()
	damaged, err := scanLines(f, 0, func(e Entry, _ int64) error { return fn(e) })
	if err != nil {
		return fmt.Errorf("read audit log: %w", err)
	}
	if damaged > 0 {
		return &DamagedError{Path: path, Reason: fmt.Sprintf("%d lines left out", damaged)}
	}
	return nil
}
