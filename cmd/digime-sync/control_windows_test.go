package main

import (
	"strings"
	"testing"

	"golang.org/x/sys/windows"
)

func TestControlRefusesASecondListener(t *testing.T) {
	if windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil {
		t.Skip("Wine does not know FILE_FLAG_FIRST_PIPE_INSTANCE")
	}
	refuseSecondListener(t)
}

func TestPipeNameIsTheStateDirectorys(t *testing.T) {
	name := func(dir string) string {
		name, err := pipeName(dir)
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	const dir = `C:\ProgramData\digime-sync\state`
	for _, same := range []string{strings.ToUpper(dir), dir + `\`, `C:/ProgramData/digime-sync/x/../state`} {
		if name(same) != name(dir) {
			t.Errorf("%s has another pipe than %s", same, dir)
		}
	}
	if name(dir+"2") == name(dir) {
		t.Error("two state directories have one pipe")
	}
}
