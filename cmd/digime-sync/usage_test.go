package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every command says in our words that its command line is wrong, with what to type.
func TestWrongCommandLines(t *testing.T) {
	root, _ := (&app{}).commands()
	checked := 0
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
		for n := range 4 {
			args := slices.Repeat([]string{"x"}, n)
			if cmd.Args == nil || cmd.Args(cmd, args) == nil {
				continue
			}
			checked++
			got := explain(cmd.Args(cmd, args))
			if got.code != exitUsage || !strings.Contains(got.hint, cmd.CommandPath()+" --help") || strings.Contains(got.Error(), "arg(s)") ||
				!strings.HasPrefix(got.Error(), cmd.CommandPath()+": ") && !strings.HasPrefix(got.Error(), cmd.CommandPath()+" takes no ") {
				t.Errorf("%s with %d arguments: %q, hint %q, exit %d", cmd.CommandPath(), n, got.Error(), got.hint, got.code)
			}
		}
	}
	walk(root)
	if checked < 40 {
		t.Errorf("only %d command lines were wrong", checked)
	}
}
