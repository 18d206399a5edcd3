package store

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestGroupCommitSharesFlushes(t *testing.T) {
	s := open(t, t.TempDir())
	s.commitMu.Lock() // the first comes upon a commit that is under way
	const n = 50
	results := make(chan error)
	for i := range n {
		go func() {
			_, err := s.Enqueue(file(fmt.Sprintf("/in/%d", i), "alice", fmt.Sprint(i)), t0)
			results <- err
		}()
	}
	for waiting := 0; waiting < n; {
		s.mu.Lock()
		waiting = len(s.pending)
		s.mu.Unlock()
		runtime.Gosched()
	}
	before := s.commits
	s.commitMu.Unlock()
	for range n {
		must(t, <-results)
	}
	if got := s.commits - before; got != 1 {
		t.Errorf("%d changes at a time took %d commits, want 1", n, got)
	}
}

func TestUnchangedCostsNothing(t *testing.T) {
	s := open(t, t.TempDir())
	f := file("/in/a", "alice", "one")
	enqueue(t, s, f, Queued)
	before := s.commits
	enqueue(t, s, f, Queued)
	must(t, s.Forget("/in/none"))
	must(t, s.ClearHold("nobody"))
	if s.commits != before {
		t.Errorf("%d commits for nothing", s.commits-before)
	}
}

func TestOneBadChangeSparesItsNeighbours(t *testing.T) {
	s := open(t, t.TempDir())
	bad := errors.New("bad")
	var changes []*change
	for i := range 5 {
		changes = append(changes, &change{apply: func(tx *txn) error {
			if i%2 == 1 {
				return bad
			}
			r := record{File: File{Path: fmt.Sprint(i), State: Refused}}
			return errors.Join(tx.write(Entry{Event: fmt.Sprint(i)}), tx.save(&record{}, &r))
		}})
	}
	s.commitMu.Lock()
	s.run(changes)
	s.commitMu.Unlock()
	for i, c := range changes {
		want := error(nil)
		if i%2 == 1 {
			want = bad
		}
		if !c.done || c.err != want || (state(t, s, fmt.Sprint(i)) == Refused) != (want == nil) {
			t.Errorf("change %d: done %v, error %v, state %s", i, c.done, c.err, state(t, s, fmt.Sprint(i)))
		}
	}
	events := ""
	must(t, ReadAudit(s.dir, func(e Entry) error { events += e.Event; return nil }))
	if events != "024" {
		t.Errorf("audit log has %q: a change that failed left a line, or one has two", events)
	}
}

// A flush of the audit log that fails leaves neither a line nor a delivery, and
// the next one works.
func TestAuditLogFails(t *testing.T) {
	s := open(t, t.TempDir())
	must(t, deliver(s, file("/in/0", "alice", "zero")))
	enqueue(t, s, file("/in/a", "alice", "one"), Queued)
	f, _, err := s.Begin("/in/a", t0, true)
	must(t, err)
	must(t, s.audit.f.Close()) // every write and flush fails from now on
	if err := s.Delivered(f, t0); !errors.Is(err, os.ErrClosed) {
		t.Fatalf("Delivered = %v", err)
	}
	if got := state(t, s, "/in/a"); got != Pushing {
		t.Fatalf("state = %s though the audit log could not be written", got)
	}
	must(t, s.Delivered(f, t0))
	if got := state(t, s, "/in/a"); got != Delivered {
		t.Fatalf("state = %s", got)
	}
}

// Bytes of a line that was not flushed are cut off before the next line.
func TestHalfALineIsCutOff(t *testing.T) {
	s := open(t, t.TempDir())
	must(t, s.Audit("one", File{Path: "/in/a"}))
	half := `12345678 {"half":"` + strings.Repeat("longer than the next line", 100)
	if _, err := s.audit.f.WriteAt([]byte(half), s.audit.end); err != nil {
		t.Fatal(err)
	}
	s.audit.dirty = true
	must(t, s.Audit("two", File{Path: "/in/a"}))
	events := ""
	must(t, ReadAudit(s.dir, func(e Entry) error { events += e.Event + " "; return nil }))
	info, err := s.audit.f.Stat()
	must(t, err)
	if events != "one two " || info.Size() != s.audit.end {
		t.Fatalf("events = %q, %d bytes of %d are lines", events, s.audit.end, info.Size())
	}
}

