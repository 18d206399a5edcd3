package main

import (
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/digime-sync/digime-sync/sidecar"
)

// setDefaults fills in what the default tags say.
func (l *configLoader) setDefaults(v reflect.Value) {
	for i := range v.NumField() {
		field, f := v.Type().Field(i), v.Field(i)
		text, ok := field.Tag.Lookup("default")
		switch {
		case f.Kind() == reflect.Struct:
			l.setDefaults(f)
		case ok && field.Type == reflect.TypeFor[time.Duration]():
			d, _ := time.ParseDuration(text) // a test parses every tag
			f.SetInt(int64(d))
		case ok && f.Kind() == reflect.Bool:
			f.SetBool(text == "true")
		case ok:
			f.SetString(text)
		}
	}
}

// value reads a node into v by the kind of v.
func (l *configLoader) value(key string, n *yaml.Node, v reflect.Value, tag reflect.StructTag) {
	empty := n.ShortTag() == "!!null"
	switch v.Kind() {
	case reflect.Struct:
		if !empty && l.want(key, n, yaml.MappingNode, "a group of keys", "write each key on a line of its own, indented") {
			l.structure(key, n, v)
		}
	case reflect.Pointer:
		if !empty {
			v.Set(reflect.New(v.Type().Elem()))
			l.value(key, n, v.Elem(), tag)
		}
	case reflect.Map:
		if !empty && l.want(key, n, yaml.MappingNode, "a group of names", "write each name on a line of its own, indented") {
			l.names(key, n, v)
		}
	case reflect.Slice:
		if !empty && l.want(key, n, yaml.SequenceNode, "a list", `write [a, b], or each entry on a line of its own after "- "`) {
			l.list(key, n, v, tag)
		}
	case reflect.Bool:
		if l.scalar(key, n, "!!bool", "true or false", "") {
			v.SetBool(strings.EqualFold(n.Value, "true"))
		}
	case reflect.Int64:
		l.duration(key, n, v)
	default:
		l.text(key, n, v, tag)
	}
}

func (l *configLoader) want(key string, n *yaml.Node, kind yaml.Kind, wanted, hint string) bool {
	if n.Kind == kind {
		return true
	}
	l.fault(key, hint, "must be %s; found %s", wanted, found(n))
	return false
}

func (l *configLoader) scalar(key string, n *yaml.Node, tag, wanted, hint string) bool {
	switch {
	case n.Kind == yaml.ScalarNode && n.ShortTag() == tag:
		return true
	case n.ShortTag() == "!!null":
		l.fault(key, "give it a value or leave the key out", "is empty")
	default:
		l.fault(key, hint, "must be %s; found %s", wanted, found(n))
	}
	return false
}

// member is one key of a mapping.
type member struct {
	name, key string // its name, and with all that is around it
	value     *yaml.Node
}

// members lists a mapping's keys, each once, and notes their lines.
func (l *configLoader) members(key string, n *yaml.Node) []member {
	var list []member
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i]
		if name.Kind != yaml.ScalarNode {
			l.faults = append(l.faults, ConfigFault{Line: name.Line, Key: key, Text: "a key must be text; found " + found(name)})
			continue
		}
		m := member{name.Value, joinKey(key, name.Value), resolved(n.Content[i+1])}
		if l.given(m.key) {
			l.faults = append(l.faults, ConfigFault{Line: name.Line, Key: m.key, Text: fmt.Sprintf("is given twice, first on line %d", l.lines[m.key])})
			continue
		}
		l.lines[m.key] = name.Line
		list = append(list, m)
	}
	return list
}

