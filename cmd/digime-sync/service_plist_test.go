package main

import (
	"testing"

	"howett.net/plist"

	"github.com/digime-sync/digime-sync/packaging"
)

func TestPlistIsThePackagesOwn(t *testing.T) {
	if renderPlist(packaging.MacProgram, packaging.MacConfig) != packaging.Plist {
		t.Error("for the packages' paths the plist must be theirs, verbatim")
	}
	var p struct {
		Label                  string
		UserName               string
		ProgramArguments       []string
		KeepAlive, RunAtLoad   bool
		ExitTimeOut, Umask     int
		SoftResourceLimits     map[string]int
		ThrottleInterval       int
		HardResourceLimits     map[string]int
		GroupName, ProcessType string
	}
	const exe, config = "/opt/a & b/digime-sync", "/Users/it/<config>.yaml"
	if _, err := plist.Unmarshal([]byte(renderPlist(exe, config)), &p); err != nil {
		t.Fatal(err)
	}
	if len(p.ProgramArguments) != 4 || p.ProgramArguments[0] != exe || p.ProgramArguments[3] != config {
		t.Errorf("it runs %q", p.ProgramArguments)
	}
	if p.Label != packaging.MacLabel || !p.KeepAlive || !p.RunAtLoad || p.UserName == "" || p.Umask != 0o22 ||
		p.ExitTimeOut <= int(stopWait.Seconds()) || p.SoftResourceLimits["NumberOfFiles"] < 10240 {
		t.Errorf("plist %+v", p)
	}
}
