package main

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/sidecar"
	"github.com/digime-sync/digime-sync/sync/engine"
)

// schema is a JSON schema, as far as ours need it.
type schema struct {
	Schema               string             `json:"$schema,omitempty"`
	Ref                  string             `json:"$ref,omitempty"`
	Title                string             `json:"title,omitempty"`
	Description          string             `json:"description,omitempty"`
	Type                 any                `json:"type,omitempty"` // a text or a list of texts
	Enum                 []string           `json:"enum,omitempty"`
	Default              any                `json:"default,omitempty"`
	Pattern              string             `json:"pattern,omitempty"`
	MinLength            int                `json:"minLength,omitempty"`
	MaxLength            int                `json:"maxLength,omitempty"`
	Minimum              int                `json:"minimum,omitempty"`
	MinItems             int                `json:"minItems,omitempty"`
	MinProperties        int                `json:"minProperties,omitempty"`
	Properties           map[string]*schema `json:"properties,omitempty"`
	AdditionalProperties any                `json:"additionalProperties,omitempty"` // a *schema or false
	PropertyNames        *schema            `json:"propertyNames,omitempty"`
	Required             []string           `json:"required,omitempty"`
	Items                *schema            `json:"items,omitempty"`
	Not                  *schema            `json:"not,omitempty"`
	AllOf                []*schema          `json:"allOf,omitempty"`
	AnyOf                []*schema          `json:"anyOf,omitempty"`
	If                   *schema            `json:"if,omitempty"`
	Then                 *schema            `json:"then,omitempty"`
	Else                 *schema            `json:"else,omitempty"`
	Defs                 map[string]*schema `json:"$defs,omitempty"`
}

const draft = "https://json-schema.org/draft/2020-12/schema"

// What the code checks besides a value's type, by "Struct.Field"; of a list, each
// entry. Both ECMA's and Go's regular expressions understand the patterns.
var formats = map[string]schema{
	"Config.ConfigKey":          {Pattern: `^[A-Za-z0-9+/]{43}=$`},
	"Config.NewestVersion":      {Pattern: `^v?[0-9]+(\.[0-9]+){1,2}(-[0-9A-Za-z.-]+)?$`},
	"DefaultsConfig.MimeType":   {Pattern: mimePattern},
	"DefaultsConfig.Accounts":   {Pattern: accountPattern},
	"LibraryConfig.Accounts":    {Pattern: accountPattern},
	"Descriptor.MimeType":       {Pattern: mimePattern},
	"Descriptor.Accounts":       {MinItems: 1},
	"Descriptor.ContractID":     {MinLength: 1},
	"Descriptor.AppID":          {MinLength: 1},
	"Descriptor.ProviderName":   {MinLength: 1},
	"ObjectType.Name":           {MinLength: 1},
	"Account.AccountID":         {Pattern: accountPattern},
	"Provider.AccountID":        {Pattern: accountPattern},
	"Provider.Version":          {Enum: []string{"stu3", "3.0.2"}},
	"Sidecar.Provider":          {MinProperties: 1},
	"Config.Libraries (a name)": {MinLength: 1, MaxLength: 128, Pattern: `^[^/\\\x00-\x1f\x7f-\x9f]+$`, Not: &schema{Enum: []string{".", "..", engine.BySubfolder, engine.ByAccount}}},
}

const (
	mimePattern     = `^(auto|[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126} *(;.*)?)$`
	accountPattern  = `^\S(.*\S)?$`
	textPattern     = `^[^\x00-\x1f\x7f-\x9f]+$`
	durationPattern = `^\+?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`
)

// schemaMaker makes a schema of structs and their comments.
type schemaMaker struct {
	comments map[string]string
	partial  bool // nothing is needed, as in a layer
}

