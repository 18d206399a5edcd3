package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/digime-sync/digime-sync/store"
)

// A fleet's configuration is a folder, on a web server or a share, with
// common.yaml for all machines and HOST.yaml for one. Beside each lies FILE.sig:
// the Ed25519 signature, in base64, of
//
//	digime-sync fleet 1 LF name LF content
//
// so that nobody without the key can make a file, and one machine's cannot be
// given to another. Each file has a serial, and only a higher one is taken: a
// file of last year that is put back is refused, and rolling back means signing
// the old content anew with a higher serial.
//
// What is taken is checked first, as the configuration it will be, and kept in
// the state folder (takenPath), from where LoadConfig reads it: so a machine
// starts without network with what was last found good.

const (
	fleetCommon   = "common.yaml"
	maxFleetFile  = 1 << 20 // bytes of a file
	maxSignature  = 1 << 10 // bytes of a signature's file
	fleetPreamble = "digime-sync fleet 1\n"
)

// fleetFile is one file of the fleet, with the signature that vouches for it.
type fleetFile struct {
	Name      string    `json:"name"`
	Serial    uint64    `json:"serial"`
	Content   []byte    `json:"content"`
	Signature []byte    `json:"signature"`
	ETag      string    `json:"etag,omitempty"` // of the server it came from
	From      string    `json:"from"`           // config_url
	Taken     time.Time `json:"taken"`
}

// fleetError is why a file of the fleet was not taken.
type fleetError struct {
	Kind string // one of the words below
	Name string // of the file
	Text string
	Hint string
}

// The kinds of a fleetError, as a report names them.
const (
	fleetUnreachable = "unreachable"
	fleetMissing     = "missing"
	fleetNotAFile    = "not a file"
	fleetTooLarge    = "too large"
	fleetSignature   = "signature"
	fleetSerial      = "serial"
	fleetConfig      = "configuration"
)

func (e *fleetError) Error() string {
	text := e.Name + ": " + e.Text
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// hostname is this machine's name; the tests have their own.
var hostname = os.Hostname

var hostForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,252}[a-z0-9])?$`)

// hostName is the machine's name as the fleet's files have it.
func hostName() (string, error) {
	name, err := hostname()
	if err != nil {
		return "", fmt.Errorf("find this machine's name: %w", err)
	}
	name = strings.ToLower(name)
	if !hostForm.MatchString(name) || name == "common" || name == "index" {
		return "", fmt.Errorf("this machine's name, %q, cannot be that of a file", name)
	}
	return name, nil
}

// signedText is what a signature is of.
func signedText(name string, content []byte) []byte {
	return append([]byte(fleetPreamble+name+"\n"), content...)
}

// verify says whether a signature's file vouches for a file of this name.
func verifyFleet(key ed25519.PublicKey, name string, content, signature []byte) error {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(signature)))
	if err != nil || len(raw) != ed25519.SignatureSize {
		return &fleetError{fleetSignature, name, "its signature, " + name + ".sig, is not one", "digime-sync fleet sign " + name}
	}
	if !ed25519.Verify(key, signedText(name, content), raw) {
		return &fleetError{fleetSignature, name, "its signature is not by config_key, or of another content or name: the file is half-written, changed, or meant for another machine",
			"digime-sync fleet sign " + name}
	}
	return nil
}

// fleetSerialOf reads the serial of a file's content.
func fleetSerialOf(name string, content []byte) (uint64, error) {
	var head struct {
		Serial yaml.Node `yaml:"serial"`
	}
	if err := yaml.Unmarshal(content, &head); err != nil {
		return 0, &fleetError{fleetConfig, name, "it is not YAML: " + strings.TrimPrefix(err.Error(), "yaml: "), ""}
	}
	var serial uint64
	if err := head.Serial.Decode(&serial); err != nil || head.Serial.ShortTag() != "!!int" || serial == 0 || serial>>63 != 0 {
		return 0, &fleetError{fleetSerial, name, "it has no serial", "add for example serial: " + time.Now().Format("2006010215")}
	}
	return serial, nil
}

// takenPath is where the fleet's files are that were last found good.
func takenPath(stateDir string) string { return filepath.Join(stateDir, "fleet", "taken.json") }

// readTaken reads the files that were last found good, whatever signed them.
func readTaken(stateDir string) ([]fleetFile, error) {
	data, err := os.ReadFile(takenPath(stateDir))
	if err != nil {
		return nil, fmt.Errorf("read the fleet's last good files: %w", err)
	}
	var files []fleetFile
	if err := json.Unmarshal(data, &files); err != nil {
		return nil, fmt.Errorf("read the fleet's last good files: %s is damaged: %w", takenPath(stateDir), err)
	}
	return files, nil
}

// goodFleet are the files that were last found good, if the key vouches for
// them still. The error says why there are none.
func goodFleet(stateDir, keyText string) ([]fleetFile, error) {
	files, err := readTaken(stateDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("the fleet's configuration has not been here yet")
	case err != nil:
		return nil, err
	}
	key, err := parseFleetKey(keyText)
	if err != nil {
		return nil, fmt.Errorf("config_key %w", err)
	}
	for _, f := range files {
		if err := verifyFleet(key, f.Name, f.Content, f.Signature); err != nil {
			return nil, errors.New("the fleet's last good configuration is not signed by config_key, which has changed since")
		}
	}
	if len(files) == 0 {
		return nil, errors.New("the fleet's configuration has not been here yet")
	}
	return files, nil
}

// makeFleetDir makes the folder that the fleet's files are kept in.
func makeFleetDir(stateDir string) error {
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return err
	}
	return store.MakeDir(filepath.Dir(takenPath(stateDir)))
}

// keepTaken keeps the files that were found good.
func keepTaken(stateDir string, files []fleetFile) error {
	data, err := json.Marshal(files)
	if err == nil {
		err = makeFleetDir(stateDir)
	}
	if err == nil {
		err = store.WriteFile(takenPath(stateDir), append(data, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("keep the fleet's files: %w", err)
	}
	return nil
}

// fleetLayers are the files as layers, common.yaml first.
func fleetLayers(files []fleetFile) []*layer {
	var list []*layer
	for _, f := range files {
		list = append(list, &layer{kind: layerFleet, file: "fleet's " + f.Name, data: slices.Concat([]byte{}, f.Content)})
	}
	return list
}
