package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/kardianos/service"
	"howett.net/plist"

	"github.com/digime-sync/digime-sync/packaging"
	"github.com/digime-sync/digime-sync/store"
)

// launchd's domain and name of the service, as launchctl(1) wants them.
const (
	launchDomain = "system"
	launchTarget = launchDomain + "/" + packaging.MacLabel
	plistFile    = "/Library/LaunchDaemons/" + packaging.MacLabel + ".plist"
	serviceUser  = "_digimesync"
)

// mayManage says why this user cannot change services here.
func mayManage() error {
	if os.Geteuid() != 0 {
		return failure(exitError, "sudo digime-sync service …", "only root can change services")
	}
	return nil
}

// mayUninstall allows it: the package's own uninstaller does the same.
func mayUninstall() error { return nil }

// installService puts plist and account in place. What it did is taken back when
// something fails.
func installService(ctx context.Context, exe, config string) (outcome string, err error) {
	text := renderPlist(exe, config)
	var undo undoing
	defer func() { err = undo.unless(err) }()
	if err := makeAccount(ctx, &undo); err != nil {
		return "", err
	}
	if err := giveDataFolder(); err != nil {
		return "", err
	}
	before, err := os.ReadFile(plistFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s, err := handle(&service.Config{Name: packaging.MacLabel, Option: service.KeyValue{"LaunchdConfig": text}})
		if err != nil {
			return "", err
		}
		undo.add(func() error { return os.RemoveAll(plistFile) })
		if err := bounded(ctx, "install plist", s.Install); err != nil {
			return "", err
		}
		return outcomeInstalled, os.Chmod(plistFile, 0o644) // launchd takes no other mode
	case err != nil:
		return "", fmt.Errorf("read the plist that is there: %w", err)
	case string(before) == text:
		return outcomeSame, nil
	}
	if err := store.WriteFile(plistFile, []byte(text), 0o644); err != nil {
		return "", fmt.Errorf("replace plist: %w", err)
	}
	return outcomeReplaced, nil
}

// makeAccount makes the service's user and group where they are missing, with a
// number that is free below those of people.
func makeAccount(ctx context.Context, undo *undoing) error {
	if _, err := user.Lookup(serviceUser); err == nil {
		return nil
	}
	id := freeID()
	if id == 0 {
		return failure(exitError, "make the user "+serviceUser+" and a group of that name", "no user number from 300 to 499 is free")
	}
	number := strconv.Itoa(id)
	account, group := "/Users/"+serviceUser, "/Groups/"+serviceUser
	undo.add(func() error {
		_ = command(context.Background(), "dscl", ".", "-delete", account) // it may not have come to this
		return command(context.Background(), "dscl", ".", "-delete", group)
	})
	for _, args := range [][]string{
		{group}, {group, "PrimaryGroupID", number}, {group, "RealName", "digime-sync"},
		{account}, {account, "UniqueID", number}, {account, "PrimaryGroupID", number}, {account, "RealName", "digime-sync"},
		{account, "NFSHomeDirectory", "/var/empty"}, {account, "UserShell", "/usr/bin/false"}, {account, "IsHidden", "1"},
	} {
		if err := command(ctx, "dscl", append([]string{".", "-create"}, args...)...); err != nil {
			return fmt.Errorf("make the service's user: %w", err)
		}
	}
	return nil
}

func freeID() int {
	for id := 300; id < 500; id++ {
		_, noUser := user.LookupId(strconv.Itoa(id))
		_, noGroup := user.LookupGroupId(strconv.Itoa(id))
		if noUser != nil && noGroup != nil {
			return id
		}
	}
	return 0
}

// giveDataFolder makes the state folder and gives it to the service.
func giveDataFolder() error {
	account, err := user.Lookup(serviceUser)
	if err != nil {
		return fmt.Errorf("find the service's user: %w", err)
	}
	uid, err := strconv.Atoi(account.Uid)
	if err != nil {
		return fmt.Errorf("find the service's user: %w", err)
	}
	dir := filepath.Join(filepath.Dir(packaging.MacConfig), "state")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make state folder: %w", err)
	}
	if err := os.Chown(dir, uid, -1); err != nil {
		return fmt.Errorf("give the state folder to the service: %w", err)
	}
	return nil
}

func removeService(context.Context) error {
	if err := os.Remove(plistFile); err != nil {
		return fmt.Errorf("remove plist: %w", err)
	}
	return nil
}

// startService loads the service, or starts it again where it is loaded.
// kardianos/service uses load and unload, which launchctl(1) calls legacy and
// which fail without a word.
func startService(ctx context.Context) error {
	_ = command(ctx, "launchctl", "enable", launchTarget) // it is, unless somebody has disabled it
	if loaded(ctx) {
		return command(ctx, "launchctl", "kickstart", launchTarget)
	}
	return command(ctx, "launchctl", "bootstrap", launchDomain, plistFile)
}

func stopService(ctx context.Context) error {
	if !loaded(ctx) {
		return nil
	}
	return command(ctx, "launchctl", "bootout", launchTarget)
}

func loaded(ctx context.Context) bool {
	return exec.CommandContext(ctx, "launchctl", "print", launchTarget).Run() == nil
}

var (
	launchPID  = regexp.MustCompile(`(?m)^\s*pid = (\d+)`)
	launchExit = regexp.MustCompile(`(?m)^\s*last exit code = (.+)$`)
	launchRuns = regexp.MustCompile(`(?m)^\s*runs = (\d+)`)
)

// askManager asks launchd. A service that is loaded is always started again, so
// that one without a process is about to be.
func askManager(ctx context.Context) (managed, error) {
	data, err := os.ReadFile(plistFile)
	if errors.Is(err, fs.ErrNotExist) {
		return managed{State: stateNotInstalled}, nil
	}
	if err != nil {
		return managed{}, fmt.Errorf("read plist: %w", err)
	}
	m := managed{State: stateStopped, Enabled: true, Config: plistConfig(data)}
	out, err := exec.CommandContext(ctx, "launchctl", "print", launchTarget).Output()
	if err != nil {
		return m, nil // not loaded
	}
	find := func(what *regexp.Regexp) string {
		if found := what.FindSubmatch(out); found != nil {
			return strings.TrimSpace(string(found[1]))
		}
		return ""
	}
	m.PID, _ = strconv.Atoi(find(launchPID))
	if runs, err := strconv.Atoi(find(launchRuns)); err == nil && runs > 1 {
		m.Restarts = runs - 1
	}
	if m.State = stateRunning; m.PID == 0 {
		m.State, m.Reason = stateRestarting, "it ended with exit code "+find(launchExit)
		m.Hint = "look into digime-sync.log in the state folder"
	}
	return m, nil
}

// plistConfig finds the configuration in a plist of ours; "" in another one.
func plistConfig(data []byte) string {
	var p struct{ ProgramArguments []string }
	if _, err := plist.Unmarshal(data, &p); err != nil || len(p.ProgramArguments) != 4 {
		return ""
	}
	return p.ProgramArguments[3]
}
