package sidecar

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how far values may be nested; a sidecar needs five levels.
const maxDepth = 32

type kind int

const (
	isText kind = iota
	isNumber
	isWord // true, false or null
	isList
	isObject
	isFaulty // noted already; what it should be is not to be judged again
)

// node is one JSON value with its place. encoding/json gives neither places
// nor doubled keys, and stops at the first slip of syntax.
type node struct {
	kind    kind
	pos     int
	text    string // a text's value; a number or word as written
	items   []node
	members []member
}

type member struct {
	key   string
	pos   int
	value node
}

// found says in plain words what stands at the node.
func (n node) found() string {
	return [...]string{"a text", "a number", n.text, "a list", "an object", n.text}[n.kind]
}

// reader goes over the text once. Small slips (a comma missing or too many, a
// bad escape) are noted and read over, so that one report shows everything;
// after any other fault nothing behind it can be trusted, and reading stops.
type reader struct {
	text  []byte
	pos   int
	depth int
	notes *faults
}

// readJSON reads the whole text as one value; false when it had to stop.
func readJSON(text []byte, notes *faults) (node, bool) {
	r := &reader{text: text, notes: notes}
	root, ok := r.value()
	if !ok {
		return node{}, false
	}
	r.space()
	if r.pos < len(text) {
		notes.at(r.pos, "%s stands after the end: remove it", r.offending())
	}
	return root, true
}

func (r *reader) space() {
	for r.pos < len(r.text) && strings.IndexByte(" \t\r\n", r.text[r.pos]) >= 0 {
		r.pos++
	}
}

// next skips blanks and shows the next byte, 0 at the end.
func (r *reader) next() byte {
	r.space()
	if r.pos == len(r.text) {
		return 0
	}
	return r.text[r.pos]
}

func (r *reader) value() (node, bool) {
	switch c := r.next(); {
	case c == '{' || c == '[':
		return r.nested(c)
	case c == '"':
		pos := r.pos
		text, ok := r.string()
		return node{kind: isText, pos: pos, text: text}, ok
	case c == '-' || c >= '0' && c <= '9':
		return r.number(), true
	case r.letter():
		return r.word(), true
	}
	return node{}, r.stop("a value")
}

func (r *reader) nested(open byte) (n node, ok bool) {
	if r.depth == maxDepth {
		r.notes.at(r.pos, "this is nested too deeply")
		return node{}, false
	}
	r.depth++
	n = node{kind: isList, pos: r.pos}
	r.pos++
	if open == '[' {
		ok = r.list(&n)
	} else {
		n.kind = isObject
		ok = r.object(&n)
	}
	r.depth--
	return n, ok
}

// list reads the entries behind "[" and the "]".
func (r *reader) list(n *node) bool {
	return r.entries(']', "a comma or \"]\"", func() bool {
		item, ok := r.value()
		n.items = append(n.items, item)
		return ok
	})
}

// object reads the members behind "{" and the "}".
func (r *reader) object(n *node) bool {
	return r.entries('}', "a comma or \"}\"", func() bool {
		key, ok := r.key()
		if !ok {
			return false
		}
		m := member{key: key.text, pos: key.pos}
		switch c := r.next(); {
		case c == ':':
			r.pos++
		case r.begins():
			r.notes.at(r.pos, "a colon is missing after %s", shown(m.key))
		default:
			return r.stop("a colon")
		}
		m.value, ok = r.value()
		n.members = append(n.members, m)
		return ok
	})
}

func (r *reader) key() (node, bool) {
	if r.next() != '"' && !r.letter() {
		return node{}, r.stop("a field's name in double quotes")
	}
	n, ok := r.value()
	if n.kind == isWord {
		r.notes.at(n.pos, "%s must stand in double quotes", shown(n.text))
	}
	return n, ok
}

// letter says whether the reader stands at one.
func (r *reader) letter() bool {
	ch, _ := utf8.DecodeRune(r.text[r.pos:])
	return unicode.IsLetter(ch)
}

// begins says whether a value or a field can begin at the next byte.
func (r *reader) begins() bool {
	c := r.next()
	return c == '{' || c == '[' || c == '"' || c == '-' || c >= '0' && c <= '9' || r.letter()
}

// entries reads what is parted by commas up to the closing byte.
func (r *reader) entries(closing byte, wanted string, entry func() bool) bool {
	first, comma := true, -1 // comma is the place of the one read last, -1 behind an entry
	for {
		switch c := r.next(); {
		case c == closing:
			if comma >= 0 {
				r.notes.at(comma, "there is a comma too many before %q", string(closing))
			}
			r.pos++
			return true
		case c == ',':
			if first || comma >= 0 {
				r.notes.at(r.pos, "there is a comma too many")
			} else {
				comma = r.pos
			}
			r.pos++
			continue
		case first || comma >= 0:
		case r.begins():
			r.notes.at(r.pos, "a comma is missing before %s", r.offending())
		default:
			return r.stop(wanted)
		}
		if !entry() {
			return false
		}
		first, comma = false, -1
	}
}

