package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// LoadConfig reads the configuration file and the key files it names, and
// changes nothing. The error is a *ConfigError with everything that is wrong.
func LoadConfig(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &ConfigError{Path: path, Faults: []ConfigFault{unreadable(err)}, err: err}
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find the folder of %s: %w", path, err)
	}
	l := &configLoader{dir: filepath.Dir(abs), env: os.LookupEnv, lines: map[string]int{}}
	cfg := l.load(data)
	l.readFiles(cfg)
	if err := l.err(path); err != nil {
		return nil, err
	}
	return cfg, nil
}

// configLoader turns the text of a configuration into a Config and notes all
// that is wrong on the way.
type configLoader struct {
	dir    string                      // relative paths start here
	env    func(string) (string, bool) // the environment
	lines  map[string]int              // of each key that is given
	faults []ConfigFault
}

// load reads everything but the files that the configuration names.
func (l *configLoader) load(data []byte) *Config {
	cfg := &Config{}
	l.setDefaults(reflect.ValueOf(cfg).Elem())
	if root := l.document(data); root != nil {
		l.structure("", root, reflect.ValueOf(cfg).Elem())
		l.check(cfg)
	}
	return cfg
}

func (l *configLoader) err(path string) error {
	if len(l.faults) == 0 {
		return nil
	}
	slices.SortStableFunc(l.faults, func(a, b ConfigFault) int { return cmp.Compare(a.Line, b.Line) })
	return &ConfigError{Path: path, Faults: l.faults}
}

// fault notes what is wrong with a key, at its line or that of the nearest key
// around it that is given.
func (l *configLoader) fault(key, hint, format string, args ...any) {
	l.faults = append(l.faults, ConfigFault{Line: l.line(key), Key: key, Text: fmt.Sprintf(format, args...), Hint: hint})
}

func (l *configLoader) line(key string) int {
	for key != "" && l.lines[key] == 0 {
		key = key[:max(0, strings.LastIndexAny(key, ".["))]
	}
	return max(1, l.lines[key])
}

func (l *configLoader) given(key string) bool { return l.lines[key] != 0 }

// document returns the mapping that the file consists of, nil after noting why
// there is none.
func (l *configLoader) document(data []byte) *yaml.Node {
	whole := func(line int, hint, text string) *yaml.Node {
		l.faults = append(l.faults, ConfigFault{Line: line, Text: text, Hint: hint})
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
