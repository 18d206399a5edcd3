package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
)

func TestLogFileIsSetAsideWhenLarge(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	a := &app{err: os.Stderr}
	say := func(line string) {
		t.Helper()
		if err := a.logToFile(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := a.err.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		_ = debug.SetCrashOutput(nil, debug.CrashOptions{}) // else Windows keeps the file from being removed
		_ = a.err.(*logFile).file.Close()
	})
	say("line\n")
	if err := a.err.(*logFile).file.Close(); err != nil {
		t.Fatal(err)
	}
	a.err = os.Stderr // as after a start
	say("line\n")
	path := filepath.Join(dir, "digime-sync.log")
	if data, err := os.ReadFile(path); err != nil || string(data) != "line\nline\n" {
		t.Fatalf("%q, %v: a start must add to the log", data, err)
	}
	long := bytes.Repeat([]byte("x"), largestLog)
	say(string(long))
	say("the first of a new file\n")
	if info, err := os.Stat(path + ".1"); err != nil || info.Size() != largestLog+10 {
		t.Errorf("the large log was not kept: %v", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "the first of a new file\n" {
		t.Errorf("the new log holds %d bytes, %v", len(data), err)
	}
}
