package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var updateReference = flag.Bool("update", false, "write the table of keys into README.md")

// ConfigReference is the table of all keys in Markdown, made from Config: the
// comments of its fields are the meanings.
func ConfigReference(t *testing.T) string {
	t.Helper()
	rows := []string{"| key | type | default | meaning |", "|---|---|---|---|"}
	comments := commentsIn(t, "config.go")
	var walk func(prefix string, typ reflect.Type)
	walk = func(prefix string, typ reflect.Type) {
		for i := range typ.NumField() {
			field := typ.Field(i)
			name := field.Tag.Get("yaml")
			if name == "-" {
				continue
			}
			key := prefix + name
			rows = append(rows, fmt.Sprintf("| `%s` | %s | %s | %s |", key, typeWords(field), defaultWords(key, field), comments[typ.Name()+"."+field.Name]))
			switch inner := field.Type; {
			case inner.Kind() == reflect.Map:
				walk(key+".NAME.", inner.Elem())
			case inner.Kind() == reflect.Slice && inner.Elem().Kind() == reflect.Struct:
				walk(key+"[].", inner.Elem())
			case inner.Kind() == reflect.Pointer:
				walk(key+".", inner.Elem())
			case inner.Kind() == reflect.Struct:
				walk(key+".", inner)
			}
		}
	}
	walk("", reflect.TypeFor[Config]())
	return strings.Join(rows, "\n")
}

func typeWords(field reflect.StructField) string {
	switch values := field.Tag.Get("oneof"); {
	case values != "":
		return "`" + strings.ReplaceAll(values, "|", "`, `") + "`"
	case field.Type == reflect.TypeFor[time.Duration]():
		return "duration"
	case field.Type.Kind() == reflect.Bool:
		return "`true`, `false`"
	case field.Type.Kind() == reflect.Map:
		return "names"
	case field.Type.Kind() == reflect.Slice && field.Type.Elem().Kind() == reflect.String:
		return "list of texts"
	case field.Type.Kind() == reflect.Slice:
		return "list"
	case field.Type.Kind() == reflect.Uint64:
		return "whole number"
	case field.Type.Kind() != reflect.String:
		return "keys"
	}
	switch field.Tag.Get("text") {
	case "env":
		return "text, `${VAR}`"
	case "path":
		return "path, `${VAR}`"
	}
	return "text"
}

func defaultWords(key string, field reflect.StructField) string {
	switch value, ok := field.Tag.Lookup("default"); {
	case ok:
		return "`" + value + "`"
	case field.Tag.Get("need") != "":
		return "needed"
	case key == "state_dir":
		return "by system"
	}
	return ""
}

// The table in README.md is that of the struct; `go test -update` writes it.
func TestConfigReference(t *testing.T) {
	const begin, end = "<!-- keys -->\n", "<!-- /keys -->"
	want := ConfigReference(t) + "\n"
	if strings.Contains(want, "|  |\n") {
		t.Errorf("a key has no comment:\n%s", want)
	}
	path := filepath.Join("..", "..", "README.md")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("there is no README.md")
	}
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(strings.ReplaceAll(string(text), "\r\n", "\n"), begin)
	got, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("README.md has no %q and %q on lines of their own", strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	if got == want {
		return
	}
	if !*updateReference {
		t.Fatalf("README.md shows other keys than config.go has; run go test ./cmd/digime-sync -run TestConfigReference -update\n%s", want)
	}
	if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// What a default tag says is read while loading without a way to report an
// error, so it is proven here.
func TestDefaultTags(t *testing.T) {
	for _, typ := range []reflect.Type{
		reflect.TypeFor[Config](), reflect.TypeFor[APIConfig](), reflect.TypeFor[ContractConfig](), reflect.TypeFor[LibraryConfig](), reflect.TypeFor[PostboxConfig](),
		reflect.TypeFor[FolderConfig](), reflect.TypeFor[ProviderConfig](), reflect.TypeFor[DefaultsConfig](), reflect.TypeFor[LogConfig](),
	} {
		for i := range typ.NumField() {
			field := typ.Field(i)
			value, ok := field.Tag.Lookup("default")
			if !ok {
				continue
			}
			if _, err := time.ParseDuration(value); field.Type == reflect.TypeFor[time.Duration]() && err != nil {
				t.Errorf("%s.%s: %v", typ.Name(), field.Name, err)
			}
			if field.Type.Kind() == reflect.Bool && value != "true" && value != "false" {
				t.Errorf("%s.%s: default %q", typ.Name(), field.Name, value)
			}
			if of := field.Tag.Get("oneof"); of != "" && !strings.Contains("|"+of+"|", "|"+value+"|") {
				t.Errorf("%s.%s: default %q is none of %s", typ.Name(), field.Name, value, of)
			}
		}
	}
}
