package sidecar

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxFaults bounds a report: a file of 60,000 commas is one fault to a person.
const maxFaults = 25

// Fault is one thing wrong in a sidecar, in words for the person who wrote it.
type Fault struct {
	// Line and Column count from 1, columns in characters; both are 0 when the
	// fault is of the file as a whole.
	Line, Column int
	Text         string
}

// String is the fault with its place in front.
func (f Fault) String() string {
	if f.Line == 0 {
		return f.Text
	}
	return fmt.Sprintf("line %d, column %d: %s", f.Line, f.Column, f.Text)
}

// Error holds every fault found in one sidecar, in the order of their places.
type Error struct {
	Faults []Fault
}

// Error is all faults on one line.
func (e *Error) Error() string {
	texts := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		texts[i] = f.String()
	}
	return strings.Join(texts, "; ")
}

// faults gathers what is wrong in text. Places are kept as offsets in bytes
// until the report is made.
type faults struct {
	text []byte
	list []placed
}

type placed struct {
	pos  int // offset in bytes; -1 for the file as a whole
	text string
}

func (n *faults) at(pos int, format string, args ...any) {
	n.list = append(n.list, placed{pos, fmt.Sprintf(format, args...)})
}

func (n *faults) whole(text string) {
	n.list = append(n.list, placed{-1, text})
}

// err is nil or an *Error.
func (n *faults) err() error {
	if len(n.list) == 0 {
		return nil
	}
	slices.SortStableFunc(n.list, func(a, b placed) int { return cmp.Compare(a.pos, b.pos) })
	report := &Error{}
	for i, p := range n.list {
		if i == maxFaults {
			report.Faults = append(report.Faults, Fault{Text: fmt.Sprintf("and %d more", len(n.list)-i)})
			break
		}
		report.Faults = append(report.Faults, n.fault(p))
	}
	return report
}

func (n *faults) fault(p placed) Fault {
	if p.pos < 0 {
		return Fault{Text: p.text}
	}
	line, column := place(n.text, p.pos)
	return Fault{Line: line, Column: column, Text: p.text}
}

// place turns an offset in bytes into a line and a column in characters.
func place(text []byte, pos int) (line, column int) {
	before := text[:pos]
	start := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(before[start:]) + 1
}

// plainText checks that data can be text at all and takes a byte order mark
// off. Its fault stands alone: behind it nothing could be read.
func plainText(data []byte) (text []byte, fault Fault, ok bool) {
	if len(data) > MaxSize {
		return nil, Fault{Text: "the file is larger than 64 KiB: a sidecar is a short text about another file"}, false
	}
	text = bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF"))
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return nil, Fault{Text: "the file is empty; it may still be being written"}, false
	case len(bytes.Trim(text, "\x00")) == 0:
		return nil, Fault{Text: "the file holds only zero bytes: it was not written to its end, save it again"}, false
	case bytes.HasPrefix(text, []byte("\xFF\xFE")), bytes.HasPrefix(text, []byte("\xFE\xFF")):
		return nil, Fault{Text: "the file is UTF-16 text (some editors call it Unicode): save it as UTF-8"}, false
	}
	if pos := bytes.IndexByte(text, 0); pos >= 0 && utf8.Valid(text[:pos]) {
		line, column := place(text, pos)
		return nil, Fault{line, column, "a zero byte stands here: the file is damaged or no text, save it again as UTF-8"}, false
	}
	for pos := 0; pos < len(text); {
		r, size := utf8.DecodeRune(text[pos:])
		if r == utf8.RuneError && size == 1 {
			line, column := place(text, pos)
			return nil, Fault{line, column, fmt.Sprintf("byte 0x%02X is not UTF-8: save the file as UTF-8", text[pos])}, false
		}
		pos += size
	}
	return text, Fault{}, true
}

// shown is text as a report quotes it: in quotes, escaped, not too long.
func shown(text string) string {
	const most = 40
	if utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most]) + "…"
	}
	return fmt.Sprintf("%q", text)
}

// Nearest is the one of known that was probably meant by word, "" when none is
// near: the same but for case, "-" and "_", the beginning of a single one, or
// at most two typing slips away.
func Nearest(word string, known []string) string {
	bare := strings.NewReplacer("-", "", "_", "")
	word = strings.ToLower(bare.Replace(word))
	limit := min(2, utf8.RuneCountInString(word)/3)
	best, bestSlips, begins := "", limit+1, []string(nil)
	for _, k := range known {
		low := strings.ToLower(bare.Replace(k))
		if s := slips(word, low, bestSlips); s < bestSlips {
			best, bestSlips = k, s
		}
		if len(word) >= 3 && strings.HasPrefix(low, word) {
			begins = append(begins, k)
		}
	}
	if best == "" && len(begins) == 1 {
		return begins[0]
	}
	return best
}

// slips counts the letters to add, drop, replace or swap with their neighbour
// to get from a to b, giving up at most.
func slips(a, b string, most int) int {
	x, y := []rune(a), []rune(b)
	if d := len(x) - len(y); d >= most || -d >= most {
		return most
	}
	var older, old []int
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := range x {
		older, old, row = old, row, make([]int, len(y)+1)
		row[0] = i + 1
		for j := range y {
			cost := 1
			if x[i] == y[j] {
				cost = 0
			}
			row[j+1] = min(old[j]+cost, old[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				row[j+1] = min(row[j+1], older[j-1]+1)
			}
		}
	}
	return row[len(y)]
}
