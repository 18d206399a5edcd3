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
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
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
	case reflect.Uint64:
		l.number(key, n, v)
	default:
		l.text(key, n, v, tag)
	}
}

func (l *configLoader) want(key string, n *yaml.Node, kind yaml.Kind, wanted, hint string) bool {
	if n.Kind == kind {
		return true
	}
	l.broken[key] = true
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
			l.note(ConfigFault{Line: name.Line, Key: key, Text: "a key must be text; found " + found(name)})
			continue
		}
		m := member{name.Value, joinKey(key, name.Value), resolved(n.Content[i+1])}
		if at := l.lines[m.key]; at.layer == l.layer {
			l.note(ConfigFault{Line: name.Line, Key: m.key, Text: fmt.Sprintf("is given twice, first on line %d", at.line)})
			continue
		}
		l.lines[m.key] = place{l.layer, name.Line}
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
		field := v.Type().Field(i)
		if why := l.layer.forbids(field.Tag, m.name); why != "" {
			l.fault(m.key, "remove it there", "%s", why)
			continue
		}
		if isLeaf(field.Type) {
			l.settings[m.key] = written(m.value)
		}
		l.value(m.key, m.value, v.Field(i), field.Tag)
	}
}

// needs notes the keys that no layer gives.
func (l *configLoader) needs(key string, v reflect.Value) {
	if l.broken[key] {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		l.needsFields(key, v)
	case reflect.Pointer:
		if !v.IsNil() {
			l.needs(key, v.Elem())
		}
	case reflect.Map:
		for _, name := range namesOf(v) {
			l.needs(joinKey(key, name), v.MapIndex(reflect.ValueOf(name)))
		}
	case reflect.Slice:
		for i := range v.Len() {
			l.needs(fmt.Sprintf("%s[%d]", key, i), v.Index(i))
		}
	}
}

func (l *configLoader) needsFields(key string, v reflect.Value) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name := field.Tag.Get("yaml")
		if name == "-" {
			continue
		}
		k := joinKey(key, name)
		if field.Tag.Get("need") != "" && !l.given(k) {
			l.absent(k)
		}
		l.needs(k, v.Field(i))
	}
}

func namesOf(v reflect.Value) []string {
	var names []string
	for _, k := range v.MapKeys() {
		names = append(names, k.String())
	}
	slices.Sort(names)
	return names
}

// isLeaf says whether values of a type have no keys inside.
func isLeaf(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct, reflect.Map, reflect.Pointer:
		return false
	case reflect.Slice:
		return isLeaf(t.Elem())
	}
	return true
}

func (l *configLoader) unknown(m member, known []string) {
	hint := "known here are " + strings.Join(known, ", ")
	if near := sidecar.Nearest(m.name, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	l.fault(m.key, hint, "is not known")
}

// names reads a mapping whose keys are names of the user's choice. Names that an
// earlier layer gave stay, and so do their keys that this one leaves out.
func (l *configLoader) names(key string, n *yaml.Node, v reflect.Value) {
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	for _, m := range l.members(key, n) {
		name := reflect.ValueOf(m.name)
		v.SetMapIndex(name, l.entry(m.key, m.value, v.Type().Elem(), v.MapIndex(name), ""))
	}
}

// list reads a list, which takes the place of an earlier layer's; or whose
// entries are appended, where the tag says by what one is the same.
func (l *configLoader) list(key string, n *yaml.Node, v reflect.Value, tag reflect.StructTag) {
	by := tag.Get("merge")
	if by == "" {
		v.SetZero()
	}
	before := v.Len()
	for _, item := range n.Content {
		i := l.same(v, before, resolved(item), by)
		at := fmt.Sprintf("%s[%d]", key, i)
		l.lines[at] = place{l.layer, item.Line}
		if i < v.Len() {
			v.Index(i).Set(l.entry(at, resolved(item), v.Type().Elem(), v.Index(i), tag))
			continue
		}
		v.Set(reflect.Append(v, l.entry(at, resolved(item), v.Type().Elem(), reflect.Value{}, tag)))
	}
}

// same finds the entry of an earlier layer that an item is about, by one of its
// keys; else the place behind the last.
func (l *configLoader) same(v reflect.Value, before int, item *yaml.Node, by string) int {
	if by == "" || item.Kind != yaml.MappingNode {
		return v.Len()
	}
	for i := 0; i+1 < len(item.Content); i += 2 {
		if item.Content[i].Value != by {
			continue
		}
		quiet := newConfigLoader(l.dir, l.env)
		text, ok := quiet.expand(by, resolved(item.Content[i+1]).Value)
		for j := 0; ok && j < before; j++ {
			if earlier := v.Index(j).Addr().Interface().(*FolderConfig); samePath(earlier.Path) == samePath(l.absolute(text)) {
				return j
			}
		}
	}
	return v.Len()
}

// entry reads one entry of a list or of a group of names, over that of an
// earlier layer if there is one. One without anything counts as one without
// keys, so that what it needs is missed.
func (l *configLoader) entry(key string, n *yaml.Node, t reflect.Type, earlier reflect.Value, tag reflect.StructTag) reflect.Value {
	v := reflect.New(t).Elem()
	switch {
	case earlier.IsValid():
		v.Set(earlier)
	case t.Kind() == reflect.Struct:
		l.setDefaults(v)
	}
	if t.Kind() == reflect.Struct && n.ShortTag() == "!!null" {
		n = &yaml.Node{Kind: yaml.MappingNode}
	}
	l.value(key, n, v, tag)
	return v
}

func (l *configLoader) number(key string, n *yaml.Node, v reflect.Value) {
	const hint = "write a whole number from 1"
	if !l.scalar(key, n, "!!int", "a number", hint) {
		return
	}
	number, err := strconv.ParseUint(n.Value, 10, 63)
	if err != nil || number == 0 {
		l.fault(key, hint, "must be a number; found %q", n.Value)
		return
	}
	v.SetUint(number)
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
