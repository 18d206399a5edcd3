package store

import (
	"bytes"
	"errors"
	"io"
	"os"
)

func (r *restore) mergeLogs(path string, old, inPlace *os.File) error {
	readers := []io.Reader{old}
	if inPlace != nil {
		same, err := commonLines(old, inPlace)
		if err != nil {
			return err
		}
		info, err := inPlace.Stat()
		if err != nil {
			return err
		}
		whole, err := lastNewline(inPlace, info.Size())
		if err != nil {
			return err
		}
		rest := func() io.Reader { return io.NewSectionReader(inPlace, same, max(0, whole-same)) }
		_, err = scanLines(rest(), 0, func(e Entry, _ int64) error {
			if e.Event == EventDelivered {
				r.done.Later++
			}
			return nil
		})
		if err != nil {
			return err
		}
		readers = append(readers, rest())
	}
	temp, err := copyTemp(r.dir, readers...)
	if err != nil {
		return err
	}
	if inPlace != nil {
		_ = inPlace.Close() // it was only read; Windows replaces no file that is open
	}
	if err := replace(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return syncDir(r.dir)
}

// commonLines returns how many bytes of whole lines both files begin with, and
// leaves a at its beginning.
func commonLines(a, b *os.File) (int64, error) {
	var same, at int64
	x, y := make([]byte, tailSection), make([]byte, tailSection)
	for {
		n, errA := io.ReadFull(a, x)
		m, errB := io.ReadFull(b, y)
		both := min(n, m)
		equal := 0
		for equal < both && x[equal] == y[equal] {
			equal++
		}
		if i := bytes.LastIndexByte(x[:equal], '\n'); i >= 0 {
			same = at + int64(i) + 1
		}
		at += int64(equal)
		if equal < tailSection {
			for _, err := range []error{errA, errB} {
				if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					return 0, err
				}
			}
			_, err := a.Seek(0, io.SeekStart)
			return same, err
		}
	}
}