func (m *schemaMaker) config() *schema {
	s := m.group(reflect.TypeFor[Config]())
	s.Schema, s.Title, s.Description = draft, "digime-sync: config.yaml", "The configuration of digime-sync."
	if m.partial {
		s.Title, s.Description = "digime-sync: a layer", "A layer over the configuration of digime-sync: a file of conf.d, policy.d or a fleet."
		return s
	}
	delete(s.Properties, "serial") // is possible in the fleet's files only
	return s
}

// group is the schema of a struct of the configuration.
func (m *schemaMaker) group(t reflect.Type) *schema {
	s := &schema{Type: "object", Properties: map[string]*schema{}, AdditionalProperties: false}
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("yaml")
		if name == "-" {
			continue
		}
		p := m.value(t.Name()+"."+f.Name, f.Type, f.Tag)
		p.Description = m.comments[t.Name()+"."+f.Name]
		if text, ok := f.Tag.Lookup("default"); ok {
			p.Default = text
			if f.Type.Kind() == reflect.Bool {
				p.Default = text == "true"
			}
		}
		s.Properties[name] = p
		if f.Tag.Get("need") != "" && !m.partial {
			s.Required = append(s.Required, name)
		}
	}
	return s
}

// value is the schema of a value of the configuration. Groups and lists may be
// empty: "api:" and nothing behind it.
func (m *schemaMaker) value(field string, t reflect.Type, tag reflect.StructTag) *schema {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return &schema{Type: "string", Pattern: durationPattern, AllOf: []*schema{{Pattern: "[1-9]"}}}
	case t.Kind() == reflect.Bool:
		return &schema{Type: "boolean"}
	case t.Kind() == reflect.Uint64:
		return &schema{Type: "integer", Minimum: 1}
	case t.Kind() == reflect.Pointer:
		return m.value(field, t.Elem(), tag)
	case t.Kind() == reflect.Struct:
		s := m.group(t)
		s.Type = []string{"object", "null"}
		return s
	case t.Kind() == reflect.Map:
		s := &schema{Type: []string{"object", "null"}, AdditionalProperties: m.entry(t.Elem())}
		if names, ok := formats[field+" (a name)"]; ok {
			s.PropertyNames = &names
		}
		return s
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return &schema{Type: []string{"array", "null"}, Items: m.entry(t.Elem())}
	case t.Kind() == reflect.Slice:
		return &schema{Type: []string{"array", "null"}, Items: m.text(field, tag)}
	}
	return m.text(field, tag)
}

// entry is one of a list or of a group of names, which must have what it needs.
func (m *schemaMaker) entry(t reflect.Type) *schema {
	s := m.group(t)
	if m.partial {
		s.Type = []string{"object", "null"}
	}
	return s
}

func (m *schemaMaker) text(field string, tag reflect.StructTag) *schema {
	s := &schema{Type: "string"}
	if values := tag.Get("oneof"); values != "" {
		s.Enum = strings.Split(values, "|")
		return s
	}
	s.Pattern = textPattern
	if format, ok := formats[field]; ok && format.Pattern != "" {
		s.AllOf = []*schema{{Pattern: format.Pattern}}
	}
	if tag.Get("text") == "" {
		s.Not = &schema{Pattern: `\$\{[^}]*\}`}
	}
	return s
}

// sidecar is the schema of a sidecar in both its forms.
func (m *schemaMaker) sidecar() *schema {
	inner := m.object(reflect.TypeFor[sidecar.Descriptor]())
	whole := m.object(reflect.TypeFor[sidecar.Sidecar]())
	whole.Properties["$schema"] = &schema{Type: "string", Description: "Where this schema is, for editors."}
	wrapped := &schema{Type: "object", AdditionalProperties: false, Properties: map[string]*schema{
		"$schema": whole.Properties["$schema"], "provider": whole.Properties["provider"],
		"fileName":       {Type: "string", Description: "The file's name; digime-sync takes that of the file."},
		"fileDescriptor": {Ref: "#/$defs/descriptor", Description: "What the file is."},
	}}
	return &schema{
		Schema: draft, Title: "digime-sync: FILE.meta.json", Description: "What a file is and to which accounts it goes: the file descriptor of the digi.me API, or the form the SDKs wrap it in.",
		Type: "object", If: &schema{Required: []string{"fileDescriptor"}}, Then: &schema{Ref: "#/$defs/wrapped"}, Else: &schema{Ref: "#/$defs/bare"},
		Defs: map[string]*schema{"descriptor": inner, "bare": whole, "wrapped": wrapped},
	}
}

