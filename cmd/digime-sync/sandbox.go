package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
)

func (a *app) sandboxCommand() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:   "sandbox [DIR]",
		Short: "Run a stand-in for the digi.me API, to try things without an account",
		Long: "sandbox runs a strict stand-in for the digi.me API on this machine's loopback, and writes a ready\n" +
			"configuration, keys and tokens of two invented people into DIR (default: digime-sandbox).\n" +
			"It forgets everything when it stops; started again with the same DIR it makes new tokens.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir := "digime-sandbox"
			if len(args) == 1 {
				dir = args[0]
			}
			ctx, stop := interruptible()
			defer stop()
			return a.runSandbox(ctx, dir, listen)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8420", "loopback `ADDRESS` to listen on")
	return cmd
}

func (a *app) runSandbox(ctx context.Context, dir, listen string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("find %s: %w", dir, err)
	}
	host, _, err := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return failure(exitUsage, "--listen 127.0.0.1:8420", "%q is not a loopback address with a port", listen)
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return failure(exitError, "choose another port: --listen 127.0.0.1:0", "listen: %w", err)
	}
	g, err := newPlayground(dir, "http://"+l.Addr().String())
	if err != nil {
		return errors.Join(err, l.Close())
	}
	fmt.Fprint(a.out, g.nextSteps())
	return g.serve(ctx, l)
}

// playground is a sandbox with a folder that is ready to work against it.
type playground struct {
	dir, root string
	server    *sandbox.Server
	tokens    map[string][]byte // library → token in the SDKs' form
}

// The marker tells a configuration that the sandbox may write anew.
const playgroundMarker = "# Written by digime-sync sandbox; it is written anew each time the sandbox starts.\n"

// People of the playground, and how long their access tokens live: bob's has
// expired, so that his first push shows a refresh.
var people = []struct {
	name, account string
	access        time.Duration
}{{"alice", "P-1001", time.Hour}, {"bob", "P-1002", -time.Minute}}

// newPlayground makes a sandbox reached at root, and writes configuration,
// keys and tokens for it into dir. Keys that are there are kept.
func newPlayground(dir, root string) (*playground, error) {
	config := filepath.Join(dir, "config.yaml")
	if old, err := os.ReadFile(config); err == nil && !strings.HasPrefix(string(old), playgroundMarker) {
		return nil, failure(exitError, "name another folder: digime-sync sandbox DIR", "%s is not the sandbox's: it is left alone", config)
	}
	server, err := sandbox.New(sandbox.Options{Dir: filepath.Join(dir, "deliveries")})
	if err != nil {
		return nil, fmt.Errorf("make sandbox: %w", err)
	}
	server.ApplicationID = "sandbox-app"
	g := &playground{dir: dir, root: root, server: server, tokens: map[string][]byte{}}
	for _, c := range []struct{ kind, id string }{{sandbox.KindWrite, "clinic-write"}, {sandbox.KindRead, "clinic-read"}} {
		if err := g.addContract(c.kind, c.id); err != nil {
			return nil, err
		}
	}
	if err := g.addPeople(); err != nil {
		return nil, err
	}
	if err := store.WriteFile(config, []byte(g.config()), 0o644); err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	return g, nil
}

// addContract registers a contract under the key in dir, made if need be.
func (g *playground) addContract(kind, id string) error {
	path := filepath.Join(g.dir, id+".key")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, data, err = sandbox.GenerateKey(); err == nil {
			err = store.WriteFile(path, data, 0o600)
		}
	}
	if err != nil {
		return fmt.Errorf("make key of %s: %w", id, err)
	}
	key, err := digime.ParsePrivateKey(data)
	if err != nil {
		return fmt.Errorf("read key of %s: %w", id, err)
	}
	g.server.AddContract(kind, id, &key.PublicKey, g.callback())
	return nil
}

// callback is where browsers come back to: the port after the sandbox's own,
// so that two sandboxes do not share one.
func (g *playground) callback() string {
	port := 8420
	if u, err := url.Parse(g.root); err == nil {
		if n, err := strconv.Atoi(u.Port()); err == nil && n < 65535 {
			port = n
		}
	}
	return fmt.Sprintf("http://localhost:%d/callback", port+1)
}

func (g *playground) addPeople() error {
	vault, err := store.OpenVault(filepath.Join(g.dir, "state"))
	if err != nil {
		return fmt.Errorf("open token vault: %w", err)
	}
	for _, p := range people {
		token := g.server.NewUser("clinic-write", p.access, 30*24*time.Hour)
		g.tokens[p.name] = token
		if err := os.MkdirAll(filepath.Join(g.dir, "inbox", p.name), 0o755); err != nil {
			return fmt.Errorf("make inbox: %w", err)
		}
		if err := store.WriteFile(filepath.Join(g.dir, p.name+".token.json"), append(slices.Clip(token), '\n'), 0o600); err != nil {
			return fmt.Errorf("write token: %w", err)
		}
		if err := vault.Save(p.name, token); err != nil {
			return fmt.Errorf("save token: %w", err)
		}
	}
	return nil
}

func (g *playground) config() string {
	var b strings.Builder
	fmt.Fprintf(&b, `%sapplication_id: sandbox-app
state_dir: state
api:
  base_url: %s
  onboard_url: %s
  legacy_base_url: %s
contracts:
  clinic-write: {id: clinic-write, private_key_file: clinic-write.key, redirect_uri: "%[5]s"}
  clinic-read: {id: clinic-read, private_key_file: clinic-read.key, redirect_uri: "%[5]s"}
libraries:
`, playgroundMarker, g.server.BaseURL(g.root), g.server.OnboardURL(g.root), g.server.LegacyBaseURL(g.root), g.callback())
	for _, p := range people {
		fmt.Fprintf(&b, "  %s: {contract: clinic-write, read_contract: clinic-read, accounts: [%s]}\n", p.name, p.account)
	}
	b.WriteString("folders:\n")
	for _, p := range people {
		fmt.Fprintf(&b, "  - {path: inbox/%s, library: %s, settle: 1s}\n", p.name, p.name)
	}
	return b.String()
}

func (g *playground) nextSteps() string {
	return fmt.Sprintf(`The sandbox answers at %[1]s and forgets everything when it stops (Ctrl-C).
It wrote into %[2]s:
  config.yaml                     a ready configuration
  clinic-write.key clinic-read.key the contracts' private keys
  alice.token.json bob.token.json consent of two invented people, in the vault already (bob's access has expired)
  inbox/alice inbox/bob           the watched folders

What to type next, in another window:
  digime-sync --config %[3]s check
  digime-sync --config %[3]s run
and in a third:
  echo 'Blood test: all well' > %[2]s/inbox/alice/report.txt
  echo '{"mimeType": "text/plain", "accounts": [{"accountId": "P-1001"}]}' > %[2]s/inbox/alice/report.txt.meta.json
  digime-sync --config %[3]s status
  curl %[1]s/sandbox/deliveries
To ask for consent again, in the browser: digime-sync --config %[3]s authorize bob
To see it fail: curl -d '{"kind": "push", "do": "refuse", "status": 503}' %[1]s/sandbox/fail
`, g.root, g.dir, filepath.Join(g.dir, "config.yaml"))
}

// serve answers until ctx ends.
func (g *playground) serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{Handler: g.server, ReadHeaderTimeout: 30 * time.Second}
	stop := context.AfterFunc(ctx, func() {
		g.server.Close()
		_ = server.Close()
	})
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve sandbox: %w", err)
	}
	return nil
}
