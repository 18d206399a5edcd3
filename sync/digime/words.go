package digime

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxWords bounds what is taken over of the service's own words, in characters.
const maxWords = 300

// jwtLike finds what looks like a signed token: a server's message may quote
// the request.
var jwtLike = regexp.MustCompile(`[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}`)

// clean makes one line of at most maxWords characters of a foreign text:
// valid UTF-8, nothing that steers a terminal, none of the secrets, nothing
// that looks like a token.
func clean(text string, secrets ...string) string {
	const most = 64 << 10 // before anything expensive
	text = strings.ToValidUTF8(text[:min(len(text), most)], "\uFFFD")
	for _, secret := range secrets {
		if len(secret) >= 4 { // shorter ones would tear up ordinary words
			text = strings.ReplaceAll(text, secret, "[token]")
		}
	}
	text = jwtLike.ReplaceAllString(text, "[token]")
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) { // Cf turns the writing direction, too
			return -1
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if utf8.RuneCountInString(text) > maxWords {
		text = strings.TrimSpace(string([]rune(text)[:maxWords-1])) + "…"
	}
	return text
}
