package main

import (
	"runtime"
	"strings"
	"testing"
)

const topKeys = "application_id, state_dir, api, contracts, libraries, folders, log, config_url, config_key, config_interval, enrolment_file, report_to, newest_version, serial"

// Each row is a configuration and the whole report about it, one fault a line.
var configFaultTests = []struct {
	name, text, want string
}{
	// The file as a whole.
	{"empty", "", "c.yaml: nothing is configured yet"},
	{"comments only", "# nothing yet\n", "c.yaml: nothing is configured yet"},
	{"empty document", "---\n", "c.yaml: the file is empty"},
	{"a list", "\n- a\n", "c.yaml:2: the file must consist of keys and values; found a list; begin with application_id: …"},
	{"text", "hello", "c.yaml:1: the file must consist of keys and values; found text; begin with application_id: …"},
	{"two documents", minimal + "---\na: b\n", "c.yaml:4: a second document begins here; remove it and what follows"},
	{"tab", "application_id: a\nlog:\n\tlevel: info\n", "c.yaml:3: a tab stands before the text, which YAML does not allow: indent with spaces"},
	{"not YAML", "application_id: a\nlog: {level: info\n", "c.yaml:2: this is not YAML: did not find expected ',' or '}'"},
	{"not YAML far down", minimal + "log:\n  level: info\n file_names: full\napi: {}\n", "c.yaml:6: this is not YAML: did not find expected key"},
	{"an open quote", minimal + "log:\n  level: 'info\n", "c.yaml:5: this is not YAML: found unexpected end of stream"},
	{"not YAML in a very long file", "application_id: a\n" + strings.Repeat("#\n", 1000) + "log: [\n", "c.yaml: this is not YAML: did not find expected node content"},
	{"an alias to nothing", "application_id: *x\n", "c.yaml:1: this is not YAML: unknown anchor 'x' referenced"},
	{"Latin-1", "# Grüße\n# Gr\xfc\xdfe\n", "c.yaml:2: this is not UTF-8 text; save the file as UTF-8"},

	// Keys.
	{"missing", "log: {}\n", "c.yaml:1: application_id: is missing"},
	{"empty value", "application_id:\n", "c.yaml:1: application_id: is empty; give it a value or leave the key out"},
	{"empty text", "application_id: ''\n", "c.yaml:1: application_id: is empty; give it a value or leave the key out"},
	{"unknown", minimal + "logs: {}\nfoo: 1\napi: {base-url: x}\n", `c.yaml:4: logs: is not known; did you mean "log"?
c.yaml:5: foo: is not known; known here are ` + topKeys + `
c.yaml:6: api.base-url: is not known; did you mean "base_url"?`},
	{"twice", minimal + "log: {level: info}\nlog:\n  level: debug\n", "c.yaml:5: log: is given twice, first on line 4"},
	{"no text as a key", minimal + "? [a, b]\n: c\n", "c.yaml:4: a key must be text; found a list"},
	{"merge", "application_id: a\ncontracts:\n  w: &w {id: c, private_key_file: w.key}\n  v: {<<: *w}\n",
		`c.yaml:4: contracts.v."<<": is not known; known here are id, private_key_file, redirect_uri
c.yaml:4: contracts.v.id: is missing
c.yaml:4: contracts.v.private_key_file: is missing`},
	{"nothing in a name", "application_id: a\ncontracts:\n  w:\nfolders:\n  -\n", `c.yaml:3: contracts.w.id: is missing
c.yaml:3: contracts.w.private_key_file: is missing
c.yaml:5: folders[0].path: is missing
c.yaml:5: folders[0].library: is missing`},

	// Types.
	{"number for text", "application_id: 17\n", "c.yaml:1: application_id: must be text; found a number; put it in quotes"},
	{"others for text", "application_id: 2024-01-01\nstate_dir: true\nlog: {level: [info], file_names: {}}\n",
		`c.yaml:1: application_id: must be text; found a date; put it in quotes
c.yaml:2: state_dir: must be text; found true or false; put it in quotes
c.yaml:3: log.level: must be text; found a list; put it in quotes
c.yaml:3: log.file_names: must be text; found a group of keys; put it in quotes`},
	{"binary", "application_id: !!binary aGk=\n", "c.yaml:1: application_id: must be text; found a value of the kind !!binary; put it in quotes"},
	{"text for groups and lists", "application_id: a\napi: x\ncontracts: [w]\nfolders: {path: x}\n",
		`c.yaml:2: api: must be a group of keys; found text; write each key on a line of its own, indented
c.yaml:3: contracts: must be a group of names; found a list; write each name on a line of its own, indented
c.yaml:4: folders: must be a list; found a group of keys; write [a, b], or each entry on a line of its own after "- "`},
	{"entries of lists", minimal + "folders:\n  - {path: /in, library: alice, include: '*.pdf', exclude: [1, '']}\n  - /out\n",
		`c.yaml:5: folders[0].include: must be a list; found text; write [a, b], or each entry on a line of its own after "- "
c.yaml:5: folders[0].exclude[0]: must be text; found a number; put it in quotes
c.yaml:5: folders[0].exclude[1]: is empty; give it a value or leave the key out
c.yaml:6: folders[1]: must be a group of keys; found text; write each key on a line of its own, indented`},
	{"true or false", folder("recursive: yes, allow_empty: 'true'"),
		`c.yaml:5: folders[0].recursive: must be true or false; found text
c.yaml:5: folders[0].allow_empty: must be true or false; found text`},
	{"duration", folder("settle: 5"), `c.yaml:5: folders[0].settle: must be a duration; found "5"; write for example 5s, 2m or 1h30m`},
	{"duration below zero", folder("settle: -5s"), `c.yaml:5: folders[0].settle: must be a duration; found "-5s"; write for example 5s, 2m or 1h30m`},
	{"durations", folder("settle: [5s]"), `c.yaml:5: folders[0].settle: must be a duration; found a list; write for example 5s, 2m or 1h30m`},
	{"no duration", folder("settle: "), `c.yaml:5: folders[0].settle: is empty; give it a value or leave the key out`},
	{"one of several", folder("after: trash, watch: Poll, push: libary, sidecar: no, on_failure: ignore, in_doubt: ask, provider: {version: r4}") + "log: {level: trace, file_names: none}\n",
		`c.yaml:5: folders[0].after: "trash" is not possible; write keep, move or delete
c.yaml:5: folders[0].watch: "Poll" is not possible; write auto, events or poll
c.yaml:5: folders[0].push: "libary" is not possible; write library, provider or postbox
c.yaml:5: folders[0].sidecar: "no" is not possible; write required or optional
c.yaml:5: folders[0].on_failure: "ignore" is not possible; write report, move or quiet
c.yaml:5: folders[0].in_doubt: "ask" is not possible; write resend or hold
c.yaml:5: folders[0].provider.version: "r4" is not possible; write stu3 or 3.0.2
c.yaml:6: log.level: "trace" is not possible; write debug, info, warn or error
c.yaml:6: log.file_names: "none" is not possible; write hashed or full`},
	{"control character", `application_id: "a\nb"`, "c.yaml:1: application_id: has a control character in it"},

	// The environment.
	{"variable not set", minimal + "state_dir: ${NO_SUCH}/x\n", `c.yaml:4: state_dir: the environment has no variable "NO_SUCH"; set it where the program is started, or write the value itself`},
	{"variable elsewhere", "application_id: ${HOST}\n", "c.yaml:1: application_id: ${…} is not expanded here; write the value itself"},
	{"variable empty", minimal + "state_dir: ${EMPTY}\n", "c.yaml:4: state_dir: is empty; give it a value or leave the key out"},

	// URLs.
	{"URLs", minimal + "api:\n  base_url: http://api.digi.me/v1.7/\n  onboard_url: api.digi.me\n  legacy_base_url: https://me:geheim@api.digi.me/?a=b\n  proxy: ftp://me:geheim@proxy\n",
		`c.yaml:5: api.base_url: must begin with https://; http:// is possible to this very machine only; write https://
c.yaml:6: api.onboard_url: is not a URL; write for example https://api.digi.me/v1.7/
c.yaml:7: api.legacy_base_url: has a user, a query or a fragment in it; remove it
c.yaml:8: api.proxy: is of a kind that is not known; write http://, https:// or socks5:// before it`},
	{"proxy without a host", minimal + "api: {proxy: \"me:geheim@proxy:3128\"}\n", "c.yaml:4: api.proxy: is not a URL; write for example http://proxy.example:3128"},
	{"proxy that cannot be parsed", minimal + "api: {proxy: \"http://me:geheim@proxy:port\"}\n", "c.yaml:4: api.proxy: is not a URL; write for example http://proxy.example:3128"},
	{"proxy with a port that is none", minimal + "api: {proxy: \"http://me:geheim@proxy:99999\"}\n", "c.yaml:4: api.proxy: has a port that is not possible; write a port from 1 to 65535"},
	{"proxy with a port of 0", minimal + "api: {proxy: \"http://proxy:0/\"}\n", "c.yaml:4: api.proxy: has a port that is not possible; write a port from 1 to 65535"},
	{"proxy with a path", minimal + "api: {proxy: \"http://me:geheim@proxy:3128/x\"}\n", "c.yaml:4: api.proxy: has a path, a query or a fragment in it; end it with the host or its port"},
	{"proxy with a query", minimal + "api: {proxy: \"http://proxy:3128?geheim\"}\n", "c.yaml:4: api.proxy: has a path, a query or a fragment in it; end it with the host or its port"},
	{"proxy of another type", minimal + "api: {proxy: [\"http://me:geheim@proxy\"]}\n", "c.yaml:4: api.proxy: must be text; found a list; put it in quotes"},
	{"redirect URIs", "application_id: a\ncontracts:\n  a: {id: c, private_key_file: k, redirect_uri: http://example.com/}\n  b: {id: c, private_key_file: k, redirect_uri: callback}\n  c: {id: c, private_key_file: k, redirect_uri: \"https://example.com/#x\"}\n",
		`c.yaml:3: contracts.a.redirect_uri: must begin with https://; http:// is possible to this very machine only; write https://
c.yaml:4: contracts.b.redirect_uri: is not a URL; write for example http://localhost:8421/callback
c.yaml:5: contracts.c.redirect_uri: has a user or a fragment in it; remove it`},

	// The fleet.
	{"fleet without a key", minimal + "config_url: https://c.example\n", "c.yaml:4: config_url: needs config_key, by which the fleet's files are known to be genuine; add config_key, as digime-sync fleet keygen showed it"},
	{"fleet", minimal + "config_url: http://me:geheim@c.example/\nconfig_key: abc\nconfig_interval: 9s\nreport_to: https://c.example/?a=geheim\nnewest_version: latest\nserial: 3\n",
		`c.yaml:4: config_url: must begin with https://; http:// is possible to this very machine only; write https://
c.yaml:5: config_key: is not a public key of 32 bytes in base64; write it as digime-sync fleet keygen showed it
c.yaml:6: config_interval: must be at least 10s; write 15m
c.yaml:7: report_to: has a query or a fragment in it; remove it
c.yaml:8: newest_version: is not a version; write for example 1.4.2
c.yaml:9: serial: is possible in the fleet's files only; remove it there`},

	// Names and references.
	{"names of libraries", "application_id: a\ncontracts: {w: {id: c, private_key_file: k}}\nlibraries:\n  a/b: {contract: w}\n  'a\\b': {contract: w}\n  ..: {contract: w}\n  '': {contract: w}\n  \"a\\tb\": {contract: w}\n  by-account: {contract: w}\n  " + strings.Repeat("ä", 129) + ": {contract: w}\n  Anna: {contract: w}\n  ANNA: {contract: w}\n",
		`c.yaml:4: libraries."a/b": a library's name has no slash or backslash, and is not "." or ".."
c.yaml:5: libraries."a\\b": a library's name has no slash or backslash, and is not "." or ".."
c.yaml:6: libraries."..": a library's name has no slash or backslash, and is not "." or ".."
c.yaml:7: libraries."": a library's name has 1 to 128 characters
c.yaml:8: libraries."a\tb": a library's name has no control characters
c.yaml:9: libraries.by-account: a library cannot be called by-account: in folders, that word has a meaning of its own
c.yaml:10: libraries.` + strings.Repeat("ä", 129) + `: a library's name has 1 to 128 characters
c.yaml:12: libraries.ANNA: differs from "Anna" in case alone; give it another name`},
	{"contracts", "application_id: a\ncontracts: {clinic-write: {id: c, private_key_file: k}}\nlibraries:\n  a: {contract: clinic-wirte}\n  b: {contract: other, read_contract: reading}\n  c: {}\nfolders:\n  - {path: /a, library: a, contract: none}\n",
		`c.yaml:4: libraries.a.contract: there is no contract "clinic-wirte"; did you mean "clinic-write"?
c.yaml:5: libraries.b.contract: there is no contract "other"; there are clinic-write
c.yaml:5: libraries.b.read_contract: there is no contract "reading"; there are clinic-write
c.yaml:6: libraries.c.contract: is missing
c.yaml:8: folders[0].contract: there is no contract "none"; there are clinic-write`},
	{"no contracts", "application_id: a\nlibraries: {a: {contract: w}}\n", `c.yaml:2: libraries.a.contract: there is no contract "w"; add it under contracts`},
	{"libraries", minimal + "folders:\n  - {path: /a, library: alcie}\n  - {path: /b, library: zoe}\n  - {path: /c, library: a/b, contract: w}\n  - {path: /d, library: by-account}\n  - {path: /e, library: alice, push: postbox}\n",
		`c.yaml:5: folders[0].library: there is no library "alcie"; did you mean "alice"?
c.yaml:6: folders[1].library: there is no library "zoe"; there are alice
c.yaml:7: folders[2].library: a library's name has no slash or backslash, and is not "." or ".."
c.yaml:8: folders[3].library: by-account needs libraries with accounts; list libraries with their accounts
c.yaml:9: folders[4].push: library "alice" has no postbox; give the library a postbox, or write push: library`},
	{"no libraries", "application_id: a\nfolders:\n  - {path: /a, library: x}\n  - {path: /b, library: by-subfolder}\n",
		`c.yaml:3: folders[0].library: there is no library "x"; add it under libraries, or give the folder a contract
c.yaml:4: folders[1].library: by-subfolder needs a contract for libraries that are not listed; give the folder a contract, or list libraries`},
	{"many libraries", "application_id: a\ncontracts: {w: {id: c, private_key_file: k}}\nlibraries: {l0: {contract: w}, l1: {contract: w}, l2: {contract: w}, l3: {contract: w}, l4: {contract: w}, l5: {contract: w}, l6: {contract: w}, l7: {contract: w}, l8: {contract: w}}\nfolders: [{path: /a, library: zoe}]\n",
		`c.yaml:4: folders[0].library: there is no library "zoe"; there are l0, l1, l2, l3, l4, l5, l6, l7 and 1 more`},
	{"accounts", "application_id: a\ncontracts: {w: {id: c, private_key_file: k}}\nlibraries:\n  a: {contract: w, accounts: [' ', P-1, '']}\n  b: {contract: w, accounts: [P-2, P-1]}\nfolders:\n  - {path: /a, library: by-account, defaults: {accounts: ['P 1 ']}}\n",
		`c.yaml:4: libraries.a.accounts[2]: is empty; give it a value or leave the key out
c.yaml:4: libraries.a.accounts[0]: is empty: write the person's account, for example "P-1001"
c.yaml:5: libraries.b.accounts[1]: the account is library "a"'s too, so that folders with library: by-account cannot tell whose a file is; leave it to one of them
c.yaml:7: folders[0].defaults.accounts[0]: begins or ends with a space: remove it`},

	// Folders.
	{"MIME type", folder("defaults: {mimeType: pdf}"), `c.yaml:5: folders[0].defaults.mimeType: must be a type like "application/pdf", or "auto" to have it detected; found "pdf"`},
	{"patterns", folder("include: ['*.pdf', '[a'], exclude: ['{a,b']"),
		`c.yaml:5: folders[0].include[1]: "[a" is not a pattern: a bracket or brace is not closed, or a backslash ends it; write for example "*.pdf" or "scans/**"
c.yaml:5: folders[0].exclude[0]: "{a,b" is not a pattern: a bracket or brace is not closed, or a backslash ends it; write for example "*.pdf" or "scans/**"`},
	{"by-subfolder without subfolders", minimal + "folders:\n  - path: /a\n    library: by-subfolder\n    recursive: false\n",
		"c.yaml:7: folders[0].recursive: with library: by-subfolder the folders below are watched; leave it out"},
	{"the same folder", minimal + "folders:\n  - {path: /a/b, library: alice}\n  - {path: /a/b, library: alice}\n  - {path: /a/./b/, library: alice}\n  - {path: /a, library: alice}\n  - {path: /a/bc, library: alice}\n",
		`c.yaml:6: folders[1].path: is the same folder as folders[0] (line 5); put both into one entry
c.yaml:7: folders[2].path: is the same folder as folders[0] (line 5); put both into one entry`},
	{"a folder in a folder", minimal + "folders:\n  - {path: /a/b/c, library: alice}\n  - {path: /a, library: by-subfolder}\n",
		`c.yaml:5: folders[0].path: lies inside folders[1] (line 6), which takes the folders below it too; move it, or write recursive: false there`},
	{"the root", minimal + "folders:\n  - {path: /, library: alice}\n",
		`c.yaml:1: state_dir: the state folder, which holds tokens, lies inside folders[0] (line 5); name a place outside of it`},
	{"the state folder", minimal + "state_dir: /s/state\nfolders:\n  - {path: /s, library: alice}\n  - {path: /s/state, library: alice}\n  - {path: /s/state/in, library: alice}\n",
		`c.yaml:4: state_dir: the state folder, which holds tokens, lies inside folders[0] (line 6); name a place outside of it
c.yaml:7: folders[1].path: lies inside the state folder, which holds tokens; name another folder
c.yaml:8: folders[2].path: lies inside the state folder, which holds tokens; name another folder`},
}

// folder is a configuration whose one folder, on line 5, has further keys.
func folder(keys string) string {
	return minimal + "folders:\n  - {path: /in, library: alice, " + keys + "}\n"
}

func TestConfigFaults(t *testing.T) {
	for _, tt := range configFaultTests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "the root" && runtime.GOOS == "windows" {
				t.Skip("each disk has a root there, and / is the configuration's folder")
			}
			_, err := loadText(tt.text, map[string]string{"EMPTY": ""})
			if err == nil || err.Error() != tt.want {
				t.Errorf("got\n%v\nwant\n%s", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "geheim") {
				t.Error("a password is shown")
			}
		})
	}
}
