package main

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/digime-sync/digime-sync/sync/engine"
	"github.com/digime-sync/digime-sync/watcher"
)

const serviceOpens = "let the user the service runs as read it (every folder above it too), then: digime-sync service configure"

// withDaemonsView adds how the running daemon finds the folders, where that is
// not as they were found here. Its word counts: it carries the files, and a
// service manager may keep from it what its user may touch.
func withDaemonsView(stateDir string, list []finding) []finding {
	var s engine.Status
	// Of the files nothing is asked: none lies there.
	err := askSoon(context.Background(), 10*time.Second, stateDir, "/status", url.Values{"path": {stateDir}}, &s)
	if errors.Is(err, errHangs) {
		return append(list, finding{Check: "service", Subject: serviceName, State: checkFail,
			Message: "it runs, but hangs: " + err.Error(), Hint: explain(err).hint})
	}
	if err != nil {
		return list
	}
	views := map[string]engine.FolderStatus{}
	for _, f := range s.Folders {
		views[f.Path] = f
	}
	for i, f := range list {
		if view, known := views[f.Subject]; known && f.Check == "folder" {
			list[i] = compareViews(f, view)
		}
	}
	return list
}

// compareViews puts a folder's finding together with the daemon's view of it.
func compareViews(f finding, view engine.FolderStatus) finding {
	switch {
	case view.State == watcher.StateUnseen:
	case view.State != watcher.StateOK && f.State != checkFail:
		f.State, f.Hint = checkFail, serviceOpens
		f.Message = "the running service finds it " + view.State + ": " + view.Reason + "; here: " + f.Message
	case view.State == watcher.StateOK && f.State == checkFail:
		f.Message += "; the running service finds it " + view.State
	case view.Shut && f.State == checkOK:
		f.State, f.Hint = checkWarn, "let the user the service runs as read and enter all of its folders"
		f.Message += "; the running service finds: " + view.Reason
	case view.Notes != "" && f.State == checkOK:
		f.State, f.Hint = checkWarn, "let the user the service runs as write to it"
		f.Message += "; the running service cannot write to it, and its notes lie in " + view.Notes
	}
	return f
}
