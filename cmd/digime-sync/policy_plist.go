package main

import (
	"fmt"

	"howett.net/plist"
)

// plistLayer is the layer of managed preferences, as MDM writes them.
func plistLayer(file string, data []byte) *layer {
	tree := map[string]any{}
	if _, err := plist.Unmarshal(data, &tree); err != nil {
		return badPolicy(file, "have the device management write it again", "it is not a property list: %s", fmt.Sprint(err))
	}
	for key := range tree {
		if len(key) > 7 && key[:7] == "Payload" { // what the profile itself consists of
			delete(tree, key)
		}
	}
	return policyLayer(file, tree)
}
