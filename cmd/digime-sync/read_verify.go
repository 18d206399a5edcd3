package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/digime-sync/digime-sync/sidecar"
	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/engine"
)

// sentFile is a delivery that was recorded.
type sentFile struct {
	path    string // where it lay
	lies    string // where it was moved since, or path
	sidecar string // its base name, "" if it had none or nobody knows
	sha256  string // hex
	at      time.Time
}

// deliveredFiles are a library's deliveries: all of the audit log, also those of
// contents that were replaced and of files that are forgotten, and what only the
// database knows. What went to a provider is not in the library.
func deliveredFiles(cfg *Config, log *slog.Logger, library string) ([]sentFile, error) {
	status, err := readStatus(cfg, log, "", false)
	if err != nil {
		return nil, err
	}
	moved := map[string]string{}
	for _, f := range status.Files {
		moved[f.Path] = cmp.Or(f.MovedTo, f.Path)
	}
	var list []sentFile
	logged := map[string]int{}
	err = store.ReadAudit(cfg.StateDir, func(e store.Entry) error {
		if e.MovedTo != "" && moved[e.Path] != e.Path { // there is no record any more, or it says the same
			moved[e.Path] = e.MovedTo
		}
		if e.Event != store.EventDelivered || e.Library != library {
			return nil
		}
		logged[e.SHA256]++
		if !strings.HasPrefix(e.Dest, engine.PushProvider+" ") {
			list = append(list, sentFile{path: e.Path, sidecar: e.Sidecar, sha256: e.SHA256, at: e.Time})
		}
		return nil
	})
	var damaged *store.DamagedError
	if err != nil && !errors.As(err, &damaged) { // the database fills what damage leaves out
		return nil, err
	}
	for i := range list {
		list[i].lies = cmp.Or(moved[list[i].path], list[i].path)
	}
	for _, f := range status.Files {
		if f.State != store.Delivered || f.Library != library {
			continue
		}
		if logged[f.SHA256]--; logged[f.SHA256] < 0 {
			list = append(list, sentFile{path: f.Path, lies: moved[f.Path], sha256: f.SHA256, at: *cmp.Or(f.DeliveredAt, &time.Time{})})
		}
	}
	return list, nil
}

// comparison is how what came back stands against what was delivered.
type comparison struct {
	same      int
	missing   []sentFile
	different []differing
	extra     []backFile
	copies    map[string]bool // hashes of what was delivered: an extra one is a further copy
}

// differing is a file that has come back under its reference, with another content.
type differing struct {
	sent sentFile
	back backFile
}

func (c *comparison) equal() bool { return len(c.missing)+len(c.different)+len(c.extra) == 0 }

// compare matches contents by their hash, one for one, then what is left by
// reference; titles gives those a delivery may have had. What was delivered
// after the reading began need not be in it.
func compare(sent []sentFile, back []backFile, began time.Time, titles func(sentFile) []string) *comparison {
	c := &comparison{copies: map[string]bool{}}
	open := map[string]int{}
	for _, f := range back {
		open[f.sha256]++
	}
	slices.SortStableFunc(sent, func(a, b sentFile) int { return a.at.Compare(b.at) })
	for _, f := range sent {
		c.copies[f.sha256] = true
		switch {
		case open[f.sha256] > 0:
			open[f.sha256]--
			c.same++
		case f.at.Before(began):
			c.missing = append(c.missing, f)
		}
	}
	slices.SortFunc(back, func(a, b backFile) int { return cmp.Or(cmp.Compare(a.title(), b.title()), cmp.Compare(a.name, b.name)) })
	for _, f := range back {
		if open[f.sha256] > 0 {
			open[f.sha256]--
			c.extra = append(c.extra, f)
		}
	}
	c.pair(titles)
	return c
}

// pair takes those missing and extra files together that have a reference in
// common.
func (c *comparison) pair(titles func(sentFile) []string) {
	if len(c.extra) == 0 {
		return
	}
	c.missing = slices.DeleteFunc(c.missing, func(f sentFile) bool {
		had := titles(f)
		i := slices.IndexFunc(c.extra, func(b backFile) bool {
			return slices.ContainsFunc(b.metadata.Reference, func(r string) bool { return slices.Contains(had, r) })
		})
		if i < 0 {
			return false
		}
		c.different = append(c.different, differing{f, c.extra[i]})
		c.extra = slices.Delete(c.extra, i, i+1)
		return true
	})
}

// titles are the references a delivery may have had: its name, or what its
// sidecar says where that still lies there.
func titles(f sentFile) []string {
	list := []string{strings.ToValidUTF8(filepath.Base(f.path), "\uFFFD")}
	for _, path := range []string{f.lies + sidecar.Suffix, filepath.Join(filepath.Dir(f.lies), f.sidecar)} {
		if !sidecar.Is(filepath.Base(path)) {
			continue
		}
		if side, err := readSidecar(path); err == nil {
			list = append(list, side.Reference...)
		}
	}
	return list
}

func readSidecar(path string) (sidecar.Sidecar, error) {
	f, err := os.Open(path)
	if err != nil {
		return sidecar.Sidecar{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, sidecar.MaxSize+1))
	if err != nil {
		return sidecar.Sidecar{}, err
	}
	return sidecar.Parse(text)
}

// sayComparison lists what is not as it was delivered, and counts.
func (a *app) sayComparison(c *comparison) {
	for _, f := range c.missing {
		fmt.Fprintf(a.out, "missing    %s  (delivered %s, sha256 %s)\n", plain(f.path), f.at.Local().Format(time.DateTime), f.sha256)
	}
	for _, d := range c.different {
		fmt.Fprintf(a.out, "different  %s  (delivered %s, sha256 %s; came back with %s, %d bytes)\n",
			plain(d.sent.path), d.sent.at.Local().Format(time.DateTime), d.sent.sha256, d.back.sha256, d.back.size)
	}
	for _, f := range c.extra {
		what := ""
		if c.copies[f.sha256] {
			what = ", a further copy of what was delivered"
		}
		fmt.Fprintf(a.out, "extra      %s  (%s, %d bytes, sha256 %s%s)\n", plain(f.title()), plain(f.name), f.size, f.sha256, what)
	}
	fmt.Fprintf(a.out, "equal: %d\nmissing: %d\ndifferent: %d\nextra: %d\n", c.same, len(c.missing), len(c.different), len(c.extra))
}