// resolved is the node an alias stands for. Values are read by the shape of
// Config, which ends, so that one that holds itself does no harm.
func resolved(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

var plainName = regexp.MustCompile(`^[\pL\pN_-]+$`)

func joinKey(key, name string) string {
	if !plainName.MatchString(name) {
		name = strconv.Quote(name)
	}
	if key == "" {
		return name
	}
	return key + "." + name
}

// structure reads a mapping whose keys are the fields of v.
func (l *configLoader) structure(key string, n *yaml.Node, v reflect.Value) {
	fields := map[string]int{}
	var known []string
	for i := range v.NumField() {
		if name := v.Type().Field(i).Tag.Get("yaml"); name != "-" {
			fields[name] = i
			known = append(known, name)
		}
	}
	for _, m := range l.members(key, n) {
		i, ok := fields[m.name]
		if !ok {
			l.unknown(m, known)
			continue
		}
		l.value(m.key, m.value, v.Field(i), v.Type().Field(i).Tag)
	}
	for _, name := range known {
		needed := v.Type().Field(fields[name]).Tag.Get("need") != ""
		if k := joinKey(key, name); needed && !l.given(k) {
			l.fault(k, "", "is missing")
		}
	}
}

func (l *configLoader) unknown(m member, known []string) {
	hint := "known here are " + strings.Join(known, ", ")
	if near := sidecar.Nearest(m.name, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	l.fault(m.key, hint, "is not known")
}

// names reads a mapping whose keys are names of the user's choice.
func (l *configLoader) names(key string, n *yaml.Node, v reflect.Value) {
	v.Set(reflect.MakeMap(v.Type()))
	for _, m := range l.members(key, n) {
		v.SetMapIndex(reflect.ValueOf(m.name), l.entry(m.key, m.value, v.Type().Elem(), ""))
	}
}

func (l *configLoader) list(key string, n *yaml.Node, v reflect.Value, tag reflect.StructTag) {
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", key, i)
		l.lines[at] = item.Line
		v.Set(reflect.Append(v, l.entry(at, resolved(item), v.Type().Elem(), tag)))
	}
}

// entry reads one entry of a list or of a group of names. One without anything
// counts as one without keys, so that what it needs is missed.
func (l *configLoader) entry(key string, n *yaml.Node, t reflect.Type, tag reflect.StructTag) reflect.Value {
	v := reflect.New(t).Elem()
	if t.Kind() == reflect.Struct {
		l.setDefaults(v)
		if n.ShortTag() == "!!null" {
			n = &yaml.Node{Kind: yaml.MappingNode}
		}
	}
	l.value(key, n, v, tag)
	return v
}

func (l *configLoader) duration(key string, n *yaml.Node, v reflect.Value) {
	const hint = "write for example 5s, 2m or 1h30m"
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		l.scalar(key, n, "!!str", "a duration", hint)
		return
	}
	d, err := time.ParseDuration(n.Value)
	if err != nil || d <= 0 {
		l.fault(key, hint, "must be a duration; found %q", n.Value)
		return
	}
	v.SetInt(int64(d))
}

func (l *configLoader) text(key string, n *yaml.Node, v reflect.Value, tag reflect.StructTag) {
	if !l.scalar(key, n, "!!str", "text", "put it in quotes") {
		return
	}
	text := n.Value
	if kind := tag.Get("text"); kind != "" {
		var ok bool
		if text, ok = l.expand(key, text); !ok {
			return
		}
	} else if variable.MatchString(text) {
		l.fault(key, "write the value itself", "${…} is not expanded here")
		return
	}
	switch values := strings.Split(tag.Get("oneof"), "|"); {
	case text == "":
		l.fault(key, "give it a value or leave the key out", "is empty")
		return
	case strings.ContainsFunc(text, unicode.IsControl):
		l.fault(key, "", "has a control character in it")
		return
	case values[0] != "" && !slices.Contains(values, text):
		l.fault(key, "write "+oneOf(values), "%q is not possible", text)
		return
	}
	if tag.Get("text") == "path" {
		text = l.absolute(text)
	}
	v.SetString(text)
}

func oneOf(values []string) string {
	last := len(values) - 1
	return strings.Join(values[:last], ", ") + " or " + values[last]
}

var variable = regexp.MustCompile(`\$\{([^}]*)\}`)

// expand puts variables of the environment in the place of ${NAME}.
func (l *configLoader) expand(key, text string) (string, bool) {
	ok := true
	text = variable.ReplaceAllStringFunc(text, func(ref string) string {
		name := ref[2 : len(ref)-1]
		value, set := l.env(name)
		if !set {
			l.fault(key, "set it where the program is started, or write the value itself", "the environment has no variable %q", name)
			ok = false
		}
		return value
	})
	return text, ok
}

func (l *configLoader) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(l.dir, path)
}
