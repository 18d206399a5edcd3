package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/kardianos/service"

	"github.com/digime-sync/digime-sync/packaging"
)

// Who has started this process decides who hears how it stands, and what an end
// means. Under a manager nobody sees the start: what may pass is waited for
// there, where in a terminal it is an error at once.

// underSystemd says whether systemd has started this process: a shell that
// systemd's user instance has started inherits INVOCATION_ID, but not these.
func underSystemd() bool {
	return os.Getenv("NOTIFY_SOCKET") != "" || os.Getenv("SYSTEMD_EXEC_PID") == strconv.Itoa(os.Getpid())
}

// underWindowsManager says whether this process is a service of Windows.
func underWindowsManager() bool { return runtime.GOOS == "windows" && !service.Interactive() }

// underLaunchd says whether launchd runs this process as the service.
func underLaunchd() bool { return os.Getenv("XPC_SERVICE_NAME") == packaging.MacLabel }

func underManager() bool { return underSystemd() || withoutOutput() }

// withoutOutput says whether nobody reads this process's standard error, nor
// looks at what it ends with.
func withoutOutput() bool { return underWindowsManager() || underLaunchd() }

// notify tells systemd something in the words of sd_notify(3). Where nobody
// listens it does nothing.
func notify(state string) {
	// systemd is on this machine: what it does not hear now it hears the next time.
	_, _ = systemd.SdNotify(false, state)
}

// watchdog is within what time systemd wants to hear that all is well; 0: it
// does not ask.
func watchdog() time.Duration {
	limit, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		return 0
	}
	return limit
}

// fedWhile feeds systemd's watchdog while something is done before the main loop
// begins: to rebuild a large database takes minutes, and starting anew would not
// hasten it.
func fedWhile(do func() error) error {
	limit := watchdog()
	if limit == 0 {
		return do()
	}
	done := make(chan struct{})
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		tick := time.NewTicker(limit / 4)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				notify("WATCHDOG=1")
			}
		}
	}()
	defer func() { close(done); <-fed }()
	return do()
}

// credentialsDir is what $CREDENTIALS_DIRECTORY is to the service: systemd.exec(5).
const credentialsDir = "/run/credentials/" + serviceName + ".service"

// What the unit gives as a credential: the key that is sealed to this machine under
// its name, or, where none is, noCredential, and a plain one under the name with
// plainCredential.
const (
	plainCredential = ".plain"
	noCredential    = "none"
)

// givenCredential is the file of the credential at path; of another file, path.
func givenCredential(path string) (string, error) {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" || filepath.Dir(path) != filepath.Clean(dir) {
		return path, nil
	}
	sealed, err := os.ReadFile(path)
	if err == nil && string(sealed) != noCredential {
		return path, nil
	}
	if _, err := os.Stat(path + plainCredential); err == nil {
		return path + plainCredential, nil
	}
	name := filepath.Base(path)
	return "", failure(exitConfig, "put the key into /etc/credstore/digime-sync."+name+
		" (root, mode 0600), or seal it: systemd-creds encrypt --name="+name+" FILE /etc/credstore.encrypted/digime-sync."+name+
		"; then digime-sync service configure && digime-sync service restart",
		"the service was given no credential %s", name)
}

// seeCredentials lets root's commands find what the service was given as
// credentials, as long as it runs: a configuration may name keys by
// $CREDENTIALS_DIRECTORY.
func seeCredentials() {
	if _, given := os.LookupEnv("CREDENTIALS_DIRECTORY"); given || underManager() || os.Geteuid() != 0 {
		return
	}
	if _, err := os.Stat(credentialsDir); err == nil {
		_ = os.Setenv("CREDENTIALS_DIRECTORY", credentialsDir) // else the configuration says what is missing
	}
}
