package engine

import (
	"cmp"
	"path/filepath"
	"slices"

	"github.com/digime-sync/digime-sync/store"
)

// How many files of a folder an overview shows that are in the same state.
const (
	mostTold  = 100 // of those that somebody may have to do something about
	mostQuiet = 20  // of the others
)

// More is how many files of a folder in the same state an Overview leaves out.
type More struct {
	Folder string      `json:"folder"`
	State  store.State `json:"state"`
	Files  int         `json:"files"`
}

// Overview is Status with no more files than a person reads: of each folder and
// state the first ones, and in More how many there are besides. Of everything,
// "", it leaves out what is simply done. What it leaves out is counted all the
// same, at a fraction of the cost.
func (e *Engine) Overview(prefix string) (Status, error) {
	return e.status(prefix, &brief{engine: e, all: prefix == "", shown: map[group]int{}, left: map[group]int{}})
}

type group struct {
	folder string
	state  store.State
	told   bool
}

// brief chooses the files of an overview. Without one, nil, all are chosen.
type brief struct {
	engine      *Engine
	all         bool // what is simply done is left out, and not even told of
	shown, left map[group]int
}

// told says whether somebody may have to do something about files in this state.
func told(state store.State, reason bool) bool {
	switch state {
	case store.Waiting, store.Refused, store.Retrying, store.Held:
		return true
	}
	return state == store.Delivered && reason
}

// skips says whether a recorded file is left out, as far as the database tells
// without its whole record: only what is done can be.
func (b *brief) skips(path string, state store.State, reason bool) bool {
	if b == nil || told(state, reason) || !finished(state) {
		return false
	}
	g := b.groupOf(path, state, reason)
	if b.all {
		return true
	}
	if b.shown[g] < mostQuiet {
		return false // shows counts it
	}
	b.left[g]++
	return true
}

func finished(state store.State) bool {
	return state == store.Delivered || state == store.Duplicate || state == store.Ignored
}

// shows says whether a file is one of the overview.
func (b *brief) shows(f store.File) bool {
	if b == nil {
		return true
	}
	g, most := b.groupOf(f.Path, f.State, f.Reason != ""), mostQuiet
	if g.told {
		most = mostTold
	}
	if b.shown[g] >= most {
		b.left[g]++
		return false
	}
	b.shown[g]++
	return true
}

func (b *brief) groupOf(path string, state store.State, reason bool) group {
	return group{cmp.Or(b.engine.folderPath(path), filepath.Dir(path)), state, told(state, reason)}
}

// more lists what was left out.
func (b *brief) more() []More {
	if b == nil {
		return nil
	}
	var list []More
	for g, n := range b.left {
		list = append(list, More{Folder: g.folder, State: g.state, Files: n})
	}
	slices.SortFunc(list, func(x, y More) int {
		return cmp.Or(cmp.Compare(x.Folder, y.Folder), cmp.Compare(x.State, y.State), cmp.Compare(y.Files, x.Files))
	})
	return list
}
