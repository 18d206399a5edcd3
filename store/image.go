package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// bbolt's file format, version 2 (go.etcd.io/bbolt v1.5.0, internal/common
// page.go, meta.go, bucket.go): pages in the machine's byte order, each with id 8,
// flags 2, count 2, overflow 4, then its elements, then their keys and values.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	pageHeader    = 16
	elementSize   = 16
	branchFlag    = 0x01
	leafFlag      = 0x02
	freelistFlag  = 0x10
	bucketElement = 0x01

	metaSize     = 64 // of which the last 8 are the checksum
	inlineHeader = 16 // root page and sequence, before an inline bucket's page
	deepest      = 64
	noFreelist   = ^uint64(0)
)

var order = binary.NativeEndian

// image is a database file read without bbolt. bbolt's own Tx.Check runs in
// a goroutine of its own, where a page number that points outside the file
// ends the program (SetPanicOnFault is for one goroutine), and so may merely
// opening a damaged file. Reading it with bounds cannot.
type image struct {
	f        io.ReaderAt
	pageSize int64
	pages    uint64 // in use: the high water mark
	root     uint64
	freelist uint64
	txid     uint64
	torn     bool // one of the two meta pages is not whole, the other counts
	seen     []uint64
}

type element struct {
	flags      uint32
	key, value []byte
	page       uint64 // of a branch
}

// openImage reads the meta pages of a database file.
func openImage(f *os.File) (*image, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return readImage(f, info.Size())
}

// readImage reads the meta pages of a database of so many bytes.
func readImage(f io.ReaderAt, bytes int64) (*image, error) {
	var best *image
	whole := 0
	for _, size := range []int64{4096, 8192, 16384, 32768, 65536, 2048, 1024} {
		for at := range int64(2) {
			im := &image{f: f, pageSize: size}
			ok, err := im.readMeta(at * size)
			if err != nil {
				return nil, err
			}
			if !ok {
				continue
			}
			whole++
			if best == nil || im.txid > best.txid {
				best = im
			}
		}
		if best != nil {
			break
		}
	}
	switch {
	case best == nil:
		return nil, errors.New("neither meta page is whole")
	case best.pages > uint64(bytes/best.pageSize):
		return nil, fmt.Errorf("the file has %d bytes, its %d pages need more", bytes, best.pages)
	}
	best.torn = whole < 2
	best.seen = make([]uint64, best.pages/64+1)
	return best, nil
}

func (im *image) readMeta(offset int64) (ok bool, err error) {
	buf := make([]byte, pageHeader+metaSize)
	if _, err := im.f.ReadAt(buf, offset); err != nil {
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		return false, err
	}
	m := buf[pageHeader:]
	h := fnv.New64a()
	h.Write(m[:metaSize-8])
	if order.Uint32(m) != boltMagic || order.Uint64(m[metaSize-8:]) != h.Sum64() || int64(order.Uint32(m[8:])) != im.pageSize {
		return false, nil
	}
	if v := order.Uint32(m[4:]); v != boltVersion {
		return false, fmt.Errorf("bbolt format %d: %w", v, ErrNewer)
	}
	im.root, im.freelist = order.Uint64(m[16:]), order.Uint64(m[32:])
	im.pages, im.txid = order.Uint64(m[40:]), order.Uint64(m[48:])
	return true, nil
}

// page reads one page with its overflow, header included.
func (im *image) page(id uint64) ([]byte, error) {
	if id < 2 || id >= im.pages {
		return nil, fmt.Errorf("page %d is outside the file", id)
	}
	buf := make([]byte, im.pageSize)
	if _, err := im.f.ReadAt(buf, int64(id)*im.pageSize); err != nil {
		return nil, fmt.Errorf("read page %d: %w", id, err)
	}
	if got := order.Uint64(buf); got != id {
		return nil, fmt.Errorf("page %d calls itself %d", id, got)
	}
	more := uint64(order.Uint32(buf[12:]))
	if more == 0 {
		return buf, nil
	}
	if more >= im.pages-id {
		return nil, fmt.Errorf("page %d reaches beyond the file", id)
	}
	buf = make([]byte, int64(more+1)*im.pageSize)
	if _, err := im.f.ReadAt(buf, int64(id)*im.pageSize); err != nil {
		return nil, fmt.Errorf("read page %d: %w", id, err)
	}
	return buf, nil
}

