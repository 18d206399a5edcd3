package main

import (
	"context"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/digime-sync/digime-sync/sync/engine"
)

// The running daemon's word about a folder counts more than what check finds.
func TestDaemonsView(t *testing.T) {
	state := t.TempDir()
	ok := finding{Check: "folder", Subject: "/in", State: checkOK, Message: "it can be read"}
	if got := withDaemonsView(state, []finding{ok}); len(got) != 1 || got[0] != ok {
		t.Errorf("without a daemon: %+v", got)
	}
	var view engine.FolderStatus
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("path") != state {
			t.Errorf("asked for the files of %q", r.FormValue("path"))
		}
		answer(w, engine.Status{Folders: []engine.FolderStatus{view}}, nil)
	})
	l, err := listenControl(state)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serveControl(ctx, l, mux) }()
	defer func() { cancel(); must(t, <-done) }()
	for _, tt := range []struct {
		name, state, message string
		own                  finding
		view                 engine.FolderStatus
	}{
		{"the same", checkOK, "it can be read", ok, engine.FolderStatus{Path: "/in", State: "ok"}},
		{"not looked yet", checkOK, "it can be read", ok, engine.FolderStatus{Path: "/in", State: "unseen"}},
		{"another folder", checkOK, "it can be read", ok, engine.FolderStatus{Path: filepath.Join("/in", "x"), State: "missing"}},
		{"not a folder", checkOK, "", finding{Check: "state", Subject: "/in", State: checkOK}, engine.FolderStatus{Path: "/in", State: "missing"}},
		{"it cannot read", checkFail, "the running service finds it unreadable: may not; here: it can be read", ok, engine.FolderStatus{Path: "/in", State: "unreadable", Reason: "may not"}},
		{"it cannot write", checkWarn, "it can be read; the running service cannot write to it, and its notes lie in /notes", ok, engine.FolderStatus{Path: "/in", State: "ok", Notes: "/notes"}},
		{"it cannot read all", checkWarn, "it can be read; the running service finds: 1 of its subfolders", ok, engine.FolderStatus{Path: "/in", State: "ok", Shut: true, Reason: "1 of its subfolders"}},
		{"it can", checkFail, "no; the running service finds it ok", finding{Check: "folder", Subject: "/in", State: checkFail, Message: "no"}, engine.FolderStatus{Path: "/in", State: "ok"}},
	} {
		view = tt.view
		got := withDaemonsView(state, []finding{tt.own})[0]
		if got.State != tt.state || got.Message != tt.message {
			t.Errorf("%s: %s %q", tt.name, got.State, got.Message)
		}
	}
}
