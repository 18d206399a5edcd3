package digime

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

func TestCheckFHIR(t *testing.T) {
	for _, text := range []string{
		`{"resourceType":"Bundle"}`, " \r\n\t{ \"a\" : [ ] , \"resourceType\" : \"B\" , \"x\" : { } } \n",
		`{"resource\u0054ype":"\u0042"}`, `{"a":{"resourceType":1},"resourceType":"Ä","b":[{"resourceType":2},null,true,false,-0.5e+10,0,12,1E5,""]}`,
		`{"x":"\"\\\/\b\f\n\r\t\ud83d\ude00😀","resourceType":"x"}`, `{"resourceType":"` + strings.Repeat("x", 200_000) + `"}`,
		`{"` + strings.Repeat("k", 200_000) + `":1,"resourceType":"x"}`, `{"a":` + strings.Repeat("[", 9998) + strings.Repeat("]", 9998) + `,"resourceType":"x"}`,
	} {
		for _, r := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text)), iotest.DataErrReader(strings.NewReader(text))} {
			if err := CheckFHIR(r); err != nil {
				t.Errorf("%.60s: %v", text, err)
			}
		}
	}
}

func TestCheckFHIRFaults(t *testing.T) {
	for _, c := range []struct {
		text         string
		line, column int
		words        string
	}{
		{"", 1, 1, "empty"},
		{" \n ", 2, 2, "empty"},
		{"<Bundle/>", 1, 1, "looks like XML"},
		{"\xef\xbb\xbf{}", 1, 1, "byte order mark"},
		{"\xff\xfe{\x00}\x00", 1, 1, "byte order mark"},
		{"{\x00}\x00", 1, 2, "byte 0x00"},
		{`[{"resourceType":"x"}]`, 1, 1, "not a JSON object: it must begin with {, not with ["},
		{`"resourceType"`, 1, 1, "not a JSON object"},
		{"{}", 1, 2, `no "resourceType"`},
		{"{\n \"a\": {\"resourceType\":\"x\"}\n}", 3, 1, `no "resourceType"`},
		{`{"resourcetype":"x"}`, 1, 20, `no "resourceType"`},
		{`{"resourceType":1}`, 1, 17, "must be a text"},
		{`{"resourceType":null}`, 1, 17, "must be a text"},
		{`{"resourceType":""}`, 1, 18, "is empty"},
		{`{"resourceType":"a","resourceType":"b"}`, 1, 36, "twice"},
		{`{"resourceType":"a"}{}`, 1, 21, "goes on with {"},
		{"{\"resourceType\":\"a\"}\n\nx", 3, 1, "goes on with x"},
		{`{"resourceType":"a"`, 1, 20, "cut off"},
		{"{\"resourceType\":\"a\",\n", 2, 1, "cut off"},
		{`{"resourceType":"a`, 1, 19, "cut off"},
		{`{"resourceType"`, 1, 16, "cut off"},
		{`{"resourceType":`, 1, 17, "cut off"},
		{`{"a":[`, 1, 7, "cut off"},
		{`{"a":[1`, 1, 8, "cut off"},
		{`{"a":[1,`, 1, 9, "cut off"},
		{`{"a":tru`, 1, 9, "cut off"},
		{`{"a":-`, 1, 7, "cut off"},
		{`{"a":1.`, 1, 8, "cut off"},
		{`{"a":"\`, 1, 8, "cut off"},
		{`{"a":"\u1`, 1, 10, "cut off"},
		{"{\"a\":\"\xc3", 1, 8, "cut off"},
		{`{a:1}`, 1, 2, "name in quotation marks must stand here, not a"},
		{`{"a" 1}`, 1, 6, "colon must stand here, not 1"},
		{`{"a":}`, 1, 6, "value must stand here, not }"},
		{`{"a":1,}`, 1, 8, "name in quotation marks"},
		{`{"a":[1,]}`, 1, 9, "value must stand here"},
		{`{"a":[1}`, 1, 8, "comma or ] must stand here, not }"},
		{`{"ä":1 "b":2}`, 1, 8, "comma or } must stand here"},
		{`{"a":True}`, 1, 6, "not T"},
		{`{"a":nil}`, 1, 7, "needs quotation marks"},
		{`{"a":01}`, 1, 7, "comma or }"},
		{`{"a":+1}`, 1, 6, "not +"},
		{`{"a":-x}`, 1, 7, "number must stand here"},
		{`{"a":1.x}`, 1, 8, "go on with a digit"},
		{`{"a":1ex}`, 1, 8, "go on with a digit"},
		{`{"a":.5}`, 1, 6, "value must stand"},
		{`{"a":"\x"}`, 1, 8, "backslash there cannot be x"},
		{`{"a":"\u12G4"}`, 1, 11, "not G"},
		{"{\"a\":\"x\ty\"}", 1, 8, "must be written as"},
		{"{\"a\":\"x\ny\"}", 1, 8, "must be written as"},
		{"{\"a\":\"M\xfcller\"}", 1, 8, "not UTF-8"},
		{"{\"a\":\"\xed\xa0\x80\"}", 1, 7, "not UTF-8"},
		{"{\"a\":\xa0}", 1, 5, "byte 0xa0"},
		{`{"a":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`, 1, 10_005, "too many"},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.text), iotest.OneByteReader(strings.NewReader(c.text))} {
			err := CheckFHIR(r)
			var e *JSONError
			if !errors.As(err, &e) || !strings.Contains(e.Text, c.words) || e.Line != c.line || e.Column != c.column {
				t.Errorf("%.40q: %v, want %d, %d, %s", c.text, err, c.line, c.column, c.words)
			}
		}
	}
}

