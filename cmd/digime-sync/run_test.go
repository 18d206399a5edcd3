package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLogFileIsSetAsideWhenLarge(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	for range 2 {
		f, err := openLogFile(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("line\n"); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "digime-sync.log")
	if data, err := os.ReadFile(path); err != nil || string(data) != "line\nline\n" {
		t.Fatalf("%q, %v: a start must add to the log", data, err)
	}
	if err := os.Truncate(path, largestLog+1); err != nil {
		t.Fatal(err)
	}
	f, err := openLogFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := os.Stat(path + ".1"); err != nil || info.Size() != largestLog+1 {
		t.Errorf("the large log was not kept: %v", err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != 0 {
		t.Errorf("the new log is not empty: %v", err)
	}
}