// The audit log has the delivery, the transaction fails: the next change brings
// the database up to the log.
func TestCommitFailsAfterTheAuditLog(t *testing.T) {
	s := open(t, t.TempDir())
	enqueue(t, s, file("/in/a", "alice", "one"), Queued)
	f, _, err := s.Begin("/in/a", t0, true)
	must(t, err)
	must(t, s.file.Close()) // bbolt's writes fail from now on
	earlier := t0.Add(-time.Hour)
	if err := s.Delivered(f, earlier); err == nil { // the clock was set back meanwhile
		t.Fatal("Delivered reports success although nothing could be committed")
	}
	must(t, s.Delivered(f, earlier))
	if got := state(t, s, "/in/a"); got != Delivered {
		t.Fatalf("state = %s", got)
	}
	lines := 0
	must(t, ReadAudit(s.dir, func(Entry) error { lines++; return nil }))
	if lines != 1 {
		t.Fatalf("%d lines for one delivery", lines)
	}
	must(t, deliver(s, file("/in/b", "alice", "two")))
}

func TestConcurrentUse(t *testing.T) {
	s := open(t, t.TempDir())
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				s.Known("/in/5", Sig{}, Sig{})
				_, _, _, errNext := s.Next("alice", t0, nil)
				_, errCounts := s.Counts()
				errAfter := s.AfterPending(func(f File) error { return s.AfterDone(f.Path) })
				errFiles := s.Files("/in/", func(File) error { return nil })
				if err := errors.Join(errNext, errCounts, errAfter, errFiles); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	parallel(t, 300, func(i int) error { return deliver(s, file(fmt.Sprintf("/in/%d", i), "alice", fmt.Sprint(i))) })
	close(stop)
	readers.Wait()
	counts, err := s.Counts()
	must(t, err)
	if counts[Delivered] != 300 || len(counts) != 1 {
		t.Fatalf("counts = %v", counts)
	}
}

// A replay that is broken off goes on where it was: the database never says that
// it knows more of the log than it does.
func TestOffsetFollowsTheReplay(t *testing.T) {
	s := open(t, t.TempDir())
	must(t, s.Audit("one", File{Path: "/in/a"}))
	half := s.upTo
	must(t, s.Audit("two", File{Path: "/in/a"}))
	s.commitMu.Lock()
	s.upTo = half
	must(t, s.update(func(tx *txn) error { return tx.replayAll([]Entry{{Event: "one"}}) }))
	s.commitMu.Unlock()
	must(t, s.view(func(tx *txn) error {
		if got := int64(tx.number(auditKey)); got != half {
			t.Errorf("offset %d, replayed up to %d", got, half)
		}
		return nil
	}))
}

// A lone caller must not wait for company.
func TestLoneCallerWaitsForNothing(t *testing.T) {
	s := open(t, t.TempDir())
	done := make(chan error, 1)
	go func() { done <- s.Put(File{Path: "/in/a", State: Refused}) }()
	select {
	case err := <-done:
		must(t, err)
	case <-time.After(time.Minute):
		t.Fatal("it waits")
	}
}

// bbolt passes on only the text of some errors.
func TestFullDiskIsKnownByItsText(t *testing.T) {
	for _, err := range []error{fmt.Errorf("file resize error: %s", fullErrors[0]), fmt.Errorf("write: %w", fullErrors[1])} {
		if !errors.Is(diskFull(err), syscall.ENOSPC) || !strings.HasPrefix(diskFull(err).Error(), err.Error()) {
			t.Errorf("%v is not known as a full disk", err)
		}
	}
	for _, kind := range []syscall.Errno{syscall.EIO, syscall.EROFS, syscall.EFBIG} {
		if err := diskFull(fmt.Errorf("file sync error: %s", kind)); !errors.Is(err, kind) || errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%v is not known as %v", err, kind)
		}
	}
	if err := diskFull(os.ErrPermission); errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v is taken for a full disk", err)
	}
}
