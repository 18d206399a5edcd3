package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/digime-sync/digime-sync/store"
)

// dropInFile opens to the service what its configuration names.
const dropInFile = "/etc/systemd/system/" + unitName + ".d/folders.conf"

// serviceConfigure writes the drop-in from the configuration. The package calls
// it before it starts the service, so it does not mind that nothing is
// configured yet.
func (a *app) serviceConfigure(config string) error {
	r, err := reachOf(config)
	if err != nil {
		return errors.Join(err, a.openBad(config))
	}
	if err := giveStateDir(config); err != nil {
		return err
	}
	changed, err := a.openUp(r)
	if err != nil {
		return err
	}
	if now, err := askManager(context.Background()); changed && err == nil && now.State == stateRunning {
		fmt.Fprintln(a.out, "it holds from the next start on: digime-sync service restart")
	}
	return r.refusal()
}

// openBad lets a service that is told nothing yet see the configuration it waits
// for, where the sandbox would hide that.
func (a *app) openBad(config string) error {
	dir := filepath.Dir(config)
	if _, err := os.Lstat(dropInFile); !errors.Is(err, fs.ErrNotExist) || !hidden(dir) {
		return nil
	}
	_, err := a.openUp(footprint{config: config, read: []string{dir}})
	return err
}

// looksInARow bounds how often a configuration that changes all the time is
// looked at again at once.
const looksInARow = 3

// serviceFollow is serviceConfigure where nobody looks on: it believes what root
// alone can write, and restarts a running service when the drop-in has changed.
// It looks again then, for a change that came meanwhile.
func (a *app) serviceFollow(config string) error {
	if why := notRoots(config); why != "" {
		return failure(exitConfig, "chown root and chmod go-w it, or: digime-sync service configure", "nothing is opened to the service by itself: %s", why)
	}
	var r footprint
	for range looksInARow {
		var err error
		if r, err = reachOf(config); err != nil {
			return err
		}
		changed, err := a.openUp(r)
		if err != nil {
			return err
		}
		if !changed {
			break
		}
		// It may take half a minute to stop.
		if err := command(context.Background(), "systemctl", "--no-block", "try-restart", unitName); err != nil {
			return fmt.Errorf("restart the service: %w", err)
		}
		fmt.Fprintln(a.out, "the service is restarted for it, if it runs")
	}
	return r.refusal()
}

// openUp writes the drop-in, and says whether that changed it.
func (a *app) openUp(r footprint) (changed bool, err error) {
	text, err := r.dropIn(realPath)
	if err != nil {
		return false, err
	}
	before, err := os.ReadFile(dropInFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("read drop-in: %w", err)
	}
	if string(before) == text {
		fmt.Fprintf(a.out, "already open to the service: what %s names\n", r.config)
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(dropInFile), 0o755); err != nil {
		return false, fmt.Errorf("make folder of the drop-in: %w", err)
	}
	if err := store.WriteFile(dropInFile, []byte(text), 0o644); err != nil {
		return false, fmt.Errorf("write drop-in: %w", err)
	}
	if _, err := os.Stat("/run/systemd/system"); err == nil { // not while an image is built
		if err := systemctl(context.Background(), "daemon-reload"); err != nil {
			return false, err
		}
	}
	fmt.Fprintf(a.out, "opened to the service what %s names (%s)\n", r.config, dropInFile)
	return true, nil
}

// unopened says that the configuration names what is not open to the installed
// service yet; "" when all is, nothing is installed, or this user cannot tell.
func unopened(config string) string {
	r, err := reachOf(config)
	if err != nil {
		return ""
	}
	if err := r.refusal(); err != nil {
		return err.Error()
	}
	wanted, err := r.dropIn(realPath)
	if err != nil || !strings.Contains(wanted, "=") {
		return ""
	}
	_, own := os.Stat(unitFile)
	have, err := os.ReadFile(dropInFile)
	if own != nil && packagedUnit() == "" || err != nil && !errors.Is(err, fs.ErrNotExist) || string(have) == wanted {
		return ""
	}
	return "the configuration names folders or keys that are not open to the service yet"
}

// openHint is how they are opened.
func openHint() string {
	const byHand = "digime-sync service configure, then digime-sync service restart"
	if _, err := os.Lstat(followsFile); err != nil {
		return byHand
	}
	return "nothing: it is opened by itself within seconds; if not (journalctl -u digime-sync-configure says why): " + byHand
}

// giveStateDir makes a state folder that is not the unit's, which systemd makes,
// and gives it to the service.
func giveStateDir(config string) error {
	dir := stateDirOf(config)
	if _, err := os.Stat(dir); err == nil || dir == defaultStateDir() {
		return nil
	}
	account, err := user.Lookup(serviceUser)
	if err != nil {
		return nil // it comes with the service
	}
	uid, err := strconv.Atoi(account.Uid)
	if err != nil {
		return fmt.Errorf("find the service's user: %w", err)
	}
	gid, err := strconv.Atoi(account.Gid)
	if err != nil {
		return fmt.Errorf("find the service's group: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make state folder: %w", err)
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		return fmt.Errorf("give the state folder to the service: %w", err)
	}
	return nil
}
