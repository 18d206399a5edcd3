package store

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// tmpfs mounts a file system of the given size, or skips the test.
func tmpfs(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("mounting a tmpfs needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

func TestFullDisk(t *testing.T) {
	dir := tmpfs(t, "1m")
	s := open(t, dir)
	acked := map[string]bool{}
	fill := func() (err error) {
		for i := 0; err == nil && i < 10000; i++ {
			path := fmt.Sprintf("/in/%d/%s", len(acked), strings.Repeat("x", 200))
			if err = deliver(s, file(path, "alice", path)); err == nil {
				acked[path] = true
			}
		}
		return err
	}
	if err := fill(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("on the full disk: %v", err)
	}
	for i := range 20 { // small records and lines, so that one or the other still fits at times
		_, err := s.Enqueue(file(fmt.Sprintf("/s/%d", i), "alice", fmt.Sprint(i)), t0)
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("on the full disk: %v", err)
		}
		if err := s.Audit("note", File{Path: "/s"}); err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("on the full disk: %v", err)
		}
	}
	if _, _, err := s.Get("/in/0"); err != nil {
		t.Fatalf("reading on the full disk: %v", err)
	}
	before := len(acked)
	must(t, syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=4m"))
	if err := fill(); !errors.Is(err, syscall.ENOSPC) || len(acked) < before+100 {
		t.Fatalf("with room again: %d more deliveries, then %v", len(acked)-before, err)
	}
	must(t, syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=64m"))
	must(t, s.Close())
	checkAcked(t, dir, acked)
	must(t, os.Remove(dir+"/"+dbName))
	checkAcked(t, dir, acked)
	t.Logf("%d deliveries, %d of them before the disk was full", len(acked), before)
}

// checkAcked opens the store and demands every delivery, in database and log.
func checkAcked(t *testing.T, dir string, acked map[string]bool) {
	t.Helper()
	s := open(t, dir)
	defer s.Close()
	logged := map[string]int{}
	must(t, ReadAudit(dir, func(e Entry) error {
		if e.Event == EventDelivered {
			logged[e.Path]++
		}
		return nil
	}))
	for path := range acked {
		if state(t, s, path) != Delivered || logged[path] != 1 {
			t.Errorf("%.20s…: %s, %d lines in the audit log", path, state(t, s, path), logged[path])
		}
	}
	must(t, s.Files("", func(f File) error {
		if f.State == Delivered && logged[f.Path] == 0 {
			t.Errorf("%.20s… is delivered and not in the audit log", f.Path)
		}
		return nil
	}))
}

// Nothing begins on a full disk that could not be written down; what has begun is.
func TestRoomForTheAnswer(t *testing.T) {
	dir := tmpfs(t, "2m")
	s := open(t, dir)
	for i := range 60 { // the database has grown, and has free pages
		must(t, deliver(s, file(fmt.Sprint("/in/", i), "alice", fmt.Sprint(i))))
	}
	for _, path := range []string{"/in/a", "/in/b"} {
		_, err := s.Enqueue(file(path, "alice", path), t0)
		must(t, err)
	}
	f, ok, err := s.Begin("/in/a", t0, true)
	if err != nil || !ok {
		t.Fatalf("Begin = %v, %v", ok, err)
	}
	full, err := os.Create(dir + "/full")
	must(t, err)
	for err == nil {
		_, err = full.Write(make([]byte, 512))
	}
	must(t, full.Close())
	must(t, s.Close())
	s = open(t, dir)
	for err = error(nil); err == nil; { // what is left of the log's last page
		err = s.Audit("note", File{Path: "/s"})
	}
	if err := s.Delivered(f, t0); err != nil {
		t.Fatalf("the answer of a push that had begun: %v", err)
	}
	if _, _, err := s.Begin("/in/b", t0, true); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a push begins on a full disk: %v", err)
	}
	must(t, os.Remove(dir+"/full"))
	if _, ok, err := s.Begin("/in/b", t0, true); err != nil || !ok {
		t.Errorf("with room again: %v, %v", ok, err)
	}
	must(t, s.Close())
	checkAcked(t, dir, map[string]bool{"/in/a": true})
}

func TestWriteFileOnAFullDisk(t *testing.T) {
	dir := tmpfs(t, "64k")
	path := dir + "/token"
	must(t, WriteFile(path, []byte("old"), 0o600))
	if err := WriteFile(path, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("WriteFile = %v", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "old" {
		t.Fatalf("the old content is %q, %v", data, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Fatalf("left behind: %v", entries)
	}
}
