package sidecar

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

var acceptedTests = []struct {
	name, text string
	want       Sidecar
}{
	{"nothing", `{}`, Sidecar{}},
	{"usual", `{"mimeType": "application/pdf", "accounts": [{"accountId": "P-1001"}], "reference": ["Blood test"], "tags": ["lab"]}`,
		Sidecar{Descriptor: Descriptor{MimeType: "application/pdf", Accounts: []Account{{"P-1001"}}, Reference: []string{"Blood test"}, Tags: []string{"lab"}}}},
	{"byte order mark, line ends of Windows", "\xEF\xBB\xBF{\r\n\t\"mimeType\": \"auto\"\r\n}\r\n", Sidecar{Descriptor: Descriptor{MimeType: "auto"}}},
	{"all fields", `{"$schema": "x", "mimeType": "text/plain; charset=utf-8", "contractId": "c", "appId": "a", "providerName": "Clinic",
		"objectTypes": [{"name": "Observation", "references": ["r"]}, {"name": "Patient"}], "serviceGroups": [1, -2],
		"provider": {"accountId": "A-1", "version": "3.0.2"}}`,
		Sidecar{Descriptor{MimeType: "text/plain; charset=utf-8", ContractID: "c", AppID: "a", ProviderName: "Clinic",
			ObjectTypes: []ObjectType{{"Observation", []string{"r"}}, {Name: "Patient"}}, ServiceGroups: []int{1, -2}}, &Provider{"A-1", "3.0.2"}}},
	{"none is not the same as not given", `{"reference": [], "tags": [], "serviceGroups": [], "objectTypes": []}`,
		Sidecar{Descriptor: Descriptor{Reference: []string{}, Tags: []string{}, ServiceGroups: []int{}, ObjectTypes: []ObjectType{}}}},
	{"wrapped as in the SDK, with another name", `{"fileName": "other.pdf", "fileDescriptor": {"mimeType": "image/svg+xml"}, "provider": {"version": "stu3"}}`,
		Sidecar{Descriptor{MimeType: "image/svg+xml"}, &Provider{Version: "stu3"}}},
	{"escapes", `{"tags": ["a\"\\\/\u00e9\ud83d\ude00"]}`, Sidecar{Descriptor: Descriptor{Tags: []string{`a"\/é😀`}}}},
}

func TestParse(t *testing.T) {
	for _, tt := range acceptedTests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse([]byte(tt.text))
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("Parse = %+v, %v\nwant %+v", got, err, tt.want)
			}
		})
	}
}

