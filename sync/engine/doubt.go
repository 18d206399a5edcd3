package engine

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/store/failpoint"
	"github.com/digime-sync/digime-sync/sync/digime"
)

// A file is in doubt when the whole of it was sent and no answer came. The
// service cannot tell a file that comes twice; with a read contract the library
// can be asked what has arrived.
const (
	mostDoubts  = 3                // about one file, then a person decides
	askPatience = 5 * time.Minute  // for all that is asked about one file
	mostAsked   = 5                // times that a library which cannot be asked is asked for one file, then it is as the folder says
	firstAsking = 15 * time.Second // before it is asked again; doubled each time: some four minutes in all
	doubtMargin = 24 * time.Hour   // by which clocks, or a wait for the sidecar, may make a file look older than its place in the queue
)

// doubtAfterCrash handles a file whose last push may have been whole when the
// service died: nobody recorded an answer. stop says that it is not to be
// pushed now.
func (e *Engine) doubtAfterCrash(folder *Folder, f *store.File) (stop bool, err error) {
	if !f.Begun || !f.Released {
		return false, nil
	}
	p := &push{engine: e, folder: folder, file: *f}
	p.doubt(errors.New("the service was stopped before the answer came"), nil)
	*f = p.file
	return f.State == store.Held, p.outcome.fault
}

const inDoubt = "the whole file was sent, but no answer came: it may have arrived"

// doubt records that the whole file may have arrived although no answer came.
func (p *push) doubt(err error, api *digime.Error) {
	e := p.engine
	if err := failpoint.Hit("push.doubt"); err != nil {
		p.outcome.fault = fmt.Errorf("record doubt: %w", err)
		return
	}
	p.file.Doubts++
	p.file.Asked = 0
	p.file.Begun, p.file.Released = false, false
	p.outcome.failed = true
	asks := e.canAsk(p.folder, p.file)
	if p.undecided() && !asks {
		p.holdInDoubt()
		p.outcome.fault = errors.Join(p.outcome.fault, e.Store.Audit(store.EventInDoubt, p.file))
		return
	}
	what, hint := "it is sent again", "nothing to do: it is sent again, and the receipt will say that it may be double"
	if asks {
		what, hint = "the library is asked for it", "nothing to do: the library is asked whether it has arrived"
	}
	e.Log.Warn("the answer to a whole file was lost, "+what, e.file(p.file.Path), "library", p.file.Library, "err", cause(err, api))
	due := time.Now() // after a crash: the destination has not failed
	if api != nil {
		due = due.Add(backoff(p.file.Attempts))
	}
	p.deferTo(p.file, store.Retrying, inDoubt, hint, due)
	p.outcome.fault = errors.Join(p.outcome.fault, e.Store.Audit(store.EventInDoubt, p.file))
}

// undecided says whether a person must decide about a file in doubt, as long
// as nothing else tells whether it has arrived.
func (p *push) undecided() bool {
	return p.file.Doubts >= mostDoubts || p.folder.InDoubt == "hold"
}

// holdInDoubt leaves a file in doubt to a person.
func (p *push) holdInDoubt() {
	p.file.State = store.Held
	v := &verdict{state: store.Held, reason: inDoubt, hint: "look into the library; to send it again: digime-sync push --again " + p.file.Path}
	p.outcome.fault = p.engine.settleVerdict(p.file, v)
}

func cause(err error, api *digime.Error) error {
	if api != nil {
		return api
	}
	return err
}

// canAsk says whether a library can be asked if it has a file that is in
// doubt. One that a person has sent again is not asked for: an equal one may
// have been there before.
func (e *Engine) canAsk(folder *Folder, f store.File) bool {
	lib := e.Libraries[f.Library]
	if lib.Read == nil || f.Again || folder.Push == PushProvider {
		return false
	}
	_, err := e.token(ReadToken(lib.Name))
	return err == nil
}

// settleDoubt decides about a file in doubt, before it is sent again: what is
// found in its library has arrived. Without a finding it is as the folder says;
// true when there is nothing to push now.
func (p *push) settleDoubt(ctx context.Context) bool {
	e, f := p.engine, p.file
	if e.canAsk(p.folder, f) {
		found, err := p.findInLibrary(ctx)
		switch {
		case ctx.Err() != nil:
			p.deferTo(f, store.Queued, "", "", time.Now())
			return true
		case found:
			p.foundInLibrary()
			return true
		case errors.Is(err, errHangs):
			p.deferTo(f, store.Retrying, inDoubt, "nothing to do: the library is asked when the folder answers again", time.Now().Add(lookEvery))
			return true
		case err != nil:
			e.Log.Warn("the library could not be asked whether a file in doubt has arrived", e.file(f.Path), "library", f.Library, "err", err, "asked", f.Asked+1)
			if p.askAgain(err) {
				return true
			}
		default:
			e.Log.Info("a file in doubt is not in the library", e.file(f.Path), "library", f.Library)
		}
	}
	if p.undecided() {
		p.holdInDoubt()
		return true
	}
	return false
}

