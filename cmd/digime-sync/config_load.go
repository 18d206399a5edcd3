package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// configLoader turns the layers of a configuration into a Config and notes all
// that is wrong on the way.
type configLoader struct {
	dir       string                      // relative paths start here
	env       func(string) (string, bool) // the environment
	layer     *layer                      // the one that is read
	lines     map[string]place            // of each key that is given; of the last layer that gives it
	broken    map[string]bool             // keys whose value is of the wrong kind
	settings  map[string]string           // values, as they are written
	faults    []ConfigFault
	fleetFile string // what faults call the fleet's first file; "" when there is none
	unread    bool   // a layer is not a configuration at all
	blank     bool   // the configuration file is empty, and there is nothing besides
}

// errNotConfigured is the cause of a *ConfigError when nobody has configured
// anything yet: the configuration file is as a package has put it there.
var errNotConfigured = errors.New("nothing is configured yet")

// place is where a key stands.
type place struct {
	layer *layer
	line  int
}

func newConfigLoader(dir string, env func(string) (string, bool)) *configLoader {
	return &configLoader{dir: dir, env: env, layer: &layer{}, lines: map[string]place{}, broken: map[string]bool{}, settings: map[string]string{}}
}

// load reads everything but the files that the configuration names. Later
// layers go before earlier ones.
func (l *configLoader) load(layers []*layer) *Config {
	cfg := l.read(layers)
	if !l.unread {
		l.complete(cfg)
	}
	return cfg
}

// read takes each layer by itself, so that faults of values that another layer
// replaces are found too.
func (l *configLoader) read(layers []*layer) *Config {
	cfg := &Config{}
	l.setDefaults(reflect.ValueOf(cfg).Elem())
	says := func(l *layer) bool { return l.root != nil || !isEmpty(l.data) }
	alone := len(layers) > 0 && !slices.ContainsFunc(layers[1:], says)
	for _, l.layer = range layers {
		if l.layer.kind == layerFleet && l.fleetFile == "" {
			l.fleetFile = l.layer.file
		}
		for _, f := range l.layer.faults {
			l.note(f)
		}
		root := l.layer.root
		switch {
		case root != nil || l.layer.data == nil:
		case isEmpty(l.layer.data) && (l.layer.kind != layerMain || !alone):
			root = emptyRoot()
		case isEmpty(l.layer.data) && utf8.Valid(l.layer.data):
			l.blank = true
			l.note(ConfigFault{Text: errNotConfigured.Error()})
		default:
			root = l.document(l.layer.data)
		}
		l.unread = l.unread || root == nil
		if root != nil {
			l.structure("", root, reflect.ValueOf(cfg).Elem())
		}
	}
	if len(layers) > 0 {
		l.layer = layers[0]
	}
	return cfg
}

// complete notes what is missing or wrong in the layers together.
func (l *configLoader) complete(cfg *Config) {
	l.needs("", reflect.ValueOf(cfg).Elem())
	l.check(cfg)
}

// err is what is wrong with the configuration whose file is at path.
func (l *configLoader) err(path string, layers []*layer) error {
	if len(l.faults) == 0 {
		return nil
	}
	order := map[string]int{}
	for i, layer := range layers {
		order[layer.file] = i
	}
	slices.SortStableFunc(l.faults, func(a, b ConfigFault) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line))
	})
	e := &ConfigError{Path: path, Faults: l.faults}
	if l.blank {
		e.err = errNotConfigured
	}
	return e
}

// note adds a fault of the layer that is read.
func (l *configLoader) note(f ConfigFault) {
	f.File = l.layer.file
	l.faults = append(l.faults, f)
}

// fault notes what is wrong with a key, at its line or that of the nearest key
// around it that is given.
func (l *configLoader) fault(key, hint, format string, args ...any) {
	at := l.place(key)
	l.faults = append(l.faults, ConfigFault{File: at.layer.file, Line: at.line, Key: key, Text: fmt.Sprintf(format, args...), Hint: hint})
}

func (l *configLoader) place(key string) place {
	for key != "" && l.lines[key].layer == nil {
		key = key[:max(0, strings.LastIndexAny(key, ".["))]
	}
	if at := l.lines[key]; at.layer != nil {
		return at
	}
	line := 1
	if l.layer.lineless {
		line = 0
	}
	return place{l.layer, line}
}

