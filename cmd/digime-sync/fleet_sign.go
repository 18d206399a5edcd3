package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/digime-sync/digime-sync/store"
)

func (a *app) fleetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "fleet", Short: "Many machines: sign their configuration, fetch it, see how they stand",
		Long: "A fleet's configuration is a folder, on a web server or a share, with common.yaml for all machines and\n" +
			"HOST.yaml for one, each signed. config_url and config_key lead a machine to it; report_to says where each\n" +
			"machine puts a summary of its status, for digime-sync fleet status.",
	}
	sign := &cobra.Command{
		Use: "sign FILE… --key KEYFILE", Short: "Sign files of the fleet: writes FILE.sig beside each",
		Long: "sign writes FILE.sig beside each file. The signature is of the file's name and its content: a file that is\n" +
			"renamed or changed needs another one. Raise the file's serial before: machines take higher ones only.",
		Args: cobra.MinimumNArgs(1),
	}
	keyFile := sign.Flags().String("key", "", "the private key's `KEYFILE`, as fleet keygen made it")
	sign.RunE = func(cmd *cobra.Command, args []string) error {
		if *keyFile == "" {
			return failure(exitUsage, typeThis(cmd), "%s: --key is missing", cmd.CommandPath())
		}
		return a.signFiles(*keyFile, args)
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "keygen KEYFILE", Short: "Make a key to sign with, and show the public one for config_key",
			Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error { return a.fleetKeygen(args[0]) },
		},
		sign,
		&cobra.Command{
			Use: "fetch", Short: "Fetch this machine's fleet configuration now",
			Long: "fetch looks now whether the fleet's folder has something new, checks and keeps it. A running daemon takes\n" +
				"it over.",
			Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return a.fleetFetch() },
		},
		a.fleetStatusCommand(),
	)
	return cmd
}

func (a *app) fleetKeygen(path string) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("encode key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return cannotMake("write key", path, err)
	}
	err = pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	fmt.Fprintf(a.err, "private key written to %s: keep it away from the fleet; whoever has it can configure every machine\n", filepath.Clean(path))
	fmt.Fprintf(a.out, "config_key: %s\n", base64.StdEncoding.EncodeToString(public))
	return nil
}

func readSigningKey(path string) (ed25519.PrivateKey, error) {
	const hint = "digime-sync fleet keygen KEYFILE"
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, cannotRead("read key", path, err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, failure(exitError, hint, "read key: %s holds no -----BEGIN PRIVATE KEY-----", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, failure(exitError, hint, "read key: %s is not an Ed25519 key", path)
	}
	return key, nil
}

// signFiles signs all or, where one of them cannot be what it seems, none.
func (a *app) signFiles(keyFile string, paths []string) error {
	key, err := readSigningKey(keyFile)
	if err != nil {
		return err
	}
	contents := make([][]byte, len(paths))
	for i, path := range paths {
		if contents[i], err = signable(path); err != nil {
			return err
		}
	}
	for i, path := range paths {
		name := filepath.Base(path)
		signature := base64.StdEncoding.EncodeToString(ed25519.Sign(key, signedText(name, contents[i])))
		if err := store.WriteFile(path+".sig", []byte(signature+"\n"), 0o644); err != nil {
			return fmt.Errorf("write signature: %w", err)
		}
		serial, _ := fleetSerialOf(name, contents[i]) // signable has read it
		fmt.Fprintf(a.out, "%s signed, with serial %d: %s.sig\n", plain(path), serial, plain(path))
	}
	return nil
}

// signable reads a file and refuses what every machine would refuse.
func signable(path string) ([]byte, error) {
	name := filepath.Base(path)
	host, found := strings.CutSuffix(name, ".yaml")
	if !found || !hostForm.MatchString(host) {
		return nil, failure(exitError, "call it "+fleetCommon+" or HOST.yaml, with the machine's name in small letters", "%s is not the name of a fleet's file", plain(name))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, cannotRead("read file", path, err)
	}
	if len(data) > maxFleetFile {
		return nil, failure(exitError, "split it into "+fleetCommon+" and the machines' own", "%s has more than %d bytes", plain(path), maxFleetFile)
	}
	l := newConfigLoader("/", func(string) (string, bool) { return "x", true })
	layers := []*layer{{kind: layerFleet, file: path, data: data}}
	l.read(layers)
	if err := l.err(path, layers); err != nil {
		return nil, err
	}
	if _, err := fleetSerialOf(name, data); err != nil {
		return nil, failure(exitError, "raise it with every change", "%w", err)
	}
	return data, nil
}

func (a *app) fleetFetch() error {
	cfg, err := loadLocal(a.config())
	if err != nil {
		return err
	}
	if cfg.ConfigURL == "" {
		return failure(exitError, "add config_url and config_key", "this machine has no config_url: it belongs to no fleet")
	}
	ctx, stop := interruptible()
	defer stop()
	got, err := fetchFleet(ctx, cfg, a.config())
	if err != nil {
		return failure(exitError, "what held before still holds; correct it, then: digime-sync fleet fetch", "the fleet's configuration was not taken: %w", err)
	}
	for _, words := range got.Changed {
		fmt.Fprintf(a.out, "taken: %s\n", words)
	}
	if len(got.Changed) == 0 {
		fmt.Fprintf(a.out, "nothing new: %s\n", serials(got.Files))
	}
	err = ask(ctx, cfg.StateDir, http.MethodPost, "/reload", nil, &struct{}{})
	if errors.Is(err, errNoDaemon) {
		return nil
	}
	return err
}
