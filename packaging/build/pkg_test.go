package main

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"encoding/xml"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var testTime = time.Unix(1_700_000_000, 0).UTC()

// testPackage is a package of three files.
func testPackage(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	if err := os.WriteFile(source, []byte("123456789"), 0o644); err != nil {
		t.Fatal(err)
	}
	b := &build{version: "1.2.3", mtime: testTime}
	root, err := b.stage(filepath.Join(dir, "root"), []entry{{"usr/local/bin/digime-sync", source, 0o755}, {"Library/x.plist", source, 0o644}})
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := b.stage(filepath.Join(dir, "scripts"), []entry{{"postinstall", source, 0o755}})
	if err != nil {
		t.Fatal(err)
	}
	pkg, err := b.flatPackage(root, scripts)
	if err != nil {
		t.Fatal(err)
	}
	return pkg
}

// unxar reads an archive by its table of contents and checks every sum in it.
func unxar(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	if binary.BigEndian.Uint32(data) != 0x78617221 {
		t.Fatal("the archive does not begin with xar!")
	}
	header, packed := binary.BigEndian.Uint16(data[4:]), binary.BigEndian.Uint64(data[8:])
	table := data[header : uint64(header)+packed]
	heap := data[uint64(header)+packed:]
	if sum := sha1.Sum(table); !bytes.Equal(sum[:], heap[:sha1.Size]) {
		t.Error("the sum of the table of contents is not that of the heap")
	}
	var toc struct {
		Files []struct {
			Name string `xml:"name"`
			Data struct {
				Offset, Length, Size int
				Encoding             struct {
					Style string `xml:"style,attr"`
				} `xml:"encoding"`
				Archived  string `xml:"archived-checksum"`
				Extracted string `xml:"extracted-checksum"`
			} `xml:"data"`
		} `xml:"toc>file"`
	}
	text := inflate(t, table)
	if len(text) != int(binary.BigEndian.Uint64(data[16:])) {
		t.Error("the table of contents has another length than the header says")
	}
	lower := strings.NewReplacer("<offset>", "<Offset>", "</offset>", "</Offset>", "<length>", "<Length>", "</length>", "</Length>",
		"<size>", "<Size>", "</size>", "</Size>").Replace(string(text))
	if err := xml.Unmarshal([]byte(lower), &toc); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, f := range toc.Files {
		stored := heap[f.Data.Offset : f.Data.Offset+f.Data.Length]
		content := stored
		if f.Data.Encoding.Style == "application/x-gzip" {
			content = inflate(t, stored)
		}
		if fmt.Sprintf("%x", sha1.Sum(stored)) != f.Data.Archived || fmt.Sprintf("%x", sha1.Sum(content)) != f.Data.Extracted || len(content) != f.Data.Size {
			t.Errorf("%s: sums or size are wrong", f.Name)
		}
		files[f.Name] = content
	}
	return files
}

func inflate(t *testing.T, data []byte) []byte {
	t.Helper()
	r, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// uncpio lists an archive of the form odc: name → mode and content.
func uncpio(t *testing.T, packed []byte) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for len(data) > 0 {
		octal := func(from, to int) int {
			n, err := strconv.ParseInt(string(data[from:to]), 8, 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
		if string(data[:6]) != "070707" {
			t.Fatalf("no header at %q", data[:6])
		}
		mode, nameSize, size := octal(18, 24), octal(59, 65), octal(65, 76)
		name := string(data[76 : 76+nameSize-1])
		if name == "TRAILER!!!" {
			return files
		}
		files[name] = fmt.Sprintf("%o %s", mode, data[76+nameSize:76+nameSize+size])
		data = data[76+nameSize+size:]
	}
	t.Fatal("the archive has no end")
	return nil
}

func TestFlatPackage(t *testing.T) {
	files := unxar(t, testPackage(t))
	if info := string(files["PackageInfo"]); !strings.Contains(info, `version="1.2.3"`) || !strings.Contains(info, `numberOfFiles="7"`) {
		t.Errorf("PackageInfo: %s", info)
	}
	payload := uncpio(t, files["Payload"])
	for name, want := range map[string]string{
		".": "40755 ", "./usr": "40755 ", "./usr/local/bin": "40755 ",
		"./usr/local/bin/digime-sync": "100755 123456789", "./Library/x.plist": "100644 123456789",
	} {
		if payload[name] != want {
			t.Errorf("%s: %q, want %q", name, payload[name], want)
		}
	}
	if got := uncpio(t, files["Scripts"])["./postinstall"]; got != "100755 123456789" {
		t.Errorf("postinstall: %q", got)
	}
	paths := unbom(t, files["Bom"])
	if len(paths) != len(payload) {
		t.Errorf("the bill of materials lists %d paths, the payload %d", len(paths), len(payload))
	}
	// 930766865 is what cksum(1) says of 123456789.
	if got := paths["./usr/local/bin/digime-sync"]; got != "1 100755 9 930766865" {
		t.Errorf("bill of materials: %q", got)
	}
	if !bytes.Equal(testPackage(t), testPackage(t)) {
		t.Error("the package is another one each time")
	}
}

// unbom follows a bill of materials from its header to each path: kind, mode,
// size and checksum.
func unbom(t *testing.T, bom []byte) map[string]string {
	t.Helper()
	number := func(data []byte, at int) int { return int(binary.BigEndian.Uint32(data[at:])) }
	if string(bom[:8]) != "BOMStore" {
		t.Fatal("no bill of materials")
	}
	table := bom[number(bom, 16):]
	block := func(n int) []byte {
		address, length := number(table, 4+8*n), number(table, 8+8*n)
		return bom[address : address+length]
	}
	vars := bom[number(bom, 24):]
	named := map[string][]byte{}
	for i, at := number(vars, 0), 4; i > 0; i-- {
		size := int(vars[at+4])
		named[string(vars[at+5:at+5+size])] = block(number(vars, at))
		at += 5 + size
	}
	for _, name := range []string{"BomInfo", "Paths", "HLIndex", "VIndex", "Size64"} {
		if named[name] == nil {
			t.Errorf("no block %s", name)
		}
	}
	leaf := block(number(named["Paths"], 8))
	names, paths := map[int]string{}, map[string]string{}
	for i := range int(binary.BigEndian.Uint16(leaf[2:])) {
		info, file := block(number(leaf, 12+8*i)), block(number(leaf, 16+8*i))
		name := strings.TrimSuffix(string(file[4:]), "\x00")
		if parent := number(file, 0); parent != 0 {
			name = names[parent] + "/" + name
		}
		names[number(info, 0)] = name
		about := block(number(info, 4))
		paths[name] = fmt.Sprintf("%d %o %d %d", about[0], binary.BigEndian.Uint16(about[4:]), number(about, 18), uint32(number(about, 23)))
	}
	return paths
}

func TestUnixMode(t *testing.T) {
	if unixMode(fs.ModeDir|0o755) != 0o040755 || unixMode(0o644) != 0o100644 {
		t.Error("modes are not those of stat(2)")
	}
}
