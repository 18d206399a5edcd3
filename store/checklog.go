package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// logCheck is what is found in the audit log's lines.
type logCheck struct {
	checked *Checked
	x       *crossCheck // nil: the database is not whole
	unknown int         // deliveries the database should know, and does not
	damaged int         // lines, but for those with zeros
	zeros   int64       // bytes
	zeroAt  int64       // where the first is
}

// log checks the audit log's lines, and with x what they say against the database.
func (c *Checked) log(dir string, end int64, x *crossCheck) {
	f, err := os.Open(filepath.Join(dir, auditName))
	if errors.Is(err, fs.ErrNotExist) {
		if x != nil && x.audit > 0 {
			c.fault("the audit log is missing", "start the service, or wait a minute if it runs: it copies the deliveries that the database knows into a new one")
		}
		return
	}
	if err != nil {
		c.fault("the audit log cannot be read: "+err.Error(), hintLog)
		return
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil && end >= 0 {
		size = min(size, end)
	}
	whole := int64(0)
	if err == nil {
		whole, err = lastNewline(f, size)
	}
	if err != nil {
		c.fault("the audit log cannot be read: "+err.Error(), hintLog)
		return
	}
	c.AuditBytes = whole
	l := &logCheck{checked: c, x: x}
	if err := scanRaw(io.NewSectionReader(f, 0, whole), 0, l.line); err != nil {
		c.fault("the audit log cannot be read: "+err.Error(), hintLog)
	}
	if end < 0 && whole < size {
		l.tail(f, whole, size)
	}
	l.say(whole)
}

// line looks at one line, of which the next begins at next.
func (l *logCheck) line(line []byte, next int64) error {
	zeros := l.zero(line, next-int64(len(line)))
	e, err := parseLine(bytes.TrimSuffix(line, []byte("\n")))
	if err != nil && !zeros {
		l.damaged++
	}
	if err != nil {
		return nil
	}
	l.checked.AuditLines++
	if e.Event != EventDelivered {
		return nil
	}
	l.checked.Delivered[e.Library] = true
	if l.x != nil && next <= l.x.audit && !l.x.knows(e.Dest, e.SHA256) {
		l.unknown++
	}
	return nil
}

// zero counts the zeros of a piece of the log, which no line has any of.
func (l *logCheck) zero(piece []byte, at int64) bool {
	i := bytes.IndexByte(piece, 0)
	if i < 0 {
		return false
	}
	if l.zeros == 0 {
		l.zeroAt = at + int64(i)
	}
	l.zeros += int64(bytes.Count(piece, []byte{0}))
	return true
}

// tail looks at what comes behind the last whole line.
func (l *logCheck) tail(f *os.File, whole, size int64) {
	before := l.zeros
	buf := make([]byte, tailSection)
	for at := whole; at < size; {
		n, err := f.ReadAt(buf[:min(tailSection, size-at)], at)
		l.zero(buf[:n], at)
		if at += int64(n); err != nil {
			break
		}
	}
	if l.zeros == before {
		l.checked.fault(fmt.Sprintf("the last line of the audit log is incomplete (%d bytes)", size-whole),
			"nothing to do: it was never confirmed, and the next start cuts it off")
	}
}

// say draws the sum; the log's whole lines end at whole.
func (l *logCheck) say(whole int64) {
	c := l.checked
	short := l.x != nil && l.x.audit > whole
	if l.zeros > 0 {
		c.fault(l.zeroWords(short))
	} else if short {
		c.fault(fmt.Sprintf("the audit log ends at byte %d, the database knows it up to %d: it has lost lines", whole, l.x.audit), hintCopied)
	}
	if l.damaged > 0 {
		c.fault(fmt.Sprintf("%d lines of the audit log are damaged", l.damaged), hintLog)
	}
	if l.unknown > 0 {
		c.fault(fmt.Sprintf("the audit log tells of %d deliveries that the database does not know", l.unknown),
			"stop the service, rename state.db, and start it: it makes the database anew from the audit log")
	}
}

const hintCopied = "restart the service: it copies the deliveries that the database knows into the log"

// zeroWords says what a run of zeros means, and what to do; short says that they
// are the log's end, which a start finds.
func (l *logCheck) zeroWords(short bool) (what, hint string) {
	what = fmt.Sprintf("%d bytes of the audit log are zeros, from byte %d on, as a power cut leaves them: the lines that stood there are lost, "+
		"and with them when and how these files were delivered, and what people did then. ", l.zeros, l.zeroAt)
	if l.x == nil {
		return what + "As the database is not whole either, deliveries of which these lines told may be forgotten",
			"before the service starts: digime-sync state restore FILE --force; without a backup, what these lines told of is sent again where it still lies in its folder"
	}
	what += fmt.Sprintf("What was delivered is kept: the database is whole and knows %d deliveries, of which none is sent again", l.checked.Deliveries)
	if short {
		return what, hintCopied
	}
	return what, "nothing has to be done; make a backup, since the database alone knows these deliveries now (digime-sync state backup FILE), and look at the disk"
}