// object is the schema of a struct of the sidecar. Nothing in it is needed but
// what has no other name than it: fields without omit.
func (m *schemaMaker) object(t reflect.Type) *schema {
	s := &schema{Type: "object", Properties: map[string]*schema{}, AdditionalProperties: false}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			for name, p := range m.object(f.Type).Properties {
				s.Properties[name] = p
			}
			continue
		}
		name, omit, _ := strings.Cut(f.Tag.Get("json"), ",")
		p := m.json(f.Type)
		format := formats[t.Name()+"."+f.Name]
		p.Pattern, p.MinLength, p.MinItems, p.MinProperties, p.Enum = format.Pattern, format.MinLength, format.MinItems, format.MinProperties, format.Enum
		p.Description = m.comments[t.Name()+"."+f.Name]
		s.Properties[name] = p
		if omit == "" {
			s.Required = append(s.Required, name)
		}
	}
	return s
}

func (m *schemaMaker) json(t reflect.Type) *schema {
	switch t.Kind() {
	case reflect.Pointer:
		return m.json(t.Elem())
	case reflect.Struct:
		return m.object(t)
	case reflect.Slice:
		return &schema{Type: "array", Items: m.json(t.Elem())}
	case reflect.Int:
		return &schema{Type: "integer"}
	}
	return &schema{Type: "string"}
}

// commentsIn gives the comment above each field of a file's structs, by
// "Struct.Field".
func commentsIn(t *testing.T, path string) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	must(t, err)
	comments := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if s, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range s.Fields.List {
				for _, name := range f.Names {
					comments[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
				}
			}
		}
		return false
	})
	return comments
}

// The schemas in packaging/schemas are those of the structs; `go test -update`
// writes them.
func TestSchemas(t *testing.T) {
	config, files := commentsIn(t, "config.go"), commentsIn(t, filepath.Join("..", "..", "sidecar", "sidecar.go"))
	for name, s := range map[string]*schema{
		"config":  (&schemaMaker{comments: config}).config(),
		"layer":   (&schemaMaker{comments: config, partial: true}).config(),
		"sidecar": (&schemaMaker{comments: files}).sidecar(),
	} {
		described(t, name, s)
		var want bytes.Buffer
		e := json.NewEncoder(&want)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		must(t, e.Encode(s))
		path := filepath.Join("..", "..", "packaging", "schemas", name+".schema.json")
		got, err := os.ReadFile(path)
		must(t, err)
		switch {
		case strings.ReplaceAll(string(got), "\r\n", "\n") == want.String():
		case *updateReference:
			must(t, os.WriteFile(path, want.Bytes(), 0o644))
		default:
			t.Errorf("%s is not what the structs say; run go test ./cmd/digime-sync -run TestSchemas -update", path)
		}
	}
}

// described holds that every key is explained.
func described(t *testing.T, at string, s *schema) {
	t.Helper()
	for name, p := range s.Properties {
		if p.Description == "" {
			t.Errorf("%s.%s has no comment", at, name)
		}
		described(t, at+"."+name, p)
	}
	for name, d := range s.Defs {
		described(t, at+"."+name, d)
	}
	if entry, ok := s.AdditionalProperties.(*schema); ok {
		described(t, at+".NAME", entry)
	}
	if s.Items != nil {
		described(t, at+"[]", s.Items)
	}
}
