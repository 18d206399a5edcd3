package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
)

// What a universal binary needs to say (mach-o/fat.h and mach/machine.h of
// Apple's XNU): a header and a table, big-endian, then the programs, each at a
// multiple of its alignment.
const (
	fatMagic        = 0xcafebabe
	cpuX8664        = 0x01000007
	cpuSubtypeX8664 = 3
	cpuARM64        = 0x0100000c
	cpuSubtypeARM64 = 0
	fatAlign        = 14 // 2^14: the larger page of the two
)

type fatArch struct{ CPU, Subtype, Offset, Size, Align uint32 }

// universal returns the path of the one program for both kinds of Mac.
func (b *build) universal() (path string, err error) {
	if path, built := b.binaries["darwin/universal"]; built {
		return path, nil
	}
	var programs [][]byte
	archs := []fatArch{{CPU: cpuX8664, Subtype: cpuSubtypeX8664, Align: fatAlign}, {CPU: cpuARM64, Subtype: cpuSubtypeARM64, Align: fatAlign}}
	for _, arch := range []string{"amd64", "arm64"} {
		program, err := b.binary("darwin", arch)
		if err != nil {
			return "", err
		}
		data, err := os.ReadFile(program)
		if err != nil {
			return "", fmt.Errorf("read program: %w", err)
		}
		programs = append(programs, data)
	}
	path = filepath.Join(b.work, "darwin_universal", "digime-sync")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("make folder: %w", err)
	}
	if err := os.WriteFile(path, fat(archs, programs), 0o755); err != nil {
		return "", fmt.Errorf("write universal program: %w", err)
	}
	b.binaries["darwin/universal"] = path
	return path, nil
}

// fat joins programs; archs says what each is for, and gets offsets and sizes.
func fat(archs []fatArch, programs [][]byte) []byte {
	const page = 1 << fatAlign
	offset := uint32(page)
	for i, p := range programs {
		archs[i].Offset, archs[i].Size = offset, uint32(len(p))
		offset = (offset + uint32(len(p)) + page - 1) / page * page
	}
	var out bytes.Buffer
	_ = binary.Write(&out, binary.BigEndian, []uint32{fatMagic, uint32(len(archs))}) // into memory
	_ = binary.Write(&out, binary.BigEndian, archs)
	for i, p := range programs {
		out.Write(make([]byte, int(archs[i].Offset)-out.Len()))
		out.Write(p)
	}
	return out.Bytes()
}
