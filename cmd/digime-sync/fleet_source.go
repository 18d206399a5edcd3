package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// fleetPatience bounds how long one file may take, from a server or a share.
const fleetPatience = 30 * time.Second

// mostRedirects is how often a server may send us on.
const mostRedirects = 5

// errUnchanged means that a server still has what its ETag was of.
var errUnchanged = errors.New("unchanged")

// fleetSource reads files of a fleet's folder, by name. The error is
// errUnchanged where etag is still that of the file, wraps fs.ErrNotExist where
// there is no such file though the folder is there, and else says in plain words
// what stood in the way, as a *fleetError.
type fleetSource func(ctx context.Context, name string, limit int64, etag string) (data []byte, newTag string, err error)

// sourceAt reads from a folder that the configuration names, a URL or a path.
func sourceAt(cfg *Config, place string) (fleetSource, error) {
	if !isURL(place) {
		return shareSource(place), nil
	}
	client, err := fleetClient(cfg)
	if err != nil {
		return nil, err
	}
	return webSource(client, place), nil
}

// fleetClient goes the way to the API: through the same proxy, and trusting the
// same certificates.
func fleetClient(cfg *Config) (*http.Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	if cfg.API.Proxy != "" {
		u, err := url.Parse(cfg.API.Proxy)
		if err != nil {
			return nil, errors.New("api.proxy is not a URL") // its text may hold a password
		}
		t.Proxy = http.ProxyURL(u)
	}
	if len(cfg.API.CA) > 0 {
		roots, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("read the system's certificates: %w", err)
		}
		roots.AppendCertsFromPEM(cfg.API.CA)
		t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	t.MaxResponseHeaderBytes = 64 << 10
	t.DisableKeepAlives = true // the next look is a quarter of an hour away
	return &http.Client{Transport: t, Timeout: fleetPatience, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		switch {
		case !safe(r.URL):
			return errors.New("the server sends us on to a place that is not https")
		case len(via) > mostRedirects:
			return fmt.Errorf("the server sends us on again and again (%d times)", len(via))
		}
		return nil
	}}, nil
}

func webSource(client *http.Client, base string) fleetSource {
	return func(ctx context.Context, name string, limit int64, etag string) ([]byte, string, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+url.PathEscape(name), nil)
		if err != nil {
			return nil, "", &fleetError{fleetUnreachable, name, "its URL cannot be asked", "check config_url"}
		}
		r.Header.Set("User-Agent", "digime-sync/"+version)
		if etag != "" {
			r.Header.Set("If-None-Match", etag)
		}
		resp, err := client.Do(r)
		if err != nil {
			return nil, "", &fleetError{fleetUnreachable, name, "it cannot be reached: " + cause(err), "check config_url, the network, api.proxy and api.ca_file"}
		}
		defer resp.Body.Close()
		if err := answered(name, resp); err != nil {
			return nil, "", err
		}
		data, err := limited(name, resp.Body, limit)
		if err == nil && isPage(resp.Header.Get("Content-Type"), data) {
			err = &fleetError{fleetNotAFile, name, "a web page came in its place, as of a login or a network that wants to be agreed to first", "open " + shownURL(base) + " in a browser on this machine"}
		}
		return data, resp.Header.Get("ETag"), err
	}
}

// cause is the error without the URL, which may hold a password.
func cause(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %s", fleetPatience)
	}
	return err.Error()
}

func answered(name string, resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusNotModified:
		return errUnchanged
	case http.StatusNotFound, http.StatusGone:
		return fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	case http.StatusUnauthorized, http.StatusForbidden:
		return &fleetError{fleetUnreachable, name, "the server refuses it: " + resp.Status, "let this machine read it there, or write user and password into config_url"}
	case http.StatusProxyAuthRequired:
		return &fleetError{fleetUnreachable, name, "the proxy wants a user and a password", "write them into api.proxy"}
	}
	return &fleetError{fleetUnreachable, name, "the server answers " + resp.Status, "look at the server"}
}

const brokenOffHint = "it is tried again by itself; if it stays so, look at the network, and at where the file lies"

func limited(name string, r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF): // whose text tells nobody more
		return nil, &fleetError{fleetUnreachable, name, fmt.Sprintf("it broke off after %d bytes", len(data)), brokenOffHint}
	case err != nil:
		return nil, &fleetError{fleetUnreachable, name, fmt.Sprintf("it broke off after %d bytes: %s", len(data), cause(err)), brokenOffHint}
	case int64(len(data)) > limit:
		return nil, &fleetError{fleetTooLarge, name, fmt.Sprintf("it has more than %d bytes", limit), "split it, or look what it is"}
	}
	return data, nil
}

func isPage(contentType string, data []byte) bool {
	start := bytes.TrimLeft(bytes.TrimPrefix(data, []byte("\ufeff")), " \t\r\n")
	return strings.HasPrefix(contentType, "text/html") || bytes.HasPrefix(start, []byte("<"))
}

// shareSource reads from a folder.
func shareSource(dir string) fleetSource {
	return func(ctx context.Context, name string, limit int64, _ string) ([]byte, string, error) {
		read := make(chan []byte, 1)
		err := onShare(ctx, dir, func() error {
			data, err := readShare(dir, name, limit)
			read <- data
			return err
		})
		switch {
		case errors.Is(err, errShareHangs):
			return nil, "", &fleetError{fleetUnreachable, name, err.Error(), "look at the share and its server"}
		case err != nil:
			return nil, "", err
		}
		return <-read, "", nil
	}
}

var errShareHangs = errors.New("the share does not answer")

// hangingShares are the folders that something still waits for.
var hangingShares sync.Map

// onShare does something in a folder that may be a share. One that hangs holds
// up what is done there alone, and is not asked again before it has answered.
// After errShareHangs or the error of ctx, do may still be running.
func onShare(ctx context.Context, dir string, do func() error) error {
	if _, hangs := hangingShares.LoadOrStore(dir, true); hangs {
		return errShareHangs
	}
	done := make(chan error, 1)
	go func() {
		err := do()
		hangingShares.Delete(dir)
		done <- err
	}()
	patience := time.NewTimer(fleetPatience)
	defer patience.Stop()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-patience.C:
		return errShareHangs
	}
}

func readShare(dir, name string, limit int64) ([]byte, error) {
	if _, err := os.Stat(dir); err != nil { // a share that is away is not one without this file
		return nil, &fleetError{fleetUnreachable, name, dir + ": " + unreadable(err).Text, "bring the share back, or correct config_url"}
	}
	f, err := openRegular(filepath.Join(dir, name), 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, err
	case errors.Is(err, errNotRegular):
		return nil, &fleetError{fleetNotAFile, name, "it is not a file", "put the file there"}
	case err != nil:
		fault := unreadable(err)
		return nil, &fleetError{fleetUnreachable, name, fault.Text, cmp.Or(fault.Hint, "look at the share")}
	}
	defer f.Close()
	return limited(name, f, limit)
}

// shownURL is a URL without its password; a path as it is.
func shownURL(text string) string {
	if u, err := url.Parse(text); isURL(text) && err == nil {
		return u.Redacted()
	}
	return text
}
