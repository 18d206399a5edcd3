package digime

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
)

// JSONError says where and why a text is not the JSON that is needed.
type JSONError struct {
	Line, Column int    // from 1, the column in characters; of the end where something is missing there
	Text         string // in plain words; holds at most one character of the text
}

func (e *JSONError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Text)
}

// CheckFHIR reads a text to its end and says whether it is what a provider
// takes: one JSON object in UTF-8 and nothing else, with a resourceType that is a
// text. It looks at no other part of FHIR. The error is a *JSONError, or the
// one of r.
//
// It holds no more than a few characters of the text at a time: documents
// travel in FHIR as one long base64 text, of which encoding/json would make one token.
func CheckFHIR(r io.Reader) error {
	s := &jsonScanner{r: bufio.NewReaderSize(r, 64<<10), line: 1}
	b, err := s.token("the file is empty")
	if err != nil {
		return err
	}
	switch b {
	case '{':
	case '<':
		return s.fault("this looks like XML; FHIR in JSON is needed")
	case 0xef, 0xfe, 0xff:
		return s.fault("the file begins with a byte order mark: it must be saved as UTF-8 without one")
	default:
		return s.fault("the file is not a JSON object: it must begin with {, not with " + shown(b))
	}
	if err := s.object(1); err != nil {
		return err
	}
	if !s.typed {
		return s.fault(`the object has no "resourceType"`)
	}
	b, err = s.token("")
	if err == io.EOF {
		return nil
	}
	if err != nil {
		return err
	}
	return s.fault("the object has ended, but the file goes on with " + shown(b))
}

// maxNesting is how deep objects and arrays may stand in each other; it is
// that of encoding/json.
const maxNesting = 10000

// jsonScanner reads JSON (RFC 8259) byte by byte.
type jsonScanner struct {
	r            *bufio.Reader
	line, column int  // of the byte that was read last
	broken       bool // that was a line's end
	typed        bool // the outermost object has a resourceType
}

func (s *jsonScanner) fault(text string) error {
	return &JSONError{Line: s.line, Column: max(s.column, 1), Text: text}
}

// next reads a byte; io.EOF is the end.
func (s *jsonScanner) next() (byte, error) {
	b, err := s.r.ReadByte()
	if err != nil {
		if err == io.EOF {
			s.advance(0) // what is missing is missing behind the last byte
		}
		return 0, err
	}
	s.advance(b)
	return b, nil
}

func (s *jsonScanner) advance(b byte) {
	if s.broken {
		s.line, s.column = s.line+1, 0
	}
	s.broken = b == '\n'
	if b&0xc0 != 0x80 { // the first byte of a character
		s.column++
	}
}

// token reads the first byte that is no white space. At the end the error is a
// fault with these words, or io.EOF if there are none.
func (s *jsonScanner) token(atEnd string) (byte, error) {
	for {
		b, err := s.next()
		switch {
		case err == io.EOF && atEnd != "":
			return 0, s.fault(atEnd)
		case err != nil:
			return 0, err
		case b != ' ' && b != '\t' && b != '\n' && b != '\r':
			return b, nil
		}
	}
}

const endsEarly = "the file ends in the middle: it is cut off"

// value reads the value that begins with b.
func (s *jsonScanner) value(b byte, depth int) error {
	switch {
	case depth > maxNesting && (b == '{' || b == '['):
		return s.fault("too many objects in each other")
	case b == '{':
		return s.object(depth)
	case b == '[':
		return s.array(depth)
	case b == '"':
		return s.text(nil)
	case b == 't':
		return s.word("true")
	case b == 'f':
		return s.word("false")
	case b == 'n':
		return s.word("null")
	case b == '-' || b >= '0' && b <= '9':
		return s.number(b)
	}
	return s.fault("a value must stand here, not " + shown(b))
}

// object reads the object whose { was read.
func (s *jsonScanner) object(depth int) error {
	b, err := s.token(endsEarly)
	if err != nil || b == '}' {
		return err
	}
	for {
		if err := s.member(b, depth); err != nil {
			return err
		}
		if b, err = s.token(endsEarly); err != nil || b == '}' {
			return err
		}
		if b != ',' {
			return s.fault("a comma or } must stand here, not " + shown(b))
		}
		if b, err = s.token(endsEarly); err != nil {
			return err
		}
	}
}

// member reads a key, that begins with b, and its value.
func (s *jsonScanner) member(b byte, depth int) error {
	if b != '"' {
		return s.fault("a name in quotation marks must stand here, not " + shown(b))
	}
	var key *[]byte // of the outermost object alone
	if depth == 1 {
		key = new([]byte)
	}
	if err := s.text(key); err != nil {
		return err
	}
	b, err := s.token(endsEarly)
	if err != nil {
		return err
	}
	if b != ':' {
		return s.fault("a colon must stand here, not " + shown(b))
	}
	if b, err = s.token(endsEarly); err != nil {
		return err
	}
	if key == nil || !isResourceType(*key) {
		return s.value(b, depth+1)
	}
	return s.resourceType(b)
}

func isResourceType(key []byte) bool {
	var name string
	return json.Unmarshal(append(append([]byte{'"'}, key...), '"'), &name) == nil && name == "resourceType"
}

// resourceType reads the value of that name.
func (s *jsonScanner) resourceType(b byte) error {
	switch {
	case s.typed:
		return s.fault(`"resourceType" is there twice`)
	case b != '"':
		return s.fault(`"resourceType" must be a text, like "Bundle"`)
	}
	s.typed = true
	var value []byte
	if err := s.text(&value); err != nil {
		return err
	}
	if len(value) == 0 {
		return s.fault(`"resourceType" is empty`)
	}
	return nil
}

// array reads the array whose [ was read.
func (s *jsonScanner) array(depth int) error {
	b, err := s.token(endsEarly)
	if err != nil || b == ']' {
		return err
	}
	for {
		if err := s.value(b, depth+1); err != nil {
			return err
		}
		if b, err = s.token(endsEarly); err != nil || b == ']' {
			return err
		}
		if b != ',' {
			return s.fault("a comma or ] must stand here, not " + shown(b))
		}
		if b, err = s.token(endsEarly); err != nil {
			return err
		}
	}
}

// shown is a character as an error shows it.
func shown(b byte) string {
	if b > 0x20 && b < 0x7f {
		return string(rune(b))
	}
	return fmt.Sprintf("byte 0x%02x", b)
}