// stop notes why reading cannot go on. It always says false.
func (r *reader) stop(wanted string) bool {
	c := r.next()
	rest := r.text[r.pos:]
	switch ch, _ := utf8.DecodeRune(rest); {
	case c == 0:
		r.notes.at(len(r.text), "the file ends in the middle; it may still be being written")
	case strings.ContainsRune("'‘’“”„«»", ch):
		r.notes.at(r.pos, "%c is not a straight double quote: write \"…\"", ch)
	case c == '#' || bytes.HasPrefix(rest, []byte("//")) || bytes.HasPrefix(rest, []byte("/*")):
		r.notes.at(r.pos, "comments are not possible here: remove it")
	default:
		r.notes.at(r.pos, "%s is not possible here: %s is wanted", r.offending(), wanted)
	}
	return false
}

// offending is the piece of text at the reader's place, as a report quotes it.
func (r *reader) offending() string {
	rest := r.text[r.pos:]
	if rest[0] == '"' {
		if end := bytes.IndexAny(rest[1:], "\"\r\n"); end >= 0 {
			return shown(string(rest[1 : end+1]))
		}
		return shown(string(rest[1:]))
	}
	if piece := word(rest); len(piece) > 0 {
		return shown(string(piece))
	}
	_, size := utf8.DecodeRune(rest)
	return shown(string(rest[:size]))
}

// word is the longest beginning of text that may be meant as one piece: a
// number, true, or a text whose quotes were forgotten.
func word(text []byte) []byte {
	end := bytes.IndexFunc(text, func(ch rune) bool {
		return !unicode.IsLetter(ch) && !unicode.IsDigit(ch) && !strings.ContainsRune("+-._/", ch)
	})
	if end < 0 {
		return text
	}
	return text[:end]
}

// piece takes a word off the text. finished says that there is more text: a
// value cut off by the end is not judged, the end is.
func (r *reader) piece(k kind) (n node, finished bool) {
	n = node{kind: k, pos: r.pos, text: string(word(r.text[r.pos:]))}
	r.pos += len(n.text)
	return n, r.pos < len(r.text) || r.depth == 0
}

func (r *reader) number() node {
	n, finished := r.piece(isNumber)
	if finished && !json.Valid([]byte(n.text)) {
		r.notes.at(n.pos, "%s is not a number: put text in double quotes", shown(n.text))
		n.kind = isFaulty
	}
	return n
}

func (r *reader) word() node {
	n, finished := r.piece(isWord)
	if n.text == "true" || n.text == "false" || n.text == "null" {
		return n
	}
	if finished {
		r.notes.at(n.pos, "%s must stand in double quotes", shown(n.text))
	}
	n.kind = isText
	return n
}

// string reads a text in double quotes and its escapes.
func (r *reader) string() (string, bool) {
	open := r.pos
	r.pos++
	var b strings.Builder
	for r.pos < len(r.text) {
		ch, size := utf8.DecodeRune(r.text[r.pos:])
		pos := r.pos
		switch {
		case ch == '"':
			r.pos++
			return b.String(), true
		case ch == '\n' || ch == '\r':
			r.notes.at(open, "the closing double quote is missing on this line")
			return "", false
		case ch == '\\':
			if pos+1 == len(r.text) {
				r.pos++
				continue
			}
			ch = r.escape()
		default:
			r.pos += size
		}
		if unicode.IsControl(ch) {
			r.notes.at(pos, "a control character (U+%04X) is not possible in a text", ch)
		}
		b.WriteRune(ch)
	}
	return "", r.stop("")
}

// escape reads one escape, the reader standing at its backslash, which is not
// the last byte of the text.
func (r *reader) escape() rune {
	pos, c := r.pos, r.text[r.pos+1]
	r.pos += 2
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		return rune("\"\\/\b\f\n\r\t"[i])
	}
	if c != 'u' {
		r.notes.at(pos, `a single backslash is not possible in a text: write \\ for each`)
		r.pos--
		return '\\'
	}
	first, ok := r.hex(pos + 2)
	if !ok {
		if bytes.IndexByte(r.text[pos:], '"') >= 0 {
			r.notes.at(pos, `\u must be followed by four digits of a character's code, for example \u00e9`)
		}
		return unicode.ReplacementChar
	}
	r.pos = pos + 6
	if !utf16.IsSurrogate(first) {
		return first
	}
	if bytes.HasPrefix(r.text[r.pos:], []byte(`\u`)) {
		second, ok := r.hex(r.pos + 2)
		if pair := utf16.DecodeRune(first, second); ok && pair != unicode.ReplacementChar {
			r.pos += 6
			return pair
		}
	}
	r.notes.at(pos, "half a character (U+%04X) stands here", first)
	return unicode.ReplacementChar
}

// hex reads four hexadecimal digits at pos.
func (r *reader) hex(pos int) (rune, bool) {
	if pos+4 > len(r.text) {
		return 0, false
	}
	var code rune
	for _, c := range r.text[pos : pos+4] {
		digit := strings.IndexByte("0123456789abcdef", c|0x20)
		if c < '0' || digit < 0 {
			return 0, false
		}
		code = code<<4 | rune(digit)
	}
	return code, true
}
