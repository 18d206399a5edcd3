package main

import (
	"cmp"
	"crypto/rsa"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// Config is the configuration: the file, and the layers over it
// (config_layers.go). The comments of its fields are the manual:
// the table of keys in README.md is made from them, and the tags say the rest:
//
//	yaml     the key's name
//	default  the value of a key that is left out
//	oneof    the values that are possible
//	need     the key must be given
//	text     env: ${VAR} is expanded; path: that too, and a relative path is
//	         relative to the folder of config.yaml, in whatever layer it stands
//	local    the key may not stand in the fleet's files
//	merge    the key by which an entry of a later layer is that of an earlier one
type Config struct {
	// The application's ID, given out by digi.me.
	ApplicationID string `yaml:"application_id" need:"yes"`
	// Where the database, the tokens and the audit log are kept. The default is
	// the system's place for that: as root on Linux /var/lib/digime-sync.
	StateDir string `yaml:"state_dir" text:"path" local:"yes"`
	// Where the digi.me API is, and the way there.
	API APIConfig `yaml:"api"`
	// The contracts with digi.me, each under a name of your choice.
	Contracts map[string]ContractConfig `yaml:"contracts"`
	// The libraries, one for each person, each under a name of your choice: 1 to
	// 128 characters, no slash or backslash; names may not differ in case alone.
	Libraries map[string]LibraryConfig `yaml:"libraries"`
	// The folders that are watched. No file may belong to two of them.
	Folders []FolderConfig `yaml:"folders" merge:"path"`
	// What the log says.
	Log LogConfig `yaml:"log"`
	// Where the fleet's configuration lies: an https:// folder, or a path, as of a
	// share. There are common.yaml and, for machines of their own, HOST.yaml (the
	// machine's name in small letters), each with its signature FILE.sig.
	ConfigURL string `yaml:"config_url" text:"env" local:"yes"`
	// The public key of the fleet's signatures, as digime-sync fleet keygen shows it.
	ConfigKey string `yaml:"config_key" local:"yes"`
	// How often the fleet's configuration and the enrolment file are looked for
	// and the report is sent, give or take a fifth; from 10s.
	ConfigInterval time.Duration `yaml:"config_interval" default:"15m"`
	// A file of tokens that is imported and then removed, besides enrol.json in the
	// state folder, which always is.
	EnrolmentFile string `yaml:"enrolment_file" text:"path" local:"yes"`
	// Where this machine puts a summary of its status, without names of files and
	// people: a folder, as of a share, or an https:// URL that takes PUT.
	ReportTo string `yaml:"report_to" text:"env"`
	// The newest version there is; an older one says so in status and version.
	NewestVersion string `yaml:"newest_version"`
	// The number of a file of the fleet, which must have one. Only files with a
	// higher number than the one before are taken.
	Serial uint64 `yaml:"serial"`
	// Settings are the values that do not come from the configuration file itself.
	Settings []Setting `yaml:"-"`
	// Waiting says why there is only what leads to the fleet's configuration: that
	// has not been here yet. "" when everything is there.
	Waiting string `yaml:"-"`
}

// Setting is a value that another layer than the configuration file has given.
type Setting struct {
	Key     string // like folders[0].path
	Value   string // as it is written; no password is in it
	File    string // the layer's
	Line    int    // 0 where the layer has no lines
	Managed bool   // by a policy, which nobody but the administrator changes
}

// APIConfig says where the API is. Its URLs begin with https://, or with
// http:// where they lead to this very machine.
type APIConfig struct {
	// The API itself.
	BaseURL string `yaml:"base_url" default:"https://api.digi.me/v1.7/" text:"env"`
	// The web client that asks people for their consent.
	OnboardURL string `yaml:"onboard_url" default:"https://api.digi.me/apps/saas/" text:"env"`
	// The API of the postboxes of 2021.
	LegacyBaseURL string `yaml:"legacy_base_url" default:"https://api.digi.me/v1.6/" text:"env"`
	// The proxy: http://, https:// or socks5://, with user and password if it
	// wants them. Without it, HTTPS_PROXY and NO_PROXY of the environment hold.
	Proxy string `yaml:"proxy" text:"env"`
	// A PEM file of certificates that are trusted besides the system's.
	CAFile string `yaml:"ca_file" text:"path"`
	// CA is what CAFile holds.
	CA []byte `yaml:"-"`
}

// ContractConfig is one contract with digi.me.
type ContractConfig struct {
	// The contract's ID, given out by digi.me.
	ID string `yaml:"id" need:"yes"`
	// The PEM file of the contract's RSA private key, of 2048 bits or more.
	PrivateKeyFile string `yaml:"private_key_file" need:"yes" text:"path"`
	// Where people's browsers come back to after they have given their consent;
	// one of those registered for the contract.
	RedirectURI string `yaml:"redirect_uri"`
	// Key is what PrivateKeyFile holds.
	Key *rsa.PrivateKey `yaml:"-"`
}

// LibraryConfig is one person's digi.me.
type LibraryConfig struct {
	// The name of the write contract by which files are pushed.
	Contract string `yaml:"contract" need:"yes"`
	// The name of the read contract by which they can be read back.
	ReadContract string `yaml:"read_contract"`
	// The person's accounts in your own system. A sidecar that names another
	// one is refused; one that names none means these.
	Accounts []string `yaml:"accounts"`
	// The person's postbox of 2021, for folders with push: postbox.
	Postbox *PostboxConfig `yaml:"postbox"`
}

// PostboxConfig is a postbox of 2021.
type PostboxConfig struct {
	// The postbox's ID.
	ID string `yaml:"id" need:"yes"`
	// The PEM file of its RSA public key.
	PublicKeyFile string `yaml:"public_key_file" need:"yes" text:"path"`
	// PublicKey is what PublicKeyFile holds.
	PublicKey *rsa.PublicKey `yaml:"-"`
}

// FolderConfig is one watched folder.
type FolderConfig struct {
	// The folder. It may be missing for a while, as a network drive is.
	Path string `yaml:"path" need:"yes" text:"path"`
	// The library its files go to; or by-subfolder: the first folder below names
	// the library; or by-account: the account in the sidecar belongs to it.
	Library string `yaml:"library" need:"yes"`
	// The name of the contract for libraries that are not listed.
	Contract string `yaml:"contract"`
	// What files are pushed to.
	Push string `yaml:"push" default:"library" oneof:"library|provider|postbox"`
	// The provider for push: provider, where the sidecar names none.
	Provider ProviderConfig `yaml:"provider"`
	// Whether a file without a sidecar waits for it, or goes by the defaults.
	Sidecar string `yaml:"sidecar" default:"required" oneof:"required|optional"`
	// What holds where a sidecar says nothing.
	Defaults DefaultsConfig `yaml:"defaults"`
	// Whether folders below are watched too. With library: by-subfolder they are.
	Recursive bool `yaml:"recursive" default:"false"`
	// Only files that fit one of these patterns are taken, like "*.pdf" or
	// "scans/**/*.{jpg,png}". One without a slash is held against the name alone.
	Include []string `yaml:"include"`
	// Files and folders that fit one of these are left out. Temporary, hidden
	// and system files and unfinished downloads always are.
	Exclude []string `yaml:"exclude"`
	// Whether files without content are pushed; else they are refused.
	AllowEmpty bool `yaml:"allow_empty" default:"false"`
	// How long a file must have stood still before it is taken.
	Settle time.Duration `yaml:"settle" default:"5s"`
	// How long a file is held back before it leaves. Deleting or moving it until
	// then stops it; digime-sync release sends it at once.
	Hold time.Duration `yaml:"hold" default:"0s"`
	// How changes are noticed: by the system's events, or by looking again and
	// again (poll: for network drives). auto finds out what works.
	Watch string `yaml:"watch" default:"auto" oneof:"auto|events|poll"`
	// What happens to a file that was delivered: it stays, goes to Sent/, or is
	// deleted with its sidecar.
	After string `yaml:"after" default:"keep" oneof:"keep|move|delete"`
	// What happens when a file is refused: a note beside it says why, or it goes
	// to Failed/ with the note, or only the status says so.
	OnFailure string `yaml:"on_failure" default:"report" oneof:"report|move|quiet"`
	// What happens when a file was sent and no answer came: it is sent again,
	// and may then be there twice, or it is held until somebody decides. With a
	// read contract the library is asked first whether it is there.
	InDoubt string `yaml:"in_doubt" default:"resend" oneof:"resend|hold"`
}

// ProviderConfig says where FHIR pushes go.
type ProviderConfig struct {
	// The FHIR version.
	Version string `yaml:"version" oneof:"stu3|3.0.2"`
	// The account at the provider.
	AccountID string `yaml:"account_id"`
	// What the account is called by its reference, as the authorization's
	// callback told it: the account is looked up by that, in place of account_id.
	AccountReference string `yaml:"account_reference"`
}

// DefaultsConfig stands in for what a sidecar leaves out.
type DefaultsConfig struct {
	// The MIME type; auto: detected from the content.
	MimeType string `yaml:"mimeType"`
	// The accounts in your own system, before those of the library.
	Accounts []string `yaml:"accounts"`
	// The tags.
	Tags []string `yaml:"tags"`
}

// LogConfig says how much the log tells.
type LogConfig struct {
	// Whether log lines show a file's name, or its folder and a short hash.
	FileNames string `yaml:"file_names" default:"hashed" oneof:"hashed|full"`
	// How much the log says; --log-level goes first.
	Level string `yaml:"level" default:"info" oneof:"debug|info|warn|error"`
}

// ConfigFault is one thing wrong in the configuration file.
type ConfigFault struct {
	File string // of the layer; "" when it is the configuration file itself
	Line int    // from 1; 0 when it is of the file as a whole
	Key  string // like folders[0].path; "" when no key is meant
	Text string // what is wrong; never the value of a key that may hold a secret
	Hint string // what to write instead, or ""
}

// ConfigError holds all that is wrong in a configuration file and the layers
// over it, in the order of the layers and their lines.
type ConfigError struct {
	Path   string // of the configuration file
	Faults []ConfigFault
	err    error // why the file cannot be read, or nil
}

// Error is one line for each fault: `file:line: key: what is wrong; hint`.
func (e *ConfigError) Error() string {
	lines := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		line := cmp.Or(f.File, e.Path)
		if f.Line > 0 {
			line = fmt.Sprintf("%s:%d", line, f.Line)
		}
		if f.Key != "" {
			line += ": " + f.Key
		}
		line += ": " + f.Text
		if f.Hint != "" {
			line += "; " + f.Hint
		}
		lines[i] = line
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the error by which the file could not be read, or nil.
func (e *ConfigError) Unwrap() error { return e.err }

// DefaultConfigPath is where the configuration is looked for when nothing else
// is said: the system's place for it, for root and for other users.
func DefaultConfigPath() string {
	config, _ := systemPaths(runtime.GOOS, ofTheSystem(), os.Getenv)
	return config
}

func defaultStateDir() string {
	_, state := systemPaths(runtime.GOOS, ofTheSystem(), os.Getenv)
	return state
}

// ofTheSystem says whether this is root, or the service: it has an account of its
// own, and root's places.
func ofTheSystem() bool {
	return os.Geteuid() == 0 || underLaunchd() || os.Getenv("STATE_DIRECTORY") == "/var/lib/digime-sync"
}

// systemPaths follows the XDG base directories on Linux and its like, and the
// makers' rules elsewhere. A user without a home folder gets root's places.
func systemPaths(goos string, root bool, env func(string) string) (config, state string) {
	home := env("HOME")
	switch {
	case goos == "windows":
		dir := env("ProgramData")
		if dir == "" {
			dir = `C:\ProgramData`
		}
		return dir + `\digime-sync\config.yaml`, dir + `\digime-sync\state`
	case goos == "darwin":
		if root {
			home = ""
		}
		dir := home + "/Library/Application Support/digime-sync"
		return dir + "/config.yaml", dir + "/state"
	case root || home == "":
		return "/etc/digime-sync/config.yaml", "/var/lib/digime-sync"
	}
	return xdg(env("XDG_CONFIG_HOME"), home+"/.config") + "/digime-sync/config.yaml",
		xdg(env("XDG_STATE_HOME"), home+"/.local/state") + "/digime-sync"
}

// xdg takes dir unless it is relative, which the XDG rules say to ignore.
func xdg(dir, fallback string) string {
	if strings.HasPrefix(dir, "/") {
		return dir
	}
	return fallback
}