// askAgain defers a file whose library could not be asked for it, in passing:
// that it be sent again, or held, has time until it was asked some times more.
func (p *push) askAgain(err error) bool {
	var api *digime.Error
	var usage *UsageError
	if errors.As(err, &api) {
		p.outcome.note(api)
		if api.Class != digime.Passing && api.Class != digime.Malformed && api.Class != digime.BadAnswer {
			return false
		}
	}
	if p.file.Asked++; errors.As(err, &usage) || p.file.Asked >= mostAsked {
		return false
	}
	wait := p.engine.asking << (p.file.Asked - 1)
	p.deferTo(p.file, store.Retrying, inDoubt+"; the library could not be asked for it: "+err.Error(),
		"nothing to do: the library is asked again", time.Now().Add(wait/2+rand.N(wait/2+1)))
	return true
}

// errFound ends the search.
var errFound = errors.New("found")

// findInLibrary looks for the file among those that have come since it was
// queued: same content, reference and accounts.
func (p *push) findInLibrary(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	reading, err := p.engine.Read(ctx, p.desc.library, func(digime.FileList) {})
	if err != nil {
		return false, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(ReadsAtOnce)
	for _, remote := range candidates(reading.List.Files, p.engine.queuedFor(p.file, time.Now()).Add(-doubtMargin)) {
		g.Go(func() error {
			same, err := p.same(ctx, reading, remote)
			if same {
				return errFound
			}
			return err
		})
	}
	err = g.Wait()
	if errors.Is(err, errFound) {
		return true, nil
	}
	if err == nil && reading.List.State != digime.ReadCompleted {
		err = fmt.Errorf("the list of the library is %s: what it does not show may be there", reading.List.State)
	}
	return false, err
}

// queuedFor is when a file was queued by the service's clock. One that was
// queued in the future was so by a clock that has been set right since.
func (e *Engine) queuedFor(f store.File, now time.Time) time.Time {
	queued, server := e.serverTime(f.QueuedAt), e.serverTime(now)
	if queued.After(server) {
		return server
	}
	return queued
}

// candidates are the files that may have come at or after a time, the newest
// first.
func candidates(files []digime.RemoteFile, from time.Time) []digime.RemoteFile {
	list := slices.DeleteFunc(slices.Clone(files), func(f digime.RemoteFile) bool { return !f.Updated.IsZero() && f.Updated.Before(from) })
	slices.SortStableFunc(list, func(a, b digime.RemoteFile) int { return b.Updated.Compare(a.Updated) })
	return list
}

// same says whether a file of the library is the one that was sent. A file
// that cannot be read back is not: its error says something of that one alone.
func (p *push) same(ctx context.Context, r *Reading, remote digime.RemoteFile) (bool, error) {
	own, err := p.engine.openPatiently(p.file.Folder, p.file.Path)
	if err != nil {
		return false, err
	}
	defer own.Close()
	c := &comparer{own: own}
	m, err := r.Fetch(ctx, remote.Name, p.file.Sig.Size, func() (io.Writer, error) {
		c.sum = sha256.New()
		_, err := own.Seek(0, io.SeekStart)
		return c, err
	})
	var api *digime.Error
	switch {
	case errors.Is(err, errOther):
		return false, nil
	case errors.As(err, &api) && (api.Class == digime.BadAnswer || api.Class == digime.Refused):
		return false, nil
	case err != nil:
		return false, err
	}
	d := p.desc.descriptor
	return hex.EncodeToString(c.sum.Sum(nil)) == p.file.SHA256 && slices.Equal(m.Reference, d.Reference) && sameAccounts(m.Accounts, d.Accounts), nil
}

// sameAccounts compares accounts without regard to their order; a service that
// gives none back says nothing against it.
func sameAccounts(theirs, ours []digime.Account) bool {
	byID := func(a, b digime.Account) int { return cmp.Compare(a.AccountID, b.AccountID) }
	return len(theirs) == 0 || slices.Equal(slices.SortedFunc(slices.Values(theirs), byID), slices.SortedFunc(slices.Values(ours), byID))
}

// errOther stops a file that differs from ours at once.
var errOther = errors.New("it is another file")

// comparer hashes what is written to it as long as it is what own holds.
type comparer struct {
	own io.Reader
	buf []byte
	sum interface {
		io.Writer
		Sum([]byte) []byte
	}
}

func (c *comparer) Write(b []byte) (int, error) {
	if len(c.buf) < len(b) {
		c.buf = make([]byte, len(b))
	}
	n, err := io.ReadFull(c.own, c.buf[:len(b)])
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return 0, err // which says nothing of the two
	}
	if !bytes.Equal(b, c.buf[:n]) {
		return 0, errOther
	}
	return c.sum.Write(b)
}

// foundInLibrary records the delivery of a file that has arrived after all.
func (p *push) foundInLibrary() {
	ok, err := p.begin(false)
	if !ok {
		p.outcome.fault = err
		return
	}
	p.file.Attempts-- // nothing was sent
	p.delivered(false, "found in the library after an answer was lost")
}
