package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/digime-sync/digime-sync/sync/digime"
)

const (
	// ReadsAtOnce is how many files of a reading are fetched at a time.
	ReadsAtOnce = 4

	firstPause   = time.Second
	longestPause = 5 * time.Second
	readPatience = 10 * time.Minute // for a reading in which nothing changes
	readTries    = 4                // of each request that fails in passing
)

// Reading is a library as it is read back. Fetch may be used by many goroutines.
type Reading struct {
	List digime.FileList // when it was over

	engine *Engine
	reader Library // the read contract, and the name of its token

	mu      sync.Mutex
	session string
}

// Read starts a reading of a library and waits until it is over; progress is
// told of each change. It gives up where nothing changes for ten minutes.
// Errors: a *UsageError where contract or consent to read are missing,
// *digime.Error, or that of ctx.
func (e *Engine) Read(ctx context.Context, lib Library, progress func(digime.FileList)) (*Reading, error) {
	if lib.Read == nil {
		return nil, &UsageError{Reason: fmt.Sprintf("library %s has no read contract in the configuration", lib.Name),
			Hint: "add read_contract: NAME to the library, then: " + ConsentHint(ReadToken(lib.Name))}
	}
	r := &Reading{engine: e, reader: Library{Name: ReadToken(lib.Name), Contract: *lib.Read}}
	if _, err := e.token(r.reader.Name); errors.Is(err, errNoToken) {
		return nil, &UsageError{Reason: "there is no consent yet to read library " + lib.Name,
			Hint: ConsentHint(r.reader.Name)}
	}
	if err := r.start(ctx, progress); err != nil {
		return nil, err
	}
	return r, nil
}

// start triggers a session and waits for its list. The caller holds r.mu once
// r is shared.
func (r *Reading) start(ctx context.Context, progress func(digime.FileList)) error {
	client, contract := r.engine.Client, r.reader.Contract
	err := r.request(ctx, func(access string) (err error) {
		r.session, err = client.Trigger(ctx, contract, access)
		return err
	})
	if err != nil {
		return err
	}
	p := pace{wait: r.engine.pause}
	for {
		var list digime.FileList
		err := r.request(ctx, func(access string) (err error) {
			list, err = client.List(ctx, contract, access, r.session)
			return err
		})
		if err != nil {
			return err
		}
		changed, wait, patient := p.next(time.Now(), list)
		if changed {
			progress(list)
		}
		if list.Done() {
			r.List = list
			return nil
		}
		if !patient {
			return fmt.Errorf("wait for the reading: it is %s, and nothing has changed for %s", list.State, readPatience)
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// pace decides how long a reading is waited for.
type pace struct {
	wait  time.Duration // next
	since time.Time     // when it last changed
	seen  bool
	state string
	files int
}

// next says whether the list differs from the one before, how long to wait
// before the next, and whether it is worth it.
func (p *pace) next(now time.Time, l digime.FileList) (changed bool, wait time.Duration, patient bool) {
	if !p.seen || l.State != p.state || len(l.Files) != p.files {
		changed = true
		p.seen, p.since, p.state, p.files = true, now, l.State, len(l.Files)
	}
	wait = p.wait
	p.wait = min(2*p.wait, longestPause)
	return changed, wait, now.Sub(p.since) < readPatience
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// request makes a call with an access token that is good: refreshed where the
// service does not take it any more. What fails in passing is tried again.
func (r *Reading) request(ctx context.Context, call func(access string) error) error {
	rejected, pause := "", r.engine.pause
	for try := 1; ; try++ {
		access, err := r.engine.access(ctx, r.reader, rejected)
		if err == nil {
			err = call(access)
		}
		var api *digime.Error
		switch {
		case err == nil || !errors.As(err, &api):
			return err
		case api.Class == digime.TokenExpired && rejected == "":
			rejected = access
			continue
		case api.Class != digime.Passing && api.Class != digime.Malformed, try >= readTries, api.RetryAfter > readPatience:
			return err
		}
		if err := sleep(ctx, max(pause, api.RetryAfter)); err != nil {
			return err
		}
		pause = min(2*pause, longestPause)
	}
}

// Fetch gets a file of the list, of at most limit bytes. begin is called for
// the writer of each attempt, which must forget what an earlier one wrote.
// Errors are those of digime's Fetch and of begin.
func (r *Reading) Fetch(ctx context.Context, name string, limit int64, begin func() (io.Writer, error)) (digime.Metadata, error) {
	r.mu.Lock()
	session := r.session
	r.mu.Unlock()
	m, err := r.fetch(ctx, session, name, limit, begin)
	if !gone(err) {
		return m, err
	}
	if session, err = r.renew(ctx, session, err); err != nil {
		return digime.Metadata{}, err
	}
	return r.fetch(ctx, session, name, limit, begin)
}

func (r *Reading) fetch(ctx context.Context, session, name string, limit int64, begin func() (io.Writer, error)) (m digime.Metadata, err error) {
	err = r.request(ctx, func(access string) error {
		w, err := begin()
		if err != nil {
			return err
		}
		m, _, err = r.engine.Client.Fetch(ctx, r.reader.Contract, access, session, name, limit, w)
		return err
	})
	return m, err
}

// gone says whether the service does not know the session, or the file, any more.
func gone(err error) bool {
	var api *digime.Error
	return errors.As(err, &api) && api.Class == digime.Refused && (api.Status == http.StatusNotFound || api.Status == http.StatusGone)
}

// renew triggers another session in the place of one that has ended: reading a
// large library can take longer than sessions live. fault is returned if it was
// not the session's.
func (r *Reading) renew(ctx context.Context, old string, fault error) (session string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.session != old {
		return r.session, nil
	}
	err = r.request(ctx, func(access string) error {
		_, err := r.engine.Client.List(ctx, r.reader.Contract, access, old)
		return err
	})
	if !gone(err) {
		return "", fault
	}
	fresh := &Reading{engine: r.engine, reader: r.reader}
	if err := fresh.start(ctx, func(digime.FileList) {}); err != nil {
		return "", err
	}
	r.session = fresh.session
	return r.session, nil
}
