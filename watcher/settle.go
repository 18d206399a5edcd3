package watcher

import (
	"container/heap"
	"time"
)

// resendAfter is how long a file that was handed over stays unmentioned while
// the known predicate does not answer yes: its value may have been dropped.
const resendAfter = time.Minute

// lookAgain is the least time between two looks at a file that is in use.
const lookAgain = time.Second

// stage is how far a file has come.
type stage uint8

const (
	settling stage = iota // not the same for long enough, or in use
	inLine                // settled, waiting to be handed over
	handed                // handed over, and not yet known
)

// item is one file on its way.
type item struct {
	file     File
	stage    stage
	ripe     time.Time // when, unchanged, it goes to the line; Settle after the last change we saw
	due      time.Time // when it must be looked at; ripe, or later when that look failed
	place    uint64    // its place in line
	refusals int       // how often in a row it could not be opened
	at       int       // its index in settler.soon, -1 when not there
}

// settler decides which files have settled and in what order they are handed
// over. It touches nothing, and learns the time from its caller.
type settler struct {
	settle  time.Duration
	items   map[string]*item
	soon    dueHeap
	line    []place
	places  uint64
	pending int  // items that are settling or in line
	once    bool // what was handed over is not handed over again
}

// place is one waiting number; it is void once the item has another or none.
type place struct {
	path   string
	number uint64
}

func newSettler(settle time.Duration) *settler {
	return &settler{settle: settle, items: map[string]*item{}}
}

// news says whether f tells something the known predicate should be asked about
// first: a file not met before or changed, or one that was handed over long ago.
func (s *settler) news(f File, now time.Time) bool {
	it := s.items[f.Path]
	switch {
	case it == nil || !alike(it.file, f):
		return true
	case it.stage == handed:
		return it.refusals == 0 && !now.Before(it.ripe)
	}
	return false
}

// observe takes in what a file looks like now.
func (s *settler) observe(f File, now time.Time) {
	it := s.items[f.Path]
	if it == nil {
		it = &item{at: -1}
		s.items[f.Path] = it
		s.pending++
		s.restart(it, f, now)
		return
	}
	if !alike(it.file, f) {
		s.restart(it, f, now)
		return
	}
	it.file = f // a sidecar may be spelled otherwise where the file system does not mind
	if it.stage == inLine || it.stage == handed && s.once {
		return
	}
	if !now.Before(it.ripe) {
		s.enqueue(it)
	}
}

func (s *settler) restart(it *item, f File, now time.Time) {
	it.file, it.refusals = f, 0
	s.setStage(it, settling)
	s.ripen(it, now.Add(s.settle))
}

func (s *settler) ripen(it *item, at time.Time) {
	it.ripe = at
	s.schedule(it, at)
}

func (s *settler) enqueue(it *item) {
	s.setStage(it, inLine)
	s.schedule(it, time.Time{})
	s.places++
	it.place = s.places
	s.line = append(s.line, place{it.file.Path, it.place})
}

func (s *settler) setStage(it *item, to stage) {
	if it.stage == handed && to != handed {
		s.pending++
	} else if it.stage != handed && to == handed {
		s.pending--
	}
	it.stage = to
}

// schedule sets when the item is due; the zero time takes it off the list.
func (s *settler) schedule(it *item, due time.Time) {
	it.due = due
	switch {
	case due.IsZero() && it.at >= 0:
		heap.Remove(&s.soon, it.at)
	case due.IsZero():
	case it.at >= 0:
		heap.Fix(&s.soon, it.at)
	default:
		heap.Push(&s.soon, it)
	}
}

// due lists at most so many files that must be looked at (and then observed)
// now. Those that nobody observes after all come up again later.
func (s *settler) due(now time.Time, most int) []string {
	var paths []string
	for len(s.soon) > 0 && len(paths) < most && !s.soon[0].due.After(now) {
		paths = append(paths, s.soon[0].file.Path)
		s.schedule(s.soon[0], now.Add(max(s.settle, lookAgain)))
	}
	return paths
}

// wake says when due will next list something.
func (s *settler) wake() (at time.Time, ok bool) {
	if len(s.soon) == 0 {
		return time.Time{}, false
	}
	return s.soon[0].due, true
}

// first is the item at the head of the line, nil when nobody waits.
func (s *settler) first() *item {
	for len(s.line) > 0 {
		head := s.line[0]
		if it := s.items[head.path]; it != nil && it.stage == inLine && it.place == head.number {
			return it
		}
		s.line = s.line[1:]
	}
	return nil
}

// back puts a file in line back to settling: it is in use, or was refused, or
// is not what was seen, in which case it is to be looked at soon.
func (s *settler) back(path string, now time.Time, soon bool) {
	it := s.items[path]
	if it == nil {
		return
	}
	s.setStage(it, settling)
	s.ripen(it, now.Add(max(s.settle, lookAgain)))
	if soon {
		s.schedule(it, now)
	}
}

// refused counts that a file in line could not be opened; a first refusal may
// be a virus scanner's, so the answer is how many there were in a row.
func (s *settler) refused(path string) int {
	it := s.items[path]
	if it == nil {
		return 0
	}
	it.refusals++
	return it.refusals
}

// handedOver notes that the consumer has the file, or (not readable) need not
// hear again of one that cannot be opened.
func (s *settler) handedOver(path string, now time.Time, readable bool) {
	it := s.items[path]
	if it == nil {
		return
	}
	if readable {
		it.refusals = 0
	}
	s.setStage(it, handed)
	if s.once {
		s.schedule(it, time.Time{})
		return
	}
	s.ripen(it, now.Add(resendAfter))
}

// again has a file settle anew that was handed over in vain.
func (s *settler) again(path string, now time.Time) {
	if it := s.items[path]; it != nil && it.stage == handed && !s.once {
		s.setStage(it, settling)
		s.ripen(it, now.Add(max(s.settle, lookAgain)))
	}
}

// askAnew has files offered again that were handed over and are still unknown,
// when the next look finds them.
func (s *settler) askAnew() {
	for path, it := range s.items {
		if it.stage == handed {
			s.forget(path)
		}
	}
}

// forget drops a file that is gone, left out or known.
func (s *settler) forget(path string) {
	it := s.items[path]
	if it == nil {
		return
	}
	s.schedule(it, time.Time{})
	s.setStage(it, handed)
	delete(s.items, path)
}

// waits says whether the file is still to be handed over.
func (s *settler) waits(path string) bool {
	it := s.items[path]
	return it != nil && it.stage != handed
}

// alike says whether nothing has changed between two looks at a file. The
// sidecar's path does not count: where case or Unicode form means nothing, one sidecar is found by several.
func alike(a, b File) bool {
	sameErr := (a.Err == nil) == (b.Err == nil) && (a.Err == nil || a.Err.Error() == b.Err.Error())
	return a.Sig == b.Sig && a.SidecarSig == b.SidecarSig && a.Orphan == b.Orphan && sameErr
}

// dueHeap is a heap.Interface: the item due first is at index 0.
type dueHeap []*item

// Len is the number of items.
func (h dueHeap) Len() int { return len(h) }

// Less compares when two items are due.
func (h dueHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }

// Swap exchanges two items and corrects their indexes.
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push appends x, which must be an *item.
func (h *dueHeap) Push(x any) {
	it := x.(*item)
	it.at = len(*h)
	*h = append(*h, it)
}

// Pop removes and returns the last item.
func (h *dueHeap) Pop() any {
	old := *h
	it := old[len(old)-1]
	old[len(old)-1] = nil
	it.at = -1
	*h = old[:len(old)-1]
	return it
}
