package engine

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rsa"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
	"github.com/digime-sync/digime-sync/watcher"
)

// rig is an engine on real files, a real database and the real wire, against
// the sandbox. Each of its libraries has a folder of the same name.
type rig struct {
	t       testing.TB
	api     *sandbox.Server
	server  *httptest.Server
	dir     string
	folders []Folder
	libs    map[string]Library
	users   map[string]string // library → the sandbox's user
	log     io.Writer
	onPush  func(*http.Request)
	stall   time.Duration // of the client; 0 is 20 s
	pushes  atomic.Int32  // requests to push that have begun to arrive
	bodies  atomic.Int32  // requests whose body has arrived whole

	store  *store.Store
	vault  *store.Vault
	engine *Engine
	cancel context.CancelFunc
	done   chan error
}

// countedBody counts when it was read to its end.
type countedBody struct {
	io.ReadCloser
	whole *atomic.Int32
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.whole.Add(1)
	}
	return n, err
}

var contractKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, _, err := sandbox.GenerateKey()
	if err != nil {
		panic(err)
	}
	return key
})

// newRig makes a rig with these libraries; change may adjust each folder.
func newRig(t testing.TB, change func(*Folder), libraries ...string) *rig {
	t.Helper()
	api, err := sandbox.New(sandbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	api.ApplicationID = "app"
	api.AddContract(sandbox.KindWrite, "write", &contractKey().PublicKey, "http://localhost/")
	api.AddContract(sandbox.KindPostbox, "postbox", &contractKey().PublicKey, "http://localhost/")
	r := &rig{t: t, api: api, dir: t.TempDir(), libs: map[string]Library{}, users: map[string]string{}, log: io.Discard}
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasSuffix(req.URL.Path, "/import") {
			r.pushes.Add(1)
			if r.onPush != nil {
				r.onPush(req)
			}
		}
		req.Body = &countedBody{req.Body, &r.bodies}
		api.ServeHTTP(w, req)
	}))
	t.Cleanup(func() { r.api.Close(); r.server.Close() })
	contract := digime.Contract{ID: "write", Key: contractKey(), RedirectURI: "http://localhost/"}
	for _, name := range libraries {
		path := filepath.Join(r.dir, name)
		must(t, os.Mkdir(path, 0o755))
		f := Folder{Folder: watcher.Folder{Path: path, Settle: 50 * time.Millisecond}, Library: name, After: "keep", OnFailure: "report", InDoubt: "resend"}
		if change != nil {
			change(&f)
		}
		r.folders = append(r.folders, f)
		r.libs[name] = Library{Name: name, Contract: contract, Accounts: []string{"acc-" + name}}
	}
	r.open()
	t.Cleanup(r.close)
	for _, name := range libraries {
		r.consent(name, time.Hour)
	}
	return r
}

// long skips a test that takes more than ten seconds where short ones are wanted.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes more than ten seconds")
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// consent gives a library a new user and token, good for access.
func (r *rig) consent(library string, access time.Duration) {
	r.t.Helper()
	token := r.api.NewUser("write", access, 24*time.Hour)
	var named struct{ User struct{ ID string } }
	must(r.t, json.Unmarshal(token, &named))
	r.users[library] = named.User.ID
	unlock, err := r.vault.Lock(library)
	must(r.t, err)
	defer unlock()
	must(r.t, r.vault.Save(library, token))
}

// open opens the parts as a new process would.
func (r *rig) open() {
	r.t.Helper()
	log := slog.New(slog.NewTextHandler(r.log, nil))
	client, err := digime.New(digime.Options{BaseURL: r.api.BaseURL(r.server.URL), LegacyBaseURL: r.api.LegacyBaseURL(r.server.URL), ApplicationID: "app", Stall: cmp.Or(r.stall, 20*time.Second), Log: log})
	must(r.t, err)
	state := filepath.Join(r.dir, "state")
	r.store, err = store.Open(state, log)
	must(r.t, err)
	r.vault, err = store.OpenVault(state)
	must(r.t, err)
	r.engine = New(Options{Folders: r.folders, Libraries: r.libs, Store: r.store, Vault: r.vault, Client: client,
		StateDir: state, Version: "test", Log: log})
}

// start runs the engine until stop.
func (r *rig) start() {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.done = cancel, make(chan error, 1)
	engine, done := r.engine, r.done
	go func() { done <- engine.Run(ctx) }()
}

// stopLimit is how long a stop may take that waits for nothing. That is 5 s, and
// more where the machine is busy: whoever waited for what hangs in these tests
// would take longer.
const stopLimit = 30 * time.Second

// stop ends the run, and returns how long that took.
func (r *rig) stop() time.Duration {
	r.t.Helper()
	began := time.Now()
	r.cancel()
	must(r.t, <-r.done)
	r.cancel = nil
	return time.Since(began)
}

func (r *rig) close() {
	if r.cancel != nil {
		r.stop()
	}
	must(r.t, r.store.Close())
}

// restart is what a new process after an end of any kind does.
func (r *rig) restart() {
	r.t.Helper()
	r.close()
	r.open()
}

// drop puts a file with a sidecar for its library's account into the folder.
func (r *rig) drop(library, name, content string) string {
	r.t.Helper()
	path := filepath.Join(r.dir, library, name)
	must(r.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(r.t, os.WriteFile(path, []byte(content), 0o644))
	r.describe(path, `{"mimeType": "text/plain", "accounts": [{"accountId": "acc-`+library+`"}]}`)
	return path
}

func (r *rig) describe(path, text string) {
	r.t.Helper()
	must(r.t, os.WriteFile(path+".meta.json", []byte(text), 0o644))
}

// until waits for a fact, and fails with what status says instead. Only a
// failing test waits so long, or one on a machine that is very busy.
func (r *rig) until(what string, fact func() bool) {
	r.t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !fact() {
		select {
		case <-tick.C:
		case <-deadline:
			s, _ := r.engine.Status("")
			text, _ := json.MarshalIndent(s, "", " ")
			r.t.Fatalf("%s: not in time; status: %s", what, text)
		}
	}
}

// untilState waits until the file is in a state.
func (r *rig) untilState(path string, state store.State) FileStatus {
	r.t.Helper()
	var f FileStatus
	r.until(filepath.Base(path)+" is "+string(state), func() bool {
		f = r.state(path)
		return f.State == state
	})
	return f
}

func (r *rig) state(path string) FileStatus {
	r.t.Helper()
	s, err := r.engine.Status(path)
	must(r.t, err)
	for _, f := range s.Files {
		if f.Path == path {
			return f
		}
	}
	return FileStatus{}
}

// once makes a pass as `sync` does.
func (r *rig) once() {
	r.t.Helper()
	must(r.t, r.engine.Once(context.Background()))
}

// receipt reads the receipt beside a path.
func (r *rig) receipt(path string) Receipt {
	r.t.Helper()
	var receipt Receipt
	data, err := os.ReadFile(path + ReceiptSuffix)
	must(r.t, err)
	must(r.t, json.Unmarshal(data, &receipt))
	return receipt
}

// keptLog keeps what is logged.
type keptLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *keptLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *keptLog) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), what)
}

func exist(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
