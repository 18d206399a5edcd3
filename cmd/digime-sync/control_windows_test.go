package main

import (
	"errors"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"
)

func TestControlRefusesASecondListener(t *testing.T) {
	if windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil {
		t.Skip("Wine does not know FILE_FLAG_FIRST_PIPE_INSTANCE")
	}
	refuseSecondListener(t)
}

func TestControlRefusesAnotherUsersPipe(t *testing.T) {
	dir := t.TempDir()
	name, err := pipeName(dir)
	if err != nil {
		t.Fatal(err)
	}
	sd, err := windows.SecurityDescriptorFromString("O:BGD:P(A;;GA;;;WD)") // Guests own it, all may open it
	if err != nil {
		t.Fatal(err)
	}
	others := &pipeListener{name: name, access: &windows.SecurityAttributes{
		Length: uint32(unsafe.Sizeof(windows.SecurityAttributes{})), SecurityDescriptor: sd,
	}}
	others.next, err = others.instance(windows.FILE_FLAG_FIRST_PIPE_INSTANCE)
	if errors.Is(err, windows.ERROR_INVALID_OWNER) {
		t.Skip("Windows lets nobody but backup programs make a pipe for another; Wine does")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer others.release()
	conn, err := dialControl(t.Context(), dir)
	if err == nil || errors.Is(err, errNoDaemon) || !strings.Contains(err.Error(), "S-1-5-32-546") {
		t.Errorf("connected to another user's pipe: %v, %v", conn, err)
	}
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
