package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
	"github.com/digime-sync/digime-sync/sync/engine"
)

func (a *app) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show the main job from end to end, on this machine alone",
		Long:  "demo starts a sandbox and the service over a temporary folder, drops one file with its sidecar,\nand shows what happens to it until the sandbox's record holds it. It leaves nothing behind.",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := interruptible()
			defer stop()
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			return a.demo(ctx)
		},
	}
}

func (a *app) demo(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "digime-sync-demo-")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	play, err := newPlayground(dir, "http://"+l.Addr().String())
	if err != nil {
		return errors.Join(err, l.Close())
	}
	a.say(1, "a stand-in for the digi.me API answers at %s, with keys and consent of two invented people", play.root)
	cfg, err := loadAlone(filepath.Join(dir, "config.yaml"))
	if err != nil {
		return errors.Join(err, l.Close())
	}
	p, err := openParts(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer p.close()
	a.say(2, "the service watches %s for bob, whose access token has expired", filepath.Join(dir, "inbox", "bob"))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return play.serve(ctx, l) })
	g.Go(func() error { return p.engine.Run(ctx) })
	g.Go(func() error {
		defer cancel()
		return a.demoFile(ctx, play, p.engine)
	})
	return g.Wait()
}

func (a *app) say(n int, format string, args ...any) {
	fmt.Fprintf(a.out, "%d. %s\n", n, fmt.Sprintf(format, args...))
}

// demoFile drops bob's file and follows it.
func (a *app) demoFile(ctx context.Context, play *playground, e *engine.Engine) error {
	content := "Blood test of Bob Example: all well.\n"
	descriptor := `{"mimeType": "text/plain", "accounts": [{"accountId": "P-1002"}], "tags": ["lab"]}` + "\n"
	path := filepath.Join(play.dir, "inbox", "bob", "report.txt")
	began := time.Now()
	for name, text := range map[string]string{path: content, path + ".meta.json": descriptor} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return fmt.Errorf("drop file: %w", err)
		}
	}
	a.say(3, "dropped there: report.txt, and its sidecar report.txt.meta.json: %s", strings.TrimSpace(descriptor))
	f, err := awaitDelivery(ctx, e, path)
	if err != nil {
		return err
	}
	a.say(4, "after %.1f s it is %s: still for a second, described, hashed, queued, token refreshed and saved, pushed", time.Since(began).Seconds(), f.State)
	d, body, err := recorded(play.server)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(content))
	if string(body) != content || d.SHA256 != hex.EncodeToString(sum[:]) {
		return fmt.Errorf("compare with the sandbox's record: it holds another content")
	}
	a.say(5, "the sandbox's record of bob's library holds the same %d bytes (SHA-256 %s…), described as %s", d.Size, d.SHA256[:12], d.Descriptor)
	receipt, err := os.ReadFile(path + engine.ReceiptSuffix)
	if err != nil {
		return fmt.Errorf("read receipt: %w", err)
	}
	a.say(6, "beside the file lies its receipt, report.txt%s:\n%s", engine.ReceiptSuffix, indent(string(receipt)))
	a.say(7, "that is the main job. To play with it yourself: %s sandbox", startedAs(os.Args[0]))
	return nil
}

// startedAs is what a person types to start the program that was started as arg0. The
// go command keeps what it runs in folders of its own, named go-build….
func startedAs(arg0 string) string {
	if strings.Contains(arg0, string(filepath.Separator)+"go-build") {
		return "go run ./cmd/digime-sync"
	}
	if name := filepath.Base(arg0); isInPath(name) {
		return name
	}
	return arg0
}

func isInPath(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}

func indent(text string) string {
	return "   " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n   ")
}

// awaitDelivery waits until the file and what comes after it are done.
func awaitDelivery(ctx context.Context, e *engine.Engine, path string) (engine.FileStatus, error) {
	for {
		s, err := e.Status(path)
		if err != nil {
			return engine.FileStatus{}, err
		}
		if len(s.Files) == 1 {
			switch f := s.Files[0]; f.State {
			case store.Delivered:
				if _, err := os.Stat(path + engine.ReceiptSuffix); err == nil {
					return f, nil
				}
			case store.Refused, store.Held:
				return f, fmt.Errorf("the file is %s: %s", f.State, f.Reason)
			}
		}
		select {
		case <-ctx.Done():
			return engine.FileStatus{}, fmt.Errorf("wait for the delivery: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// recorded reads the one delivery back from the sandbox.
func recorded(s *sandbox.Server) (sandbox.Delivery, []byte, error) {
	list := s.Deliveries()
	if len(list) != 1 {
		return sandbox.Delivery{}, nil, fmt.Errorf("read the sandbox's record: it holds %d deliveries instead of one", len(list))
	}
	r, err := s.Body(list[0].SHA256)
	if err != nil {
		return sandbox.Delivery{}, nil, fmt.Errorf("read the sandbox's record: %w", err)
	}
	defer r.Close()
	body, err := io.ReadAll(r)
	return list[0], body, err
}
