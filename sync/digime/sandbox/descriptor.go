package sandbox

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// checkDescriptor holds a file descriptor to the fields and types the SDKs know (Node.js types/push.ts; contractId,
// appId, providerName, objectTypes and serviceGroups from iOS). Nothing says what the real service does with a field
// it does not know; here it is refused, so that a misspelt one is noticed.
func checkDescriptor(raw json.RawMessage) error {
	fields, err := parseObject(raw)
	if err != nil {
		return invalid("metadata: " + err.Error())
	}
	var faults []string
	fault := func(name, want string) { faults = append(faults, fmt.Sprintf("metadata.%s must be %s", name, want)) }
	for _, name := range []string{"mimeType", "accounts"} {
		if fields[name] == nil {
			fault(name, "given")
		}
	}
	for name, value := range fields {
		check, known := descriptorFields[name]
		switch {
		case !known:
			faults = append(faults, fmt.Sprintf("metadata.%s is not a field of the file descriptor", name))
		case !check.ok(value):
			fault(name, check.want)
		}
	}
	if faults == nil {
		return nil
	}
	slices.Sort(faults)
	return invalid(strings.Join(faults, "; "))
}

type fieldCheck struct {
	want string
	ok   func(json.RawMessage) bool
}

var (
	text     = fieldCheck{"a non-empty string", func(raw json.RawMessage) bool { return stringOf(raw) != "" }}
	texts    = fieldCheck{"an array of strings", isTexts}
	integers = fieldCheck{"an array of integers", func(raw json.RawMessage) bool { return isArray[int](raw) }}
	accounts = fieldCheck{`a non-empty array of {"accountId": string}`, isAccounts}
	objects  = fieldCheck{`an array of {"name": string, "references"?: [string]}`, isObjectTypes}

	descriptorFields = map[string]fieldCheck{
		"mimeType": text, "accounts": accounts, "reference": texts, "tags": texts,
		"contractId": text, "appId": text, "providerName": text, "objectTypes": objects, "serviceGroups": integers,
	}
)

// isArray tells whether raw is an array of T without a null in it.
func isArray[T any](raw json.RawMessage) bool {
	var list []*T
	err := json.Unmarshal(raw, &list)
	return err == nil && list != nil && !slices.Contains(list, nil)
}

func isTexts(raw json.RawMessage) bool { return isArray[string](raw) }

func isAccounts(raw json.RawMessage) bool {
	list, ok := elements(raw)
	for _, one := range list {
		account, err := parseObject(one)
		ok = ok && err == nil && len(account) == 1 && stringOf(account["accountId"]) != ""
	}
	return ok && len(list) > 0
}

func isObjectTypes(raw json.RawMessage) bool {
	list, ok := elements(raw)
	for _, one := range list {
		kind, err := parseObject(one)
		references, given := kind["references"]
		delete(kind, "references")
		ok = ok && err == nil && len(kind) == 1 && stringOf(kind["name"]) != "" && (!given || isTexts(references))
	}
	return ok
}

// elements are an array's elements; false when raw is no array.
func elements(raw json.RawMessage) ([]json.RawMessage, bool) {
	var list []json.RawMessage
	err := json.Unmarshal(raw, &list)
	return list, err == nil && list != nil
}
