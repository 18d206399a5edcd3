package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path"
	"time"
)

// A bill of materials (bom(5) of macOS) lists what a package installs. It is a
// store of numbered blocks: a header, the blocks, a table of where they are, and
// named blocks, of which "Paths" is a tree of the files. All numbers are
// big-endian.
const (
	bomHeaderSize = 512
	bomBlockSize  = 4096
	bomSmallBlock = 128
	// bomMostPaths is what one leaf of the tree holds.
	bomMostPaths = (bomBlockSize - 12) / 8
)

// bomStore collects blocks; number 0 is the empty one.
type bomStore struct{ blocks [][]byte }

// add puts a block of these values, which have fixed sizes or are bytes, into
// the store and returns its number.
func (s *bomStore) add(values ...any) uint32 {
	var b bytes.Buffer
	for _, v := range values {
		_ = binary.Write(&b, binary.BigEndian, v) // into memory
	}
	s.blocks = append(s.blocks, b.Bytes())
	return uint32(len(s.blocks))
}

// tree adds a tree of one leaf with pairs of block numbers.
func (s *bomStore) tree(blockSize uint32, pairs ...uint32) uint32 {
	leaf := make([]byte, blockSize)
	binary.BigEndian.PutUint16(leaf[0:], 1) // it is a leaf
	binary.BigEndian.PutUint16(leaf[2:], uint16(len(pairs)/2))
	for i, n := range pairs {
		binary.BigEndian.PutUint32(leaf[12+4*i:], n) // after no next and no previous leaf
	}
	child := s.add(leaf)
	return s.add([]byte("tree"), uint32(1), child, blockSize, uint32(len(pairs)/2), uint8(0))
}

// billOfMaterials is the Bom of nodes, which are in order.
func billOfMaterials(nodes []*node, mtime time.Time) ([]byte, error) {
	if len(nodes) > bomMostPaths {
		return nil, fmt.Errorf("%d files are more than the %d that a leaf of the bill of materials holds", len(nodes), bomMostPaths)
	}
	s := &bomStore{}
	named := []struct {
		name  string
		block uint32
	}{{name: "BomInfo", block: s.add(uint32(1), uint32(len(nodes)+1), uint32(0))}}
	var pairs []uint32
	for _, n := range nodes {
		info := s.add(n.id, s.add(pathInfo(n, mtime)))
		pairs = append(pairs, info, s.add(n.parent, []byte(path.Base(n.name)+"\x00")))
	}
	add := func(name string, block uint32) {
		named = append(named, struct {
			name  string
			block uint32
		}{name, block})
	}
	add("Paths", s.tree(bomBlockSize, pairs...))
	add("HLIndex", s.tree(bomBlockSize))
	add("VIndex", s.add(uint32(1), s.tree(bomSmallBlock), uint32(0), uint8(0)))
	add("Size64", s.tree(bomBlockSize))
	var vars bytes.Buffer
	_ = binary.Write(&vars, binary.BigEndian, uint32(len(named)))
	for _, v := range named {
		_ = binary.Write(&vars, binary.BigEndian, v.block)
		vars.WriteByte(byte(len(v.name)))
		vars.WriteString(v.name)
	}
	return s.bytes(vars.Bytes()), nil
}

// pathInfo tells of one file: kind, a one, processor, mode, owner, time, size, a
// one, checksum, and the length of a link's target.
func pathInfo(n *node, mtime time.Time) []byte {
	const file, folder = 1, 2
	kind, architecture, sum := uint8(folder), uint16(0), uint32(0)
	if !n.mode.IsDir() {
		kind, architecture, sum = file, 3, cksum(n.data)
	}
	var b bytes.Buffer
	for _, v := range []any{kind, uint8(1), architecture, uint16(unixMode(n.mode)), uint32(0), uint32(0), uint32(mtime.Unix()),
		uint32(len(n.data)), uint8(1), sum, uint32(0)} {
		_ = binary.Write(&b, binary.BigEndian, v) // into memory
	}
	return b.Bytes()
}

// bytes writes the store: header, named blocks, blocks, and the table with an
// empty list of free ones.
func (s *bomStore) bytes(vars []byte) []byte {
	var body, table bytes.Buffer
	body.Write(vars)
	put := func(v ...uint32) { _ = binary.Write(&table, binary.BigEndian, v) } // into memory
	put(uint32(len(s.blocks)+1), 0, 0)
	for _, b := range s.blocks {
		put(uint32(bomHeaderSize+body.Len()), uint32(len(b)))
		body.Write(b)
	}
	put(2, 0, 0, 0, 0)
	header := make([]byte, bomHeaderSize)
	copy(header, "BOMStore")
	for i, v := range []int{1, len(s.blocks), bomHeaderSize + body.Len(), table.Len(), bomHeaderSize, len(vars)} {
		binary.BigEndian.PutUint32(header[8+4*i:], uint32(v))
	}
	return bytes.Join([][]byte{header, body.Bytes(), table.Bytes()}, nil)
}

// cksum is the checksum of cksum(1) in POSIX: a CRC of the data and of its
// length.
func cksum(data []byte) uint32 {
	var crc uint32
	feed := func(b byte) {
		crc ^= uint32(b) << 24
		for range 8 {
			if crc&0x80000000 != 0 {
				crc = crc<<1 ^ 0x04c11db7
			} else {
				crc <<= 1
			}
		}
	}
	for _, b := range data {
		feed(b)
	}
	for n := len(data); n > 0; n >>= 8 {
		feed(byte(n))
	}
	return ^crc
}