var faultTests = []struct {
	name, text string
	want       []string
}{
	// The file as a whole.
	{"empty", "", []string{`the file is empty; it may still be being written`}},
	{"only a mark and blanks", "\xEF\xBB\xBF \r\n", []string{`the file is empty; it may still be being written`}},
	{"too large", `{"tags": ["` + strings.Repeat("x", MaxSize) + `"]}`, []string{`the file is larger than 64 KiB: a sidecar is a short text about another file`}},
	{"zeros", "\x00\x00\x00\x00", []string{`the file holds only zero bytes: it was not written to its end, save it again`}},
	{"zeros at the end", "{\n\"tags\": \x00\x00", []string{`line 2, column 9: a zero byte stands here: the file is damaged or no text, save it again as UTF-8`}},
	{"UTF-16", "\xFF\xFE{\x00}\x00", []string{`the file is UTF-16 text (some editors call it Unicode): save it as UTF-8`}},
	{"Latin-1", "{\"tags\":\n [\"é Bl\xe4tter\"]}", []string{`line 2, column 8: byte 0xE4 is not UTF-8: save the file as UTF-8`}},
	{"Latin-1 before zeros", "\xe4\x00", []string{`line 1, column 1: byte 0xE4 is not UTF-8: save the file as UTF-8`}},
	{"a list", `[{"accountId": "P-1"}]`, []string{`line 1, column 1: a sidecar must be an object, for example {"mimeType": "application/pdf", "accounts": [{"accountId": "P-1001"}]}; found a list`}},
	{"null", `null`, []string{`line 1, column 1: a sidecar must be an object, for example {"mimeType": "application/pdf", "accounts": [{"accountId": "P-1001"}]}; found null`}},

	// Half-written.
	{"ends in an object", "{\"tags\": [\"lab\"],\n", []string{`line 2, column 1: the file ends in the middle; it may still be being written`}},
	{"ends in a text", `{"tags": ["la`, []string{`line 1, column 14: the file ends in the middle; it may still be being written`}},
	{"ends in an escape", `{"tags": ["la\`, []string{`line 1, column 15: the file ends in the middle; it may still be being written`}},
	{"ends in a code", `{"tags": ["la\u00`, []string{`line 1, column 18: the file ends in the middle; it may still be being written`}},
	{"ends in a word", `{"tags": nul`, []string{`line 1, column 13: the file ends in the middle; it may still be being written`}},
	{"ends in a number", `{"serviceGroups": [1.`, []string{`line 1, column 22: the file ends in the middle; it may still be being written`}},
	{"ends before a colon", `{"tags"`, []string{`line 1, column 8: the file ends in the middle; it may still be being written`}},

	// Syntax.
	{"comma missing between fields", "{\"mimeType\": \"auto\"\n \"tags\": []}", []string{`line 2, column 2: a comma is missing before "tags"`}},
	{"comma missing between entries", `{"tags": ["a" "b"], "serviceGroups": [1 2]}`,
		[]string{`line 1, column 15: a comma is missing before "b"`, `line 1, column 41: a comma is missing before "2"`}},
	{"comma at the end", "{\"tags\": [\"a\",],\n}", []string{`line 1, column 14: there is a comma too many before "]"`, `line 1, column 16: there is a comma too many before "}"`}},
	{"comma twice and first", `{,"tags": [,"a",,"b"]}`, []string{`line 1, column 2: there is a comma too many`, `line 1, column 12: there is a comma too many`, `line 1, column 17: there is a comma too many`}},
	{"colon missing", `{"tags" ["a"]}`, []string{`line 1, column 9: a colon is missing after "tags"`}},
	{"equals sign", `{"tags" = ["a"]}`, []string{`line 1, column 9: "=" is not possible here: a colon is wanted`}},
	{"value missing", `{"tags": }`, []string{`line 1, column 10: "}" is not possible here: a value is wanted`}},
	{"semicolon", `{"mimeType": "auto"; "tags": []}`, []string{`line 1, column 20: ";" is not possible here: a comma or "}" is wanted`}},
	{"wrong bracket", `{"tags": ["a"}`, []string{`line 1, column 14: "}" is not possible here: a comma or "]" is wanted`}},
	{"field as a number", `{1: 2}`, []string{`line 1, column 2: "1" is not possible here: a field's name in double quotes is wanted`}},
	{"quotes missing", `{mimeType: auto, "accounts": [{"accountId": P-1001}], null: "x"}`, []string{
		`line 1, column 2: "mimeType" must stand in double quotes`, `line 1, column 12: "auto" must stand in double quotes`,
		`line 1, column 45: "P-1001" must stand in double quotes`,
		`line 1, column 55: "null" must stand in double quotes`, `line 1, column 55: "null" is not known here; known are mimeType, accounts, reference, tags, contractId, appId, providerName, objectTypes, serviceGroups, provider, $schema`}},
	{"curly quotes", `{“tags”: ["a"]}`, []string{`line 1, column 2: “ is not a straight double quote: write "…"`}},
	{"single quotes", `{"tags": ['a']}`, []string{`line 1, column 11: ' is not a straight double quote: write "…"`}},
	{"comment", "{ // what\n}", []string{`line 1, column 3: comments are not possible here: remove it`}},
	{"number", `{"serviceGroups": [01, 12px]}`, []string{`line 1, column 20: "01" is not a number: put text in double quotes`,
		`line 1, column 24: "12px" is not a number: put text in double quotes`}},
	{"line end in a text", "{\"mimeType\": \"application/pdf,\n\"tags\": []}", []string{`line 1, column 14: the closing double quote is missing on this line`}},
	{"path of Windows", `{"tags": ["C:\data"]}`, []string{`line 1, column 14: a single backslash is not possible in a text: write \\ for each`}},
	{"short code", `{"tags": ["\u1"]}`, []string{`line 1, column 12: \u must be followed by four digits of a character's code, for example \u00e9`}},
	{"half a character", `{"tags": ["\ud83d", "\ud83d\u0041"]}`, []string{`line 1, column 12: half a character (U+D83D) stands here`, `line 1, column 22: half a character (U+D83D) stands here`}},
	{"control characters", "{\"tags\": [\"a\tb\", \"a\\nb\", \"\u0085\"]}", []string{
		`line 1, column 13: a control character (U+0009) is not possible in a text`,
		`line 1, column 20: a control character (U+000A) is not possible in a text`,
		`line 1, column 27: a control character (U+0085) is not possible in a text`}},
	{"trailing data", "{}\n{}", []string{`line 2, column 1: "{" stands after the end: remove it`}},
	{"nested too deeply", strings.Repeat("[", 100), []string{`line 1, column 33: this is nested too deeply`}},

	// Fields.
	{"the whole report at once", "{\n  \"mimetype\": \"application/pdf\",\n  \"acounts\": [],\n  \"tags\": \"lab\",\n  \"tags\": []\n}", []string{
		`line 2, column 3: "mimetype" is not known here; did you mean "mimeType"?`,
		`line 3, column 3: "acounts" is not known here; did you mean "accounts"?`,
		`line 4, column 11: "tags" must be a list, for example ["lab"]; found a text`,
		`line 5, column 3: "tags" is given twice, first on line 4`}},
	{"nothing near", `{"size": 5}`, []string{`line 1, column 2: "size" is not known here; known are mimeType, accounts, reference, tags, contractId, appId, providerName, objectTypes, serviceGroups, provider, $schema`}},
	{"by its beginning", `{"contract": "c"}`, []string{`line 1, column 2: "contract" is not known here; did you mean "contractId"?`}},
	{"letters swapped", `{"refernece": []}`, []string{`line 1, column 2: "refernece" is not known here; did you mean "reference"?`}},
	{"in capitals with dashes", `{"MIME-TYPE": "auto"}`, []string{`line 1, column 2: "MIME-TYPE" is not known here; did you mean "mimeType"?`}},
	{"accounts as a text", `{"accounts": "P-1001"}`, []string{`line 1, column 14: "accounts" must be a list, for example [{"accountId": "P-1001"}]; found a text`}},
	{"accounts as texts", `{"accounts": ["P-1001"]}`, []string{`line 1, column 15: entry 1 of "accounts" must be an object, for example {"accountId": "P-1001"}; found a text`}},
	{"accounts null", `{"accounts": null}`, []string{`line 1, column 14: "accounts" must be a list, for example [{"accountId": "P-1001"}]; found null: leave the field out instead`}},
	{"accounts empty", `{"accounts": []}`, []string{`line 1, column 14: "accounts" is empty: name an account, or leave the field out to take those of the library`}},
	{"account id as a number", `{"accounts": [{"accountId": 1001}]}`, []string{`line 1, column 29: "accountId" must be a text, for example "P-1001"; found a number: put it in double quotes`}},
	{"account id missing", `{"accounts": [{"accountId": "a"}, {}, {"id": "P"}]}`, []string{
		`line 1, column 35: entry 2 of "accounts" has no "accountId"`, `line 1, column 39: entry 3 of "accounts" has no "accountId"`, `line 1, column 40: "id" is not known here; known are accountId`}},
	{"account id empty", `{"accounts": [{"accountId": " "}]}`, []string{`line 1, column 29: "accountId" is empty: write the person's account, for example "P-1001"`}},
	{"account id padded", `{"accounts": [{"accountId": "P-1 "}]}`, []string{`line 1, column 29: "accountId" begins or ends with a space: remove it`}},
	{"account id with the unseen", "{\"accounts\": [{\"accountId\": \"P\u200b1\"}]}", []string{`line 1, column 29: "accountId" has an invisible character (U+200B): type it anew`}},
	{"no type", `{"mimeType": "pdf"}`, []string{`line 1, column 14: "mimeType" must be a type like "application/pdf", or "auto" to have it detected; found "pdf"`}},
	{"half a type", `{"mimeType": "application/"}`, []string{`line 1, column 14: "mimeType" must be a type like "application/pdf", or "auto" to have it detected; found "application/"`}},
	{"any type", `{"mimeType": "*/*"}`, []string{`line 1, column 14: "mimeType" must be a type like "application/pdf", or "auto" to have it detected; found "*/*"`}},
	{"no parameter", `{"mimeType": "text/plain; utf-8"}`, []string{`line 1, column 14: "mimeType" must be a type like "application/pdf", or "auto" to have it detected; found "text/plain; utf-8"`}},
	{"text empty", `{"appId": ""}`, []string{`line 1, column 11: "appId" is empty: fill it in or leave it out`}},
	{"entries of a list", `{"tags": [1, true], "reference": [{}]}`, []string{
		`line 1, column 11: entry 1 of "tags" must be a text, for example "lab"; found a number: put it in double quotes`,
		`line 1, column 14: entry 2 of "tags" must be a text, for example "lab"; found true`,
		`line 1, column 35: entry 1 of "reference" must be a text, for example "Blood test"; found an object`}},
	{"service groups", `{"serviceGroups": [1.5, "2", 1e3]}`, []string{
		`line 1, column 20: entry 1 of "serviceGroups" must be a whole number, for example 1; found "1.5"`,
		`line 1, column 25: entry 2 of "serviceGroups" must be a whole number, for example 1; found a text`,
		`line 1, column 30: entry 3 of "serviceGroups" must be a whole number, for example 1; found "1e3"`}},
	{"object types", `{"objectTypes": [{"references": "x"}, 5]}`, []string{
		`line 1, column 18: entry 1 of "objectTypes" has no "name"`,
		`line 1, column 33: "references" must be a list, for example ["Blood test"]; found a text`,
		`line 1, column 39: entry 2 of "objectTypes" must be an object, for example {"name": "Observation"}; found a number`}},
	{"provider", `{"provider": {"version": "r4", "account_id": "x"}}`, []string{
		`line 1, column 26: "version" must be "stu3" or "3.0.2"; found "r4"`,
		`line 1, column 32: "account_id" is not known here; did you mean "accountId"?`}},
	{"provider empty", `{"provider": {}}`, []string{`line 1, column 14: "provider" is empty: give "accountId", "version" or both, or leave it out`}},
	{"provider as a text", `{"provider": "x"}`, []string{`line 1, column 14: "provider" must be an object, for example {"accountId": "…", "version": "stu3"}; found a text`}},
	{"a name without the wrapping", `{"fileName": "a.pdf"}`, []string{`line 1, column 2: "fileName" is possible only in the form {"fileName": "…", "fileDescriptor": {…}}`}},
	{"wrapped wrongly", `{"fileDescriptor": {"provider": {}, "mimeTyp": "auto"}, "tags": [], "filename": 1}`, []string{
		`line 1, column 21: "provider" belongs beside "fileDescriptor", not into it`,
		`line 1, column 37: "mimeTyp" is not known here; did you mean "mimeType"?`,
		`line 1, column 57: "tags" belongs into "fileDescriptor"`,
		`line 1, column 69: "filename" is not known here; did you mean "fileName"?`}},
	{"wrapping nothing", `{"fileDescriptor": []}`, []string{`line 1, column 20: "fileDescriptor" must be an object, for example {"mimeType": "application/pdf"}; found a list`}},
	{"syntax and meaning", "{\"tags\": [\"a\" 5]\n\"acounts\": []}", []string{
		`line 1, column 15: a comma is missing before "5"`,
		`line 1, column 15: entry 2 of "tags" must be a text, for example "lab"; found a number: put it in double quotes`,
		`line 2, column 1: a comma is missing before "acounts"`,
		`line 2, column 1: "acounts" is not known here; did you mean "accounts"?`}},
	{"long texts are cut", `{"mimeType": "` + strings.Repeat("é", 50) + `"}`, []string{`line 1, column 14: "mimeType" must be a type like "application/pdf", or "auto" to have it detected; found "` + strings.Repeat("é", 40) + `…"`}},
}

func TestParseFaults(t *testing.T) {
	for _, tt := range faultTests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse([]byte(tt.text))
			var report *Error
			if !errors.As(err, &report) {
				t.Fatalf("Parse: %v", err)
			}
			var got []string
			for _, f := range report.Faults {
				got = append(got, f.String())
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			if want := strings.Join(tt.want, "; "); err.Error() != want {
				t.Errorf("Error() = %s\nwant %s", err, want)
			}
		})
	}
}

func TestParseBoundsTheReport(t *testing.T) {
	_, err := Parse([]byte(`{"tags": [` + strings.Repeat(",", 1000) + `]}`))
	report, ok := err.(*Error)
	if !ok || len(report.Faults) != maxFaults+1 || report.Faults[maxFaults].String() != "and 975 more" {
		t.Errorf("%v", err)
	}
}

func TestComplete(t *testing.T) {
	pdf := []byte("%PDF-1.7\n")
	given := Descriptor{MimeType: "text/csv", Accounts: []Account{{"P-1"}}, Reference: []string{"r"}, Tags: []string{"t"}}
	all := Defaults{MimeType: "image/png", Accounts: []string{"D-1", "D-2"}, Tags: []string{"d"}}
	for _, tt := range []struct {
		name     string
		in       Descriptor
		defaults Defaults
		library  []string
		file     string
		head     []byte
		want     Descriptor
	}{
		{"what is given stays", given, all, []string{"L-1"}, "a.csv", pdf, given},
		{"defaults before the library", Descriptor{}, all, []string{"L-1"}, "a.png", pdf,
			Descriptor{MimeType: "image/png", Accounts: []Account{{"D-1"}, {"D-2"}}, Reference: []string{"a.png"}, Tags: []string{"d"}}},
		{"the library's accounts", Descriptor{MimeType: "text/csv"}, Defaults{}, []string{"L-1"}, "a.csv", pdf,
			Descriptor{MimeType: "text/csv", Accounts: []Account{{"L-1"}}, Reference: []string{"a.csv"}}},
		{"detected", Descriptor{MimeType: "auto"}, all, nil, "a", pdf,
			Descriptor{MimeType: "application/pdf", Accounts: []Account{{"D-1"}, {"D-2"}}, Reference: []string{"a"}, Tags: []string{"d"}}},
		{"detected by default, without parameters", Descriptor{Accounts: []Account{{"P-1"}}}, Defaults{MimeType: "auto"}, nil, "a", []byte("plain words"),
			Descriptor{MimeType: "text/plain", Accounts: []Account{{"P-1"}}, Reference: []string{"a"}}},
		{"none stays none", Descriptor{MimeType: "text/csv", Accounts: []Account{{"P-1"}}, Reference: []string{}, Tags: []string{}}, all, nil, "a.csv", nil,
			Descriptor{MimeType: "text/csv", Accounts: []Account{{"P-1"}}, Reference: []string{}, Tags: []string{}}},
		{"a name that is not UTF-8", given, all, nil, "x", nil, given},
		{"a name that is not UTF-8, sent", Descriptor{MimeType: "text/csv", Accounts: []Account{{"P-1"}}}, Defaults{}, nil, "Bl\xe4tt.csv", nil,
			Descriptor{MimeType: "text/csv", Accounts: []Account{{"P-1"}}, Reference: []string{"Bl\uFFFDtt.csv"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := Sidecar{Descriptor: tt.in}
			if err := s.Complete(tt.defaults, tt.library, tt.file, tt.head); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(s.Descriptor, tt.want) {
				t.Errorf("got %+v\nwant %+v", s.Descriptor, tt.want)
			}
		})
	}
}

func TestCompleteMissing(t *testing.T) {
	var s Sidecar
	err := s.Complete(Defaults{}, nil, "a.pdf", nil)
	const want = `"mimeType" is missing: add for example "mimeType": "application/pdf", or "mimeType": "auto" to have it detected; ` +
		`"accounts" is missing: add for example "accounts": [{"accountId": "P-1001"}]`
	if _, ok := err.(*Error); !ok || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// FuzzParse checks the reader against encoding/json, what is accepted against
// its own rendering, and the places in a report against the text.
func FuzzParse(f *testing.F) {
	for _, tt := range acceptedTests {
		f.Add([]byte(tt.text))
	}
	for _, tt := range faultTests {
		f.Add([]byte(tt.text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse(data)
		if err == nil {
			checkRoundTrip(t, data, s)
			return
		}
		report, ok := err.(*Error)
		if !ok || len(report.Faults) == 0 {
			t.Fatalf("Parse: %#v", err)
		}
		text := bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF"))
		lines := bytes.Split(text, []byte("\n"))
		for _, fault := range report.Faults {
			if fault.Line == 0 && fault.Column == 0 {
				continue
			}
			if fault.Line < 1 || fault.Line > len(lines) || fault.Column < 1 || fault.Column > utf8.RuneCount(lines[fault.Line-1])+1 {
				t.Errorf("%+v is outside of %q", fault, data)
			}
		}
		checkReader(t, text)
	})
}

func checkRoundTrip(t *testing.T, data []byte, s Sidecar) {
	if !json.Valid(bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF"))) {
		t.Fatalf("accepted %q, which is not JSON", data)
	}
	again, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if len(again) > MaxSize { // escapes can make it longer
		return
	}
	if s2, err := Parse(again); err != nil || !reflect.DeepEqual(s, s2) {
		t.Errorf("%q became %s, which gives %v", data, again, err)
	}
}

// checkReader holds that JSON without escapes and control characters, the only
// JSON that is refused on purpose, gives no fault of syntax, and that other
// text gives one.
func checkReader(t *testing.T, text []byte) {
	if len(text) > MaxSize || !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		return
	}
	notes := &faults{text: text}
	_, ok := readJSON(text, notes)
	clean := ok && len(notes.list) == 0
	refused := bytes.Contains(text, []byte(`\`)) || bytes.ContainsAny(text, "\u007f\u0080\u0085\u009f") || bytes.Contains(text, []byte{0xC2}) ||
		bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{")) > maxDepth
	if valid := json.Valid(text); clean && !valid || valid && !clean && !refused {
		t.Errorf("encoding/json says %v of %q, we say %v", valid, text, notes.err())
	}
}

// The largest sidecars that are wrong all over must not take long either.
func BenchmarkParse(b *testing.B) {
	for name, piece := range map[string]string{
		"entries": `"serviceGroups": [` + strings.Repeat("1,", 20000) + `1],`,
		"commas":  strings.Repeat(",", MaxSize-20),
		"doubled": strings.Repeat(`"tags":[],`, 6000),
		"unknown": strings.Repeat(`"x":1,`, 1000) + strings.Repeat(`"accoumts":1 `, 4000),
		"words":   `"tags": [` + strings.Repeat("a ", 30000) + `],`,
	} {
		text := []byte("{" + piece + `"appId": "x"}`)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Parse(text); (err == nil) != (name == "entries") {
					b.Fatal(err)
				}
			}
		})
	}
}
