//go:build linux || darwin

package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/watcher"
)

// swaps are what can happen to a file while somebody reads it. Each returns the
// content that lies there whole afterwards, "" for none.
var swaps = map[string]func(path string) (string, error){
	"rename over": func(path string) (string, error) {
		aside := filepath.Join(filepath.Dir(path), ".new")
		return later, errors.Join(os.WriteFile(aside, []byte(later), 0o644), os.Rename(aside, path))
	},
	"hard link": func(path string) (string, error) {
		aside := filepath.Join(filepath.Dir(path), ".new")
		return later, errors.Join(os.WriteFile(aside, []byte(later), 0o644), os.Remove(path), os.Link(aside, path))
	},
	"symbolic link": func(path string) (string, error) {
		aside := filepath.Join(filepath.Dir(path), ".new")
		return later, errors.Join(os.WriteFile(aside, []byte(later), 0o644), os.Remove(path), os.Symlink(".new", path))
	},
	"written in place": func(path string) (string, error) { return later, os.WriteFile(path, []byte(later), 0o644) },
	"appended": func(path string) (string, error) {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return "", err
		}
		_, err = io.WriteString(f, "more")
		return earlier + "more", errors.Join(err, f.Close())
	},
	"truncated": func(path string) (string, error) { return earlier[:1000], os.Truncate(path, 1000) },
	"deleted":   func(path string) (string, error) { return "", os.Remove(path) },
	"fifo":      func(path string) (string, error) { return "", errors.Join(os.Remove(path), unix.Mkfifo(path, 0o644)) },
	"folder":    func(path string) (string, error) { return "", errors.Join(os.Remove(path), os.Mkdir(path, 0o755)) },
}

var (
	earlier = strings.Repeat("earlier ", 1<<17) // 1 MiB: many reads, and many chunks on the wire
	later   = strings.Repeat("later   ", 1<<17) // of the same length
)

// Whatever happens to a file while it is on the wire: what arrives is a content
// that lay there whole, and the last one does arrive.
func TestSwappedWhilePushed(t *testing.T) {
	for name, swap := range swaps {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil, "alice")
			path := filepath.Join(r.dir, "alice", "report.txt")
			var once sync.Once
			var last string
			var swapped atomic.Bool
			r.onPush = func(req *http.Request) {
				once.Do(func() {
					var head bytes.Buffer
					_, err := io.CopyN(&head, req.Body, 1000) // the old content is on the wire by now
					must(t, err)
					req.Body = struct {
						io.Reader
						io.Closer
					}{io.MultiReader(&head, req.Body), req.Body}
					last, err = swap(path)
					must(t, err)
					swapped.Store(true)
				})
			}
			r.drop("alice", "report.txt", earlier)
			r.start()
			r.until("it is swapped in the middle of the push", swapped.Load)
			if last == "" {
				r.until("it rests", func() bool {
					s := r.state(path).State
					return s != store.Pushing && s != store.Queued && s != store.Settling
				})
			} else {
				r.until("the last content arrives", func() bool { return r.arrived(last) })
			}
			for _, d := range r.api.Deliveries() {
				if d.SHA256 != sumOfText(earlier) && d.SHA256 != sumOfText(last) {
					t.Errorf("%s arrived, which never lay there", d.SHA256)
				}
			}
		})
	}
}

// countdown is a context that does something when it was asked n times: hash asks before each read.
type countdown struct {
	context.Context
	n  int
	do func()
}

func (c *countdown) Err() error {
	if c.n--; c.n == 0 {
		c.do()
	}
	return nil
}

// A file that is swapped while it is hashed has no hash.
func TestSwappedWhileHashed(t *testing.T) {
	for name, swap := range swaps {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "report.txt")
			must(t, os.WriteFile(path, []byte(earlier), 0o644))
			sig, err := watcher.Lstat(path)
			must(t, err)
			ctx := &countdown{Context: t.Context(), n: 3, do: func() {
				_, err := swap(path)
				must(t, err)
			}}
			sum, err := hash(ctx, watcher.File{Path: path, Sig: sig}, func() {})
			if !errors.Is(err, errMoved) && !errors.Is(err, syscall.ENOENT) {
				t.Errorf("hash %q, error %v; want that it moved", sum, err)
			}
		})
	}
}

func (r *rig) arrived(content string) bool {
	for _, d := range r.api.Deliveries() {
		if d.SHA256 == sumOfText(content) {
			return true
		}
	}
	return false
}
