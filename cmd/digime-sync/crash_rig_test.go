package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/store/failpoint"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
	"github.com/digime-sync/digime-sync/sync/engine"
)

// crashSettle is how long files must stand still in the crash programme: as
// short as the slow writer can keep under.
const crashSettle = 200 * time.Millisecond

// crashPeople are the libraries, and how long their access tokens live. A
// token is renewed a minute before its end: ann's with every push.
var crashPeople = []struct {
	name   string
	access time.Duration
}{{"ann", 20 * time.Second}, {"ben", time.Hour}, {"cleo", time.Hour}, {"dora", 75 * time.Second}}

// crashFolder is a watched folder of the rig.
type crashFolder struct {
	name    string
	library string // whose, "" where the subfolder says
	after   string
	extra   string // more of its configuration
}

var crashFolders = []crashFolder{
	{name: "keep", library: "ann", after: "keep"},
	{name: "move", library: "ben", after: "move", extra: ", on_failure: move"},
	{name: "delete", library: "cleo", after: "delete"},
	{name: "across", library: "dora", after: "move"}, // its Sent/ is on another file system, if there is one
	{name: "tree", after: "move"},
	{name: "bare", library: "dora", after: "keep", extra: ", sidecar: optional, defaults: {mimeType: text/plain}"},
	{name: "fhir", library: "ben", after: "delete", extra: ", sidecar: optional, push: provider, provider: {version: stu3, account_id: ACCOUNT}"},
}

// crashRig is a sandbox with its record, a configuration with several libraries
// and folders, and the program as a process of its own.
type crashRig struct {
	t      *testing.T
	dir    string // of configuration, state and folders
	side   string // of what must survive a cut of dir's disk: the program, logs, plans
	binary string
	server *sandbox.Server
	root   string            // where the sandbox answers
	users  map[string]string // library → its user in the sandbox
	fhir   string            // the account that the folder fhir pushes to
	tokens map[string][]byte // library → first token
	wire   *wire
	daemon *crashDaemon // nil: none runs
	lives  int          // daemons started so far
	under  []string     // command under which daemons run, nil for none
	env    []string     // more of their environment
}

// crashBinary builds the program with the failpoints.
func crashBinary(t *testing.T, dir string) string {
	t.Helper()
	binary := filepath.Join(dir, "digime-sync-failpoint.exe")
	args := []string{"build", "-buildvcs=false", "-tags", "failpoint", "-o", binary}
	if *crashRace {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, ".")...).CombinedOutput()
	if err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	return binary
}

func newCrashRig(t *testing.T, dir, side string) *crashRig {
	t.Helper()
	r := &crashRig{t: t, dir: dir, side: side, binary: crashBinary(t, side), users: map[string]string{}, tokens: map[string][]byte{}}
	var err error
	if r.server, err = sandbox.New(sandbox.Options{}); err != nil {
		t.Fatal(err)
	}
	r.wire = &wire{next: r.server, trips: map[string]*trip{}}
	web := httptest.NewServer(r.wire)
	r.root = web.URL
	t.Cleanup(func() {
		r.stop(syscall.SIGKILL)
		r.server.Close()
		web.CloseClientConnections()
		web.Close()
	})
	_, pem, err := sandbox.GenerateKey()
	r.must(err)
	r.must(os.WriteFile(filepath.Join(dir, "write.key"), pem, 0o600))
	key, err := digime.ParsePrivateKey(pem)
	r.must(err)
	r.server.AddContract(sandbox.KindWrite, "clinic", &key.PublicKey)
	for _, p := range crashPeople {
		r.tokens[p.name] = r.server.NewUser("clinic", p.access, 24*time.Hour)
		token, err := digime.ParseToken(r.tokens[p.name])
		r.must(err)
		r.users[p.name] = token.UserID
	}
	for _, f := range crashFolders {
		r.must(os.MkdirAll(r.folder(f.name), 0o755))
	}
	r.fhir = "not known yet"
	r.configure("")
	r.fhir = r.account("ben")
	r.configure("with its account")
	return r
}

// account asks for the one account that a person has with a provider.
func (r *crashRig) account(library string) string {
	r.t.Helper()
	cfg, err := LoadConfig(r.config())
	r.must(err)
	client, err := newClient(cfg, slog.New(slog.DiscardHandler))
	r.must(err)
	token, err := digime.ParseToken(r.tokens[library])
	r.must(err)
	accounts, err := client.Accounts(context.Background(), cfg.contract("clinic"), token.Access.Value)
	r.must(err)
	return accounts[0].ID
}

func (r *crashRig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *crashRig) folder(name string) string { return filepath.Join(r.dir, "in", name) }
func (r *crashRig) state() string             { return filepath.Join(r.dir, "state") }
func (r *crashRig) config() string            { return filepath.Join(r.dir, "config.yaml") }

