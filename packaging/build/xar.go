package main

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"io/fs"
	"time"
)

// xarFile is a file of a xar archive.
type xarFile struct {
	name   string
	data   []byte
	packed bool // compressed already: stored as it is
}

// xar writes an archive of the format xar 1.0: a header, a table of contents in
// compressed XML, and a heap that begins with the table's SHA-1. The format is
// described in https://github.com/apple-oss-distributions/xar (wiki and
// xar.h.in); SHA-1 is what installers expect, and no protection.
func xar(files []xarFile, mtime time.Time) ([]byte, error) {
	var heap, toc bytes.Buffer
	stamp := mtime.UTC().Format(time.RFC3339)
	fmt.Fprintf(&toc, `<?xml version="1.0" encoding="UTF-8"?>
<xar>
 <toc>
  <creation-time>%s</creation-time>
  <checksum style="sha1"><offset>0</offset><size>%d</size></checksum>
`, stamp[:len(stamp)-1], sha1.Size)
	for i, f := range files {
		stored, encoding := f.data, "application/octet-stream"
		if !f.packed {
			var err error
			if stored, err = deflated(f.data); err != nil {
				return nil, fmt.Errorf("compress %s: %w", f.name, err)
			}
			encoding = "application/x-gzip" // xar's word for zlib
		}
		fmt.Fprintf(&toc, `  <file id="%d">
   <name>%s</name>
   <type>file</type>
   <mode>0644</mode>
   <uid>0</uid>
   <gid>0</gid>
   <user>root</user>
   <group>wheel</group>
   <mtime>%s</mtime>
   <data>
    <offset>%d</offset>
    <length>%d</length>
    <size>%d</size>
    <encoding style="%s"/>
    <archived-checksum style="sha1">%x</archived-checksum>
    <extracted-checksum style="sha1">%x</extracted-checksum>
   </data>
  </file>
`, i+1, f.name, stamp, sha1.Size+heap.Len(), len(stored), len(f.data), encoding, sha1.Sum(stored), sha1.Sum(f.data))
		heap.Write(stored)
	}
	toc.WriteString(" </toc>\n</xar>\n")
	packed, err := deflated(toc.Bytes())
	if err != nil {
		return nil, fmt.Errorf("compress the table of contents: %w", err)
	}
	var out bytes.Buffer
	header := struct {
		Magic                uint32
		Size, Version        uint16
		Packed, Unpacked     uint64
		ChecksumAlgorithmOne uint32
	}{0x78617221, 28, 1, uint64(len(packed)), uint64(toc.Len()), 1}
	_ = binary.Write(&out, binary.BigEndian, header) // into memory
	sum := sha1.Sum(packed)
	out.Write(packed)
	out.Write(sum[:])
	out.Write(heap.Bytes())
	return out.Bytes(), nil
}

func deflated(data []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := zlib.NewWriterLevel(&out, zlib.BestCompression)
	if err != nil {
		return nil, err
	}
	_, _ = w.Write(data) // into memory
	err = w.Close()      // before the bytes are taken
	return out.Bytes(), err
}

// cpioGz writes nodes as a compressed cpio archive of the portable form (odc,
// cpio(5)), whose numbers are octal text. Times and numbers of files are the
// same each time.
func cpioGz(nodes []*node, mtime time.Time) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	record := func(name string, ino, mode, links int, data []byte) {
		seconds := mtime.Unix()
		fmt.Fprintf(w, "070707%06o%06o%06o%06o%06o%06o%06o%011o%06o%011o%s\x00", 0, ino, mode, 0, 0, links, 0, seconds, len(name)+1, len(data), name)
		_, _ = w.Write(data) // into memory
	}
	for _, n := range nodes {
		record(n.name, int(n.id), unixMode(n.mode), 1, n.data)
	}
	record("TRAILER!!!", 0, 0, 1, nil)
	_ = w.Close() // into memory
	return out.Bytes()
}

// unixMode is a mode as stat(2) gives it.
func unixMode(m fs.FileMode) int {
	const directory, regular = 0o040000, 0o100000
	if m.IsDir() {
		return directory | int(m.Perm())
	}
	return regular | int(m.Perm())
}
