package main

import "errors"

// What carries the control channel is a Unix domain socket in the state
// directory (control_unix.go), on Windows a named pipe (control_windows.go).
// Only the daemon's own account and the administrator may open either, and both
// ends look at who the other one is. Each system has
//
//	listenControl(stateDir)    net.Listener; the caller holds the database's lock
//	dialControl(ctx, stateDir) net.Conn, errNoDaemon when nobody listens

// errNoDaemon says that no daemon listens for this state directory.
var errNoDaemon = errors.New("no daemon is running")
