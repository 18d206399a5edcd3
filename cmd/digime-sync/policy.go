package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A managed policy is the configuration's last layer, set by whoever manages
// the machine. Where it lies:
//
//	Linux    /etc/digime-sync/policy.d/*.yaml, root's and writable by root alone
//	Windows  HKLM\SOFTWARE\Policies\digime-sync, as an ADMX template sets it
//	macOS    /Library/Managed Preferences/me.digi.digime-sync.plist, as MDM sets it
//
// In the registry, a value's name is the path of its key in config.yaml with
// dots: api.proxy, config_url, log.level. Subkeys are groups too, and their
// names are taken as they are, for libraries whose names have dots in them:
//
//	digime-sync            api.proxy = REG_SZ http://proxy:3128
//	digime-sync            folders.1.path = REG_SZ C:\Export
//	digime-sync\folders\1  path = REG_SZ C:\Export          (the same)
//	digime-sync\libraries\A. Miller  contract = REG_SZ clinic-write
//
// Texts and durations are REG_SZ or REG_EXPAND_SZ, true and false REG_DWORD 1
// and 0 (or the words as REG_SZ), numbers REG_DWORD or REG_QWORD, lists of texts
// REG_MULTI_SZ, or a subkey whose values are the entries, in the order of their
// names (numbers by their size), as the list element of ADMX writes them.
// Entries of folders have numbers as names. The property list has the same
// groups and keys, folders as an array.

// errRootsService is why a user who may not read the policy gets no configuration.
var errRootsService = errors.New("this machine's service is root's")

// putDotted puts a value into a tree of groups, at the path its name is.
func putDotted(tree map[string]any, name string, value any) {
	group, rest, inside := strings.Cut(name, ".")
	if !inside {
		tree[name] = value
		return
	}
	sub, ok := tree[group].(map[string]any)
	if !ok {
		sub = map[string]any{}
		tree[group] = sub
	}
	putDotted(sub, rest, value)
}

// policyNode makes of a policy's value what stands in YAML for a value of type t,
// which says what a number or a group means.
func policyNode(t reflect.Type, value any) *yaml.Node {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch v := value.(type) {
	case map[string]any:
		if t.Kind() == reflect.Slice {
			return policyList(t, inOrder(v))
		}
		return policyGroup(t, v)
	case []any:
		return policyList(t, v)
	case []string:
		list := make([]any, len(v))
		for i, text := range v {
			list[i] = text
		}
		return policyList(t, list)
	}
	return policyScalar(t, fmt.Sprint(value))
}

func policyScalar(t reflect.Type, text string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	switch {
	case t.Kind() == reflect.Bool && slices.Contains([]string{"1", "true"}, strings.ToLower(text)):
		n.Tag, n.Value = "!!bool", "true"
	case t.Kind() == reflect.Bool && slices.Contains([]string{"0", "false"}, strings.ToLower(text)):
		n.Tag, n.Value = "!!bool", "false"
	case t.Kind() == reflect.Uint64:
		n.Tag = "!!int"
	}
	return n
}

func policyList(t reflect.Type, values []any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	elem := t
	if t.Kind() == reflect.Slice {
		elem = t.Elem()
	}
	for _, v := range values {
		n.Content = append(n.Content, policyNode(elem, v))
	}
	return n
}

func policyGroup(t reflect.Type, group map[string]any) *yaml.Node {
	n := emptyRoot()
	for _, name := range slices.Sorted(maps.Keys(group)) {
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, policyNode(typeAt(t, name), group[name]))
	}
	return n
}

// typeAt is the type of the value under a name; that of a text where no value
// is known, so that reading it says so.
func typeAt(t reflect.Type, name string) reflect.Type {
	switch t.Kind() {
	case reflect.Map:
		return t.Elem()
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.Tag.Get("yaml") == name {
				return f.Type
			}
		}
	}
	return reflect.TypeFor[string]()
}

// inOrder lists a group's values by their names, numbers by their size.
func inOrder(group map[string]any) []any {
	names := slices.SortedFunc(maps.Keys(group), func(a, b string) int {
		x, errX := strconv.Atoi(a)
		y, errY := strconv.Atoi(b)
		if errX == nil && errY == nil {
			return cmp.Compare(x, y)
		}
		return cmp.Compare(a, b)
	})
	list := make([]any, len(names))
	for i, name := range names {
		list[i] = group[name]
	}
	return list
}

// policyLayer is the layer of a policy that is no text.
func policyLayer(file string, tree map[string]any) *layer {
	return &layer{kind: layerPolicy, file: file, lineless: true, root: policyGroup(reflect.TypeFor[Config](), tree)}
}

// badPolicy is a layer that cannot be read, and says why: without it, somebody
// who spoils a policy would be rid of it.
func badPolicy(file, hint, format string, args ...any) *layer {
	return &layer{kind: layerPolicy, file: file, lineless: true, root: emptyRoot(),
		faults: []ConfigFault{{Text: fmt.Sprintf(format, args...), Hint: hint}}}
}
