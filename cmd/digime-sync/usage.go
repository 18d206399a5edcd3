package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/digime-sync/digime-sync/sidecar"
)

// inOurWords has every command say in our words what is wrong with its command
// line, and what to type. A command that only has further ones shows its help,
// and takes no other word: cobra would show help and call that done.
func inOurWords(cmd *cobra.Command) {
	if cmd.HasSubCommands() {
		cmd.Args, cmd.DisableFlagsInUseLine = cobra.ArbitraryArgs, true
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		}
		for _, sub := range cmd.Commands() {
			inOurWords(sub)
		}
		return
	}
	check := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if check != nil && check(cmd, args) != nil {
			return wrongArgs(cmd, args)
		}
		if slices.Contains(args, "") { // as of a variable that is not set: it must not mean all
			return failure(exitUsage, typeThis(cmd), "%s: an argument is empty", cmd.CommandPath())
		}
		return nil
	}
}

// typeThis is the hint how a command is typed.
func typeThis(cmd *cobra.Command) string {
	return "type: " + strings.TrimSuffix(cmd.UseLine(), " [flags]") + "; more: " + cmd.CommandPath() + " --help"
}

func unknownCommand(cmd *cobra.Command, name string) error {
	hint := cmd.CommandPath() + " --help lists the commands"
	cmd.SuggestionsMinimumDistance = 2 // letters
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		slices.Sort(near)
		hint = "did you mean " + cmd.CommandPath() + " " + strings.Join(near, " or ") + "? " + hint
	}
	return failure(exitUsage, hint, "there is no command %q", cmd.CommandPath()+" "+name)
}

// wrongArgs says by a command's Use what is missing or too many.
func wrongArgs(cmd *cobra.Command, args []string) error {
	hint := typeThis(cmd)
	words := strings.Fields(cmd.Use)[1:]
	if i := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "-") }); i >= 0 {
		words = words[:i]
	}
	endless := len(words) > 0 && strings.HasSuffix(words[len(words)-1], "…")
	switch {
	case len(args) < len(words) && !strings.HasPrefix(words[len(args)], "["):
		return failure(exitUsage, hint, "%s: %s is missing", cmd.CommandPath(), strings.TrimSuffix(words[len(args)], "…"))
	case len(args) > len(words) && !endless && len(words) == 0:
		return failure(exitUsage, hint, "%s takes no %q", cmd.CommandPath(), args[0])
	case len(args) > len(words) && !endless:
		return failure(exitUsage, hint, "%s: %q is too many", cmd.CommandPath(), args[len(words)])
	}
	return failure(exitUsage, hint, "%s: %q is not one of %s", cmd.CommandPath(), args[len(args)-1], strings.Join(cmd.ValidArgs, ", "))
}

// wrongFlag adds to what is wrong with a flag the name that may be meant.
func wrongFlag(cmd *cobra.Command, err error) error {
	hint := cmd.CommandPath() + " --help lists the flags"
	if name, unknown := strings.CutPrefix(err.Error(), "unknown flag: --"); unknown {
		var names []string
		for _, line := range strings.Fields(cmd.Flags().FlagUsages() + cmd.InheritedFlags().FlagUsages()) {
			if flag, ok := strings.CutPrefix(line, "--"); ok {
				names = append(names, flag)
			}
		}
		if near := sidecar.Nearest(name, names); near != "" {
			hint = "did you mean --" + near + "? " + hint
		}
	}
	return failure(exitUsage, hint, "%s: %w", cmd.CommandPath(), err)
}