// elements returns what a branch or leaf page holds, within its bounds.
func elements(page []byte) ([]element, error) {
	if len(page) < pageHeader {
		return nil, errors.New("page without header")
	}
	flags, count := order.Uint16(page[8:]), int(order.Uint16(page[10:]))
	if flags != branchFlag && flags != leafFlag {
		return nil, fmt.Errorf("page of kind %#x", flags)
	}
	if pageHeader+count*elementSize > len(page) {
		return nil, fmt.Errorf("page with %d elements is too short", count)
	}
	list := make([]element, count)
	for i := range list {
		at := pageHeader + i*elementSize
		e := page[at:]
		var pos, keyLen, valueLen uint64
		if flags == branchFlag {
			pos, keyLen, list[i].page = uint64(order.Uint32(e)), uint64(order.Uint32(e[4:])), order.Uint64(e[8:])
		} else {
			list[i].flags = order.Uint32(e)
			pos, keyLen, valueLen = uint64(order.Uint32(e[4:])), uint64(order.Uint32(e[8:])), uint64(order.Uint32(e[12:]))
		}
		from := uint64(at) + pos
		if from+keyLen+valueLen > uint64(len(page)) {
			return nil, fmt.Errorf("element %d reaches beyond its page", i)
		}
		list[i].key, list[i].value = page[from:from+keyLen], page[from+keyLen:from+keyLen+valueLen]
	}
	return list, nil
}

// visitor gets every key and value of the buckets, with the bucket's name.
type visitor func(bucket, key, value []byte) error

// check walks the pages. Deep means all of them; otherwise the buckets' roots
// alone, which is cheap however large the file is.
func (im *image) check(deep bool, visit visitor) error {
	err := im.tree(im.root, nil, nil, true, 0, func(e element) error {
		if e.flags != bucketElement || len(e.value) < inlineHeader {
			return fmt.Errorf("%q is not a bucket", e.key)
		}
		leaf := func(l element) error { return visit(e.key, l.key, l.value) }
		root := order.Uint64(e.value)
		if root != 0 {
			return im.tree(root, nil, nil, deep, 0, leaf)
		}
		list, err := elements(e.value[inlineHeader:])
		if err != nil {
			return err
		}
		return im.leaves(list, nil, nil, leaf)
	})
	if err != nil {
		return err
	}
	return im.checkFreelist(deep)
}

// tree walks a page and what is below it; keys lie in [low, high), nil for no bound.
func (im *image) tree(id uint64, low, high []byte, deep bool, depth int, leaf func(element) error) error {
	page, err := im.page(id)
	if err != nil {
		return err
	}
	if depth > deepest {
		return fmt.Errorf("page %d is too deep in its tree", id)
	}
	for i := range uint64(len(page)) / uint64(im.pageSize) {
		if !im.mark(id + i) {
			return fmt.Errorf("page %d is used twice", id+i)
		}
	}
	list, err := elements(page)
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	if order.Uint16(page[8:]) == leafFlag {
		if err := im.leaves(list, low, high, leaf); err != nil {
			return fmt.Errorf("page %d: %w", id, err)
		}
		return nil
	}
	if len(list) == 0 {
		return fmt.Errorf("page %d: branch without elements", id)
	}
	if !deep {
		return nil
	}
	for i, e := range list {
		next := high
		if i+1 < len(list) {
			next = list[i+1].key
		}
		if !inOrder(e.key, low, next) {
			return fmt.Errorf("page %d: keys out of order", id)
		}
		if err := im.tree(e.page, e.key, next, deep, depth+1, leaf); err != nil {
			return err
		}
		low = e.key
	}
	return nil
}

func (im *image) leaves(list []element, low, high []byte, leaf func(element) error) error {
	for i, e := range list {
		if len(e.key) == 0 || !inOrder(e.key, low, high) || i > 0 && bytes.Equal(e.key, low) {
			return errors.New("keys out of order")
		}
		if err := leaf(e); err != nil {
			return err
		}
		low = e.key
	}
	return nil
}

func inOrder(key, low, high []byte) bool {
	return bytes.Compare(key, low) >= 0 && (high == nil || bytes.Compare(key, high) < 0)
}

// mark notes that a page is used and says whether it was not before.
func (im *image) mark(id uint64) bool {
	bit := uint64(1) << (id % 64)
	was := im.seen[id/64]&bit != 0
	im.seen[id/64] |= bit
	return !was
}

// checkFreelist sees to it that no page is both free and in use: it would be overwritten.
func (im *image) checkFreelist(deep bool) error {
	if im.freelist == noFreelist {
		return nil
	}
	page, err := im.page(im.freelist)
	if err != nil {
		return fmt.Errorf("list of free pages: %w", err)
	}
	if order.Uint16(page[8:]) != freelistFlag {
		return errors.New("list of free pages is not one")
	}
	ids, count := page[pageHeader:], uint64(order.Uint16(page[10:]))
	if count == 0xFFFF {
		count, ids = order.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return errors.New("list of free pages is longer than its page")
	}
	for i := range uint64(len(page)) / uint64(im.pageSize) {
		if !im.mark(im.freelist + i) {
			return fmt.Errorf("page %d is used twice", im.freelist+i)
		}
	}
	for i := range count {
		id := order.Uint64(ids[8*i:])
		if id < 2 || id >= im.pages || deep && !im.mark(id) {
			return fmt.Errorf("free page %d is outside the file, or in use", id)
		}
	}
	return nil
}