// A disk's error is not the file's fault.
func TestCheckFHIRReadError(t *testing.T) {
	disk := errors.New("disk on fire")
	text := `{"a":[1,-2.5e1,"x\u0041ä",true,{}],"resourceType":"x"} `
	for at := range len(text) + 1 {
		err := CheckFHIR(io.MultiReader(strings.NewReader(text[:at]), iotest.ErrReader(disk)))
		var e *JSONError
		if errors.As(err, &e) || !errors.Is(err, disk) {
			t.Errorf("after %q: %v", text[:at], err)
		}
	}
}

// long is a FHIR object with one long text in it, which takes no memory.
func long(size int64) io.Reader {
	return io.MultiReader(strings.NewReader(`{"resourceType":"Binary","data":"`), &letters{size}, strings.NewReader(`"}`))
}

type letters struct{ left int64 }

func (l *letters) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), l.left)
	for i := range p[:n] {
		p[i] = 'A'
	}
	l.left -= n
	return int(n), nil
}

func TestCheckFHIRIsFlat(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := CheckFHIR(long(64 << 20)); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("%d bytes allocated", grown)
	}
}

// The judgement is that of encoding/json, which is more lenient with UTF-8
// and takes the last of two.
func FuzzCheckFHIR(f *testing.F) {
	for _, text := range []string{
		`{"resourceType":"Bundle"}`, `{"a":[1,-2.5e1,"x\u0041ä",true,{}],"resourceType":"x"} `, `{"resourceType":"a","resourceType":"b"}`,
		`{"resource\u0054ype":"\ud83d\ude00"}`, "{\"a\":\"\xff\"}", `[]`, `{"a":1e,`, `{"resourceType":null}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		err := CheckFHIR(bytes.NewReader(text))
		if other := CheckFHIR(iotest.HalfReader(bytes.NewReader(text))); (err == nil) != (other == nil) || err != nil && err.Error() != other.Error() {
			t.Fatalf("%v in one piece, %v in many", err, other)
		}
		var e *JSONError
		if err != nil && (!errors.As(err, &e) || e.Line < 1 || e.Column < 1 || e.Text == "") {
			t.Fatalf("%v (%T)", err, err)
		}
		if want := fhirByJSON(text); want != (err == nil) {
			t.Fatalf("%v, encoding/json says %v", err, want)
		}
	})
}

func fhirByJSON(text []byte) bool {
	if !utf8.Valid(text) || !json.Valid(text) || bytes.TrimLeft(text, " \t\r\n")[0] != '{' {
		return false
	}
	d := json.NewDecoder(bytes.NewReader(text))
	_, _ = d.Token()
	found := 0
	for d.More() {
		name, _ := d.Token()
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return false
		}
		if name == "resourceType" {
			var kind string
			if found++; value[0] != '"' || json.Unmarshal(value, &kind) != nil || kind == "" {
				return false
			}
		}
	}
	return found == 1
}

func BenchmarkCheckFHIR(b *testing.B) {
	one := []byte(`{"resource": {"resourceType": "Observation", "status": "final", "valueQuantity": {"value": 12.5, "unit": "mmol/l"}, "text": "Müller"}},` + "\n")
	text := append([]byte(`{"resourceType":"Bundle","entry":[`), bytes.Repeat(one, 16<<20/len(one))...)
	text = append(text, `{}]}`...)
	for name, open := range map[string]func() (io.Reader, int64){
		"bundle": func() (io.Reader, int64) { return bytes.NewReader(text), int64(len(text)) },
		"base64": func() (io.Reader, int64) { return long(16 << 20), 16 << 20 },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, size := open()
				b.SetBytes(size)
				if err := CheckFHIR(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