// configure writes the configuration, with a remark that tells it from the one before.
func (r *crashRig) configure(remark string) {
	r.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\napplication_id: sandbox-app\nstate_dir: state\nlog: {file_names: full}\napi: {base_url: \"%s\"}\n", remark, r.server.BaseURL(r.root))
	b.WriteString("contracts:\n  clinic: {id: clinic, private_key_file: write.key}\nlibraries:\n")
	for _, p := range crashPeople {
		fmt.Fprintf(&b, "  %s: {contract: clinic, accounts: [P-%s]}\n", p.name, p.name)
	}
	b.WriteString("folders:\n")
	for _, f := range crashFolders {
		library := f.library
		if library == "" {
			library = "by-subfolder"
		}
		fmt.Fprintf(&b, "  - {path: in/%s, library: %s, settle: %s, after: %s%s}\n", f.name, library, crashSettle, f.after, strings.ReplaceAll(f.extra, "ACCOUNT", strconv.Quote(r.fhir)))
	}
	r.must(store.WriteFile(r.config(), []byte(b.String()), 0o644))
}

// importTokens is the consent of all people.
func (r *crashRig) importTokens() {
	r.t.Helper()
	vault, err := store.OpenVault(r.state())
	r.must(err)
	for name, token := range r.tokens {
		r.must(vault.Save(name, token))
	}
}

// crashDaemon is a running daemon.
type crashDaemon struct {
	cmd  *exec.Cmd
	life int
	gone chan struct{} // closed when it has ended
}

// start runs the daemon with a plan of what happens at which mark.
func (r *crashRig) start(plan string) {
	r.t.Helper()
	r.must(os.WriteFile(r.plan(), []byte(plan), 0o600))
	log, err := os.OpenFile(filepath.Join(r.side, "daemon.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	r.must(err)
	defer log.Close()
	r.lives++
	line := append(append([]string{}, r.under...), r.binary, "--config", r.config(), "run")
	d := &crashDaemon{cmd: exec.Command(line[0], line[1:]...), life: r.lives, gone: make(chan struct{})}
	d.cmd.Env = append(os.Environ(), failpoint.PlanEnv+"="+r.plan(), failpoint.LogEnv+"="+r.marks(), "NO_PROXY=*")
	d.cmd.Env = append(d.cmd.Env, r.env...)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	r.wire.begin(d.life)
	r.must(d.cmd.Start())
	go func() {
		_ = d.cmd.Wait() // how it ended is in ProcessState
		close(d.gone)
	}()
	r.daemon = d
}

func (r *crashRig) plan() string  { return filepath.Join(r.side, "plan") }
func (r *crashRig) marks() string { return filepath.Join(r.side, "marks") }

// killed says whether the daemon, which is gone, was killed.
func (d *crashDaemon) killed() bool {
	status, ok := d.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// stop ends the daemon with a signal, if one runs, and returns when the
// sandbox has done with its requests too.
func (r *crashRig) stop(sig syscall.Signal) {
	r.t.Helper()
	if r.daemon == nil {
		return
	}
	_ = r.daemon.cmd.Process.Signal(sig) // it may have ended by itself
	select {
	case <-r.daemon.gone:
	case <-time.After(patience):
		_ = r.daemon.cmd.Process.Kill()
		<-r.daemon.gone
		r.t.Errorf("the daemon had not ended %s after %s", patience, sig)
	}
	r.buried(r.daemon.killed())
}

// buried takes in that the daemon has ended: what the sandbox holds and its
// audit log does not is in doubt, unless it ended in order.
func (r *crashRig) buried(killed bool) {
	r.t.Helper()
	d := r.daemon
	r.daemon = nil
	if !r.wire.quiet(patience) {
		r.t.Error("the sandbox is still busy with a daemon that has ended")
	}
	if !killed {
		return
	}
	recorded := r.recorded()
	for _, a := range r.server.Deliveries() {
		trip := r.wire.trip(a.Nonce)
		if trip.life == d.life && !recorded[r.library(a.User)+" "+a.SHA256] {
			r.wire.doubt(a.Nonce)
		}
	}
}

// recorded is what the audit log says was delivered: library and content.
func (r *crashRig) recorded() map[string]bool {
	r.t.Helper()
	known := map[string]bool{}
	err := store.ReadAudit(r.state(), func(e store.Entry) error {
		if e.Event == store.EventDelivered {
			known[e.Library+" "+e.SHA256] = true
		}
		return nil
	})
	if damaged := new(store.DamagedError); err != nil && !errors.As(err, &damaged) {
		r.t.Fatal(err)
	}
	return known
}

// library is the name of a sandbox's user.
func (r *crashRig) library(user string) string {
	for name, u := range r.users {
		if u == user {
			return name
		}
	}
	return "nobody we know: " + user
}

// ask asks the running daemon how things stand.
func (r *crashRig) ask() (s engine.Status, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return s, ask(ctx, r.state(), http.MethodGet, "/status", nil, &s)
}

// run types a command and returns what it prints.
func (r *crashRig) run(args ...string) ([]byte, error) {
	cmd := exec.Command(r.binary, append([]string{"--config", r.config()}, args...)...)
	cmd.Env = append(os.Environ(), "NO_PROXY=*")
	out, err := cmd.Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		err = fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, exit.Stderr)
	}
	return out, err
}
