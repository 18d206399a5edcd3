package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"
)

// children are what this test binary does instead of testing when it is started
// with the arguments: child NAME ARGUMENT…
var children = map[string]func(args []string) error{
	"listen": listenChild, // STATEDIR
	"ask":    askChild,    // STATEDIR
	"run":    runChild,    // HOW [FILE]
}

// exitChild is how a child ends when it has an error.
const exitChild = 9

func init() {
	if len(os.Args) < 3 || os.Args[1] != "child" {
		return
	}
	if err := children[os.Args[2]](os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitChild)
	}
	os.Exit(0)
}

// listenChild is a daemon that only listens.
func listenChild(args []string) error {
	l, err := listenControl(args[0])
	if err != nil {
		return err
	}
	fmt.Println("ready")
	return http.Serve(l, http.HandlerFunc(echoPath))
}

// askChild says how far it gets with the daemon of a state directory.
func askChild(args []string) error {
	conn, err := dialControl(context.Background(), args[0])
	if err != nil {
		fmt.Printf("dial: %v, permission: %t\n", err, errors.Is(err, fs.ErrPermission))
		return nil
	}
	_, _ = io.WriteString(conn, "GET /secret HTTP/1.0\r\n\r\n") // whether it can is up to chance
	answer, _ := io.ReadAll(conn)
	fmt.Printf("connected, heard %d bytes\n", len(answer))
	return nil
}

// startChild starts this test binary as one of children and returns when it has
// said "ready". It is killed with the test.
func startChild(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"child"}, args...)...)
	said := startCommand(t, cmd)
	if line, err := said.ReadString('\n'); line != "ready\n" {
		t.Fatalf("child %v said %q, %v", args, line, err)
	}
	return cmd
}

// startCommand starts cmd and returns what it says on its standard output.
func startCommand(t *testing.T, cmd *exec.Cmd) *bufio.Reader {
	t.Helper()
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	return bufio.NewReader(out)
}

// within fails the test when the channel is not closed in time.
func within(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(soon):
		t.Fatalf("%s: not within %s", what, soon)
	}
}
