package digime

import (
	"io"
	"unicode/utf8"
)

// text reads a JSON text whose first quotation mark was read. keep gets what
// stands in it, its escapes as they are, up to keepMost.
func (s *jsonScanner) text(keep *[]byte) error {
	for {
		s.run(keep)
		b, err := s.next()
		if err == io.EOF {
			return s.fault(endsEarly)
		}
		if err != nil || b == '"' {
			return err
		}
		kept(keep, b)
		switch {
		case b == '\\':
			err = s.escape(keep)
		case b < 0x20:
			err = s.fault("a text has a line end, a tab or another such character in it that must be written as \\n, \\t or \\u…")
		case b >= utf8.RuneSelf:
			err = s.character(b, keep)
		}
		if err != nil {
			return err
		}
	}
}

// keepMost is how much of a text is looked at, in bytes: one more than
// resourceType has with each of its characters escaped.
const keepMost = 6*len("resourceType") + 1

func kept(keep *[]byte, b ...byte) {
	if keep != nil {
		*keep = append(*keep, b[:min(len(b), keepMost-len(*keep))]...)
	}
}

// run skips the plain characters that are at hand: nearly all there are.
func (s *jsonScanner) run(keep *[]byte) {
	at, _ := s.r.Peek(s.r.Buffered()) // no more than there is: no error
	n := 0
	for n < len(at) && at[n] >= 0x20 && at[n] < utf8.RuneSelf && at[n] != '"' && at[n] != '\\' {
		n++
	}
	kept(keep, at[:n]...)
	s.column += n
	_, _ = s.r.Discard(n) // they are buffered
}

// escape reads what follows a backslash.
func (s *jsonScanner) escape(keep *[]byte) error {
	b, err := s.more()
	if err != nil {
		return err
	}
	kept(keep, b)
	switch b {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return nil
	case 'u':
	default:
		return s.fault("after a backslash there cannot be " + shown(b))
	}
	for range 4 {
		if b, err = s.more(); err != nil {
			return err
		}
		if !hexDigit(b) {
			return s.fault("after \\u there must be four of 0-9 and a-f, not " + shown(b))
		}
		kept(keep, b)
	}
	return nil
}

func hexDigit(b byte) bool {
	return b >= '0' && b <= '9' || b|0x20 >= 'a' && b|0x20 <= 'f'
}

// more reads a byte that must be there.
func (s *jsonScanner) more() (byte, error) {
	b, err := s.next()
	if err == io.EOF {
		return 0, s.fault(endsEarly)
	}
	return b, err
}

// character reads the rest of a character of several bytes.
func (s *jsonScanner) character(b byte, keep *[]byte) error {
	var whole [utf8.UTFMax]byte
	whole[0] = b
	n := 1
	for ; n < utf8.UTFMax && !utf8.FullRune(whole[:n]); n++ {
		at, err := s.r.Peek(1)
		if err == nil && utf8.RuneStart(at[0]) {
			break
		}
		if whole[n], err = s.more(); err != nil {
			return err
		}
	}
	if r, size := utf8.DecodeRune(whole[:n]); r == utf8.RuneError && size <= 1 {
		return s.fault("the text is not UTF-8: it must be saved as UTF-8")
	}
	kept(keep, whole[1:n]...)
	return nil
}

// word reads the rest of true, false or null.
func (s *jsonScanner) word(word string) error {
	for _, want := range []byte(word[1:]) {
		b, err := s.more()
		if err != nil {
			return err
		}
		if b != want {
			return s.fault("a value must stand here: a text needs quotation marks")
		}
	}
	return nil
}

// number reads a number that begins with b, and not what follows it.
func (s *jsonScanner) number(b byte) error {
	var err error
	if b == '-' {
		if b, err = s.more(); err != nil {
			return err
		}
	}
	switch {
	case b == '0':
	case b >= '1' && b <= '9':
		if err := s.digits(); err != nil {
			return err
		}
	default:
		return s.fault("a number must stand here, not " + shown(b))
	}
	if b, err = s.peek(); err != nil {
		return err
	}
	if b == '.' {
		s.skip()
		if err := s.someDigits(); err != nil {
			return err
		}
		if b, err = s.peek(); err != nil {
			return err
		}
	}
	if b != 'e' && b != 'E' {
		return nil
	}
	s.skip()
	if b, err = s.peek(); err != nil {
		return err
	}
	if b == '+' || b == '-' {
		s.skip()
	}
	return s.someDigits()
}

// peek looks at the next byte; 0 is the end, which no number goes on with.
func (s *jsonScanner) peek() (byte, error) {
	at, err := s.r.Peek(1)
	if err == io.EOF {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return at[0], nil
}

// skip reads the byte that peek has shown.
func (s *jsonScanner) skip() { _, _ = s.next() }

// someDigits reads at least one digit.
func (s *jsonScanner) someDigits() error {
	b, err := s.more()
	if err != nil {
		return err
	}
	if b < '0' || b > '9' {
		return s.fault("a number must go on with a digit here, not with " + shown(b))
	}
	return s.digits()
}

func (s *jsonScanner) digits() error {
	for {
		b, err := s.peek()
		if err != nil || b < '0' || b > '9' {
			return err
		}
		s.skip()
	}
}
