package main

import (
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sys/windows/registry"
)

const policyKey = `SOFTWARE\Policies\digime-sync`

// mostPolicy bounds how many keys a policy can have, so that reading it ends.
const mostPolicy = 20_000

// policyLayers reads the policy from the registry, where only administrators
// can write.
func policyLayers() []*layer { return registryLayers(registry.LOCAL_MACHINE, policyKey) }

func registryLayers(root registry.Key, path string) []*layer {
	const file = `HKLM\` + policyKey
	left := mostPolicy
	tree, err := readGroup(root, path, &left)
	switch {
	case errors.Is(err, registry.ErrNotExist):
		return nil
	case err != nil:
		return []*layer{badPolicy(file, "", "%v", err)}
	case len(tree) == 0:
		return nil
	}
	return []*layer{policyLayer(file, tree)}
}

// readGroup reads a key with its subkeys, the values over the subkeys.
func readGroup(root registry.Key, path string, left *int) (map[string]any, error) {
	k, err := registry.OpenKey(root, path, registry.READ|registry.WOW64_64KEY)
	if err != nil {
		return nil, fmt.Errorf("open key %s: %w", path, err)
	}
	defer k.Close()
	tree := map[string]any{}
	subkeys, err := k.ReadSubKeyNames(-1)
	if err != nil {
		return nil, fmt.Errorf("list key %s: %w", path, err)
	}
	values, err := k.ReadValueNames(-1)
	if err != nil {
		return nil, fmt.Errorf("list values of %s: %w", path, err)
	}
	if *left -= len(subkeys) + len(values); *left < 0 {
		return nil, fmt.Errorf("the policy has more than %d values", mostPolicy)
	}
	for _, name := range subkeys {
		if tree[name], err = readGroup(k, name, left); err != nil {
			return nil, err
		}
	}
	for _, name := range values {
		value, err := readValue(k, name)
		if err != nil {
			return nil, fmt.Errorf("value %s of %s: %w", name, path, err)
		}
		if name != "" { // the key's default value, which nothing reads
			putDotted(tree, name, value)
		}
	}
	return tree, nil
}

func readValue(k registry.Key, name string) (any, error) {
	_, kind, err := k.GetValue(name, nil)
	if err != nil {
		return nil, err
	}
	switch kind {
	case registry.SZ, registry.EXPAND_SZ:
		text, _, err := k.GetStringValue(name)
		if err == nil && kind == registry.EXPAND_SZ {
			text, err = registry.ExpandString(text)
		}
		return text, err
	case registry.DWORD, registry.QWORD:
		n, _, err := k.GetIntegerValue(name)
		return n, err
	case registry.MULTI_SZ:
		list, _, err := k.GetStringsValue(name)
		return list, err
	}
	return nil, fmt.Errorf("is of a kind (%d) that is not read; write REG_SZ, REG_DWORD or REG_MULTI_SZ", kind)
}

func policyStamp() (stamp string) {
	for _, l := range policyLayers() {
		text, _ := yaml.Marshal(l.root) // there is nothing in it that could not be
		stamp += string(text) + fmt.Sprintln(l.faults)
	}
	return stamp
}

// policyClosed says nothing: everybody may read the policy here.
func policyClosed() error { return nil }