func (l *configLoader) line(key string) int { return l.place(key).line }

// at names the place of a key for a fault of another key.
func (l *configLoader) at(key string) string {
	switch at := l.place(key); {
	case at.layer.file != "" && at.line > 0:
		return fmt.Sprintf("%s, line %d", at.layer.file, at.line)
	case at.layer.file != "":
		return at.layer.file
	default:
		return fmt.Sprintf("line %d", at.line)
	}
}

func (l *configLoader) given(key string) bool { return l.lines[key].layer != nil }

// document returns the mapping that the file consists of, nil after noting why
// there is none.
func (l *configLoader) document(data []byte) *yaml.Node {
	whole := func(line int, hint, text string) *yaml.Node {
		l.note(ConfigFault{Line: line, Text: text, Hint: hint})
		return nil
	}
	if !utf8.Valid(data) {
		valid := len(data) - len(bytes.TrimLeftFunc(data, func(r rune) bool { return r != utf8.RuneError }))
		return whole(1+bytes.Count(data[:valid], []byte("\n")), "save the file as UTF-8", "this is not UTF-8 text")
	}
	documents, err := parseYAML(data)
	switch {
	case err != nil:
		line, text := badLine(data)
		return whole(line, "", syntaxFault(text, err))
	case len(documents) == 0:
		return whole(0, "", "the file is empty")
	case len(documents) > 1:
		return whole(documents[1].Line, "remove it and what follows", "a second document begins here")
	}
	root := documents[0].Content[0]
	switch {
	case root.ShortTag() == "!!null":
		return whole(0, "", "the file is empty")
	case root.Kind != yaml.MappingNode:
		return whole(root.Line, "begin with application_id: …", "the file must consist of keys and values; found "+found(root))
	}
	return root
}

func parseYAML(data []byte) (documents []*yaml.Node, err error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var n yaml.Node
		switch err := decoder.Decode(&n); {
		case errors.Is(err, io.EOF):
			return documents, nil
		case err != nil:
			return nil, err
		}
		documents = append(documents, &n)
	}
}

// badLine finds the line that makes data something else than YAML. The parser
// names that where the faulty part begins, often the file's first; so the line
// behind the longest beginning that is YAML is taken. 0 in very long files.
func badLine(data []byte) (line int, text []byte) {
	lines := bytes.SplitAfter(data, []byte("\n"))
	if len(lines) > 1000 {
		return 0, nil
	}
	good := len(data)
	for i := len(lines); i > 0; i-- {
		good -= len(lines[i-1])
		if _, err := parseYAML(data[:good]); err == nil {
			return i, lines[i-1]
		}
	}
	return 0, nil
}

// syntaxFault makes words of a parser's error, of which there is only a text.
// A tab it calls some character.
func syntaxFault(line []byte, err error) string {
	if indent := line[:len(line)-len(bytes.TrimLeft(line, " \t"))]; bytes.Contains(indent, []byte("\t")) {
		return "a tab stands before the text, which YAML does not allow: indent with spaces"
	}
	return "this is not YAML: " + yamlPlace.ReplaceAllString(err.Error(), "")
}

var yamlPlace = regexp.MustCompile(`^yaml: (line \d+: )?`)

// found says in plain words what stands at a node.
func found(n *yaml.Node) string {
	switch n.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "a group of keys"
	}
	switch n.ShortTag() {
	case "!!str":
		return "text"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!null":
		return "nothing"
	case "!!timestamp":
		return "a date"
	}
	return "a value of the kind " + n.ShortTag()
}

// unreadable says in plain words why a file cannot be read.
func unreadable(err error) ConfigFault {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ConfigFault{Text: "there is no such file"}
	case errors.Is(err, fs.ErrPermission):
		return ConfigFault{Text: "it cannot be read", Hint: "let the user the program runs as read it"}
	}
	var cause *fs.PathError
	if errors.As(err, &cause) {
		err = cause.Err
	}
	return ConfigFault{Text: "it cannot be read: " + err.Error()}
}
