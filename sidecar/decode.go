package sidecar

import (
	"errors"
	"fmt"
	"mime"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// field is a key known in one place, and what its value is read into.
type field struct {
	name string
	read func(name string, n node)
}

// decoder turns nodes into a Sidecar and notes every value that does not fit.
type decoder struct {
	notes *faults
}

func decode(root node, notes *faults) Sidecar {
	d := decoder{notes}
	var s Sidecar
	if root.kind != isObject {
		notes.at(root.pos, `a sidecar must be an object, for example {"mimeType": "application/pdf", "accounts": [{"accountId": "P-1001"}]}; found %s`, root.found())
		return s
	}
	inner := []field{
		{"mimeType", d.checked(&s.MimeType, `"application/pdf"`, checkMimeOrAuto)},
		{"accounts", d.accounts(&s.Accounts)},
		{"reference", d.texts(&s.Reference, `"Blood test"`)},
		{"tags", d.texts(&s.Tags, `"lab"`)},
		{"contractId", d.checked(&s.ContractID, `"fJI8P5Z4"`, checkFilled)},
		{"appId", d.checked(&s.AppID, `"my-app"`, checkFilled)},
		{"providerName", d.checked(&s.ProviderName, `"City Clinic"`, checkFilled)},
		{"objectTypes", d.objectTypes(&s.ObjectTypes)},
		{"serviceGroups", d.integers(&s.ServiceGroups)},
	}
	var ignored string
	outer := []field{
		{"provider", d.provider(&s.Provider)},
		{"$schema", d.checked(&ignored, `"sidecar.schema.json"`, anyText)},
	}
	if !slices.ContainsFunc(root.members, func(m member) bool { return m.key == "fileDescriptor" }) {
		d.object(root, append(inner, outer...), map[string]string{
			"fileName": `is possible only in the form {"fileName": "…", "fileDescriptor": {…}}`,
		})
		return s
	}
	wrapped := append(outer,
		field{"fileName", d.checked(&ignored, `"report.pdf"`, anyText)},
		field{"fileDescriptor", func(name string, n node) {
			if d.want(name, n, isObject, `an object, for example {"mimeType": "application/pdf"}`) {
				d.object(n, inner, misplaced(outer, `belongs beside "fileDescriptor", not into it`))
			}
		}})
	d.object(root, wrapped, misplaced(inner, `belongs into "fileDescriptor"`))
	return s
}

// misplaced says for each field what is wrong with it in another place.
func misplaced(fields []field, why string) map[string]string {
	m := map[string]string{}
	for _, f := range fields {
		m[f.name] = why
	}
	return m
}

// object reads the members of n. elsewhere says of keys known in other places
// why they are wrong here.
func (d decoder) object(n node, fields []field, elsewhere map[string]string) {
	first := map[string]int{}
	for _, m := range n.members {
		if pos, twice := first[m.key]; twice {
			line, _ := place(d.notes.text, pos)
			d.notes.at(m.pos, "%s is given twice, first on line %d", shown(m.key), line)
			continue
		}
		first[m.key] = m.pos
		if i := slices.IndexFunc(fields, func(f field) bool { return f.name == m.key }); i >= 0 {
			fields[i].read(m.key, m.value)
			continue
		}
		if why := elsewhere[m.key]; why != "" {
			d.notes.at(m.pos, "%q %s", m.key, why)
			continue
		}
		d.unknown(m, fields)
	}
}

func (d decoder) unknown(m member, fields []field) {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	if near := Nearest(m.key, names); near != "" {
		d.notes.at(m.pos, "%s is not known here; did you mean %q?", shown(m.key), near)
		return
	}
	d.notes.at(m.pos, "%s is not known here; known are %s", shown(m.key), strings.Join(names, ", "))
}

// want notes a value of another kind than the wanted one, which is described
// with an example. name is as the report shows it.
func (d decoder) want(name string, n node, k kind, wanted string) bool {
	if n.kind == k || n.kind == isFaulty {
		return n.kind == k
	}
	hint := ""
	switch {
	case n.kind == isNumber && k == isText:
		hint = ": put it in double quotes"
	case n.text == "null" && n.kind == isWord:
		hint = ": leave the field out instead"
	}
	d.notes.at(n.pos, "%s must be %s; found %s%s", quoted(name), wanted, n.found(), hint)
	return false
}

// quoted puts a field's name in quotes and leaves "entry 2 of …" as it is.
func quoted(name string) string {
	if strings.Contains(name, " ") {
		return name
	}
	return strconv.Quote(name)
}

func entry(i int, name string) string {
	return fmt.Sprintf("entry %d of %s", i+1, quoted(name))
}

// checked reads a text that check accepts.
func (d decoder) checked(into *string, example string, check func(string) error) func(string, node) {
	return func(name string, n node) {
		if !d.want(name, n, isText, "a text, for example "+example) {
			return
		}
		if err := check(n.text); err != nil {
			d.notes.at(n.pos, "%s %v", quoted(name), err)
			return
		}
		*into = n.text
	}
}

// items reads a list, each entry with read.
func (d decoder) items(example string, read func(name string, n node), start func()) func(string, node) {
	return func(name string, n node) {
		if !d.want(name, n, isList, "a list, for example ["+example+"]") {
			return
		}
		start()
		for i, item := range n.items {
			read(entry(i, name), item)
		}
	}
}

func (d decoder) texts(into *[]string, example string) func(string, node) {
	return d.items(example, func(name string, n node) {
		if d.want(name, n, isText, "a text, for example "+example) {
			*into = append(*into, n.text)
		}
	}, func() { *into = []string{} })
}

func (d decoder) integers(into *[]int) func(string, node) {
	return d.items("1, 2", func(name string, n node) {
		if !d.want(name, n, isNumber, "a whole number, for example 1") {
			return
		}
		i, err := strconv.Atoi(n.text)
		if err != nil {
			d.notes.at(n.pos, "%s must be a whole number, for example 1; found %s", name, shown(n.text))
			return
		}
		*into = append(*into, i)
	}, func() { *into = []int{} })
}

func (d decoder) accounts(into *[]Account) func(string, node) {
	const example = `{"accountId": "P-1001"}`
	read := d.items(example, func(name string, n node) {
		if !d.want(name, n, isObject, "an object, for example "+example) {
			return
		}
		var a Account
		d.object(n, []field{{"accountId", d.checked(&a.AccountID, `"P-1001"`, CheckAccountID)}}, nil)
		d.required(n, name, "accountId")
		*into = append(*into, a)
	}, func() { *into = []Account{} })
	return func(name string, n node) {
		read(name, n)
		if n.kind == isList && len(n.items) == 0 {
			d.notes.at(n.pos, `"accounts" is empty: name an account, or leave the field out to take those of the library`)
		}
	}
}

func (d decoder) objectTypes(into *[]ObjectType) func(string, node) {
	const example = `{"name": "Observation"}`
	return d.items(example, func(name string, n node) {
		if !d.want(name, n, isObject, "an object, for example "+example) {
			return
		}
		var t ObjectType
		d.object(n, []field{
			{"name", d.checked(&t.Name, `"Observation"`, checkFilled)},
			{"references", d.texts(&t.References, `"Blood test"`)},
		}, nil)
		d.required(n, name, "name")
		*into = append(*into, t)
	}, func() { *into = []ObjectType{} })
}

func (d decoder) provider(into **Provider) func(string, node) {
	return func(name string, n node) {
		if !d.want(name, n, isObject, `an object, for example {"accountId": "…", "version": "stu3"}`) {
			return
		}
		p := &Provider{}
		d.object(n, []field{
			{"accountId", d.checked(&p.AccountID, `"P-1001"`, CheckAccountID)},
			{"version", d.checked(&p.Version, `"stu3"`, checkVersion)},
		}, nil)
		if len(n.members) == 0 {
			d.notes.at(n.pos, `"provider" is empty: give "accountId", "version" or both, or leave it out`)
		}
		*into = p
	}
}

func (d decoder) required(n node, name, key string) {
	if !slices.ContainsFunc(n.members, func(m member) bool { return m.key == key }) {
		d.notes.at(n.pos, "%s has no %q", name, key)
	}
}

func anyText(string) error { return nil }

func checkFilled(text string) error {
	if text == "" {
		return errors.New("is empty: fill it in or leave it out")
	}
	return nil
}

func checkVersion(text string) error {
	if text != "stu3" && text != "3.0.2" {
		return fmt.Errorf(`must be "stu3" or "3.0.2"; found %s`, shown(text))
	}
	return nil
}

// CheckAccountID says what is wrong with an account's id: it is empty, or has
// characters at its ends or inside that nobody sees, so that it would name
// another account than the one meant. The text reads on from the field's name.
func CheckAccountID(id string) error {
	switch {
	case strings.TrimSpace(id) == "":
		return errors.New("is empty: write the person's account, for example \"P-1001\"")
	case strings.TrimSpace(id) != id:
		return errors.New("begins or ends with a space: remove it")
	}
	for _, r := range id {
		if !unicode.IsGraphic(r) {
			return fmt.Errorf("has an invisible character (U+%04X): type it anew", r)
		}
	}
	return nil
}

// mediaType is type/subtype with the characters of RFC 6838, section 4.2.
var mediaType = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$`)

// CheckMimeType says what is wrong with a MIME type; parameters (RFC 2045) are
// possible, Auto is not one. The text reads on from the field's name.
func CheckMimeType(text string) error {
	bare, _, _ := strings.Cut(text, ";")
	_, _, err := mime.ParseMediaType(text)
	if err != nil || !mediaType.MatchString(strings.TrimRight(bare, " ")) {
		return fmt.Errorf("must be a type like \"application/pdf\", or \"auto\" to have it detected; found %s", shown(text))
	}
	return nil
}

func checkMimeOrAuto(text string) error {
	if text == Auto {
		return nil
	}
	return CheckMimeType(text)
}
