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
		return err
	}
	text, err := r.dropIn(realPath)
	if err != nil {
		return err
	}
	before, err := os.ReadFile(dropInFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read drop-in: %w", err)
	}
	if err := giveStateDir(config); err != nil {
		return err
	}
	if string(before) == text {
		fmt.Fprintf(a.out, "already open to the service: what %s names\n", config)
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dropInFile), 0o755); err != nil {
		return fmt.Errorf("make folder of the drop-in: %w", err)
	}
	if err := store.WriteFile(dropInFile, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write drop-in: %w", err)
	}
	if _, err := os.Stat("/run/systemd/system"); err == nil { // not while an image is built
		if err := systemctl(context.Background(), "daemon-reload"); err != nil {
			return err
		}
	}
	fmt.Fprintf(a.out, "opened to the service what %s names (%s)\n", config, dropInFile)
	if now, err := askManager(context.Background()); err == nil && now.State == stateRunning {
		fmt.Fprintln(a.out, "it holds from the next start on: digime-sync service restart")
	}
	return nil
}

// unopened says that the configuration names what is not open to the installed
// service yet; "" when all is, nothing is installed, or this user cannot tell.
func unopened(config string) string {
	r, err := reachOf(config)
	if err != nil {
		return ""
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
const openHint = "digime-sync service configure, then digime-sync service restart"

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
