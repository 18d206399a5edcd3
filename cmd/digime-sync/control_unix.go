//go:build linux || darwin

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	socketName = "control.sock"
	maxSunPath = len(unix.RawSockaddrUnix{}.Path) - 1 // bytes before the final NUL: 107 on Linux, 103 on macOS
)

// listenControl opens the control socket, mode 0600. A socket that a killed
// daemon left is replaced; one that still answers, or anything that is no
// socket, is an error and stays as it is. Close removes the socket.
func listenControl(stateDir string) (net.Listener, error) {
	path := filepath.Join(stateDir, socketName)
	if err := removeStale(stateDir, path); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l, err := listenSocket(stateDir)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return &socketListener{current: l, stateDir: stateDir, path: path}, nil
}

func listenSocket(stateDir string) (*net.UnixListener, error) {
	var l *net.UnixListener
	err := withShortPath(stateDir, func(short string) (err error) {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it knows the short path only
	// Until here the umask decided; whoever came in meanwhile fails in Accept.
	if err := os.Chmod(filepath.Join(stateDir, socketName), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("protect control socket: %w", err), l.Close())
	}
	return l, nil
}

// removeStale makes room for the socket.
func removeStale(stateDir, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("something that is no socket lies there")
	}
	conn, err := dialSocket(context.Background(), stateDir)
	if err == nil {
		return errors.Join(errors.New("another daemon answers there"), conn.Close())
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// socketCheck is how often it is looked whether the socket is still there.
const socketCheck = 5 * time.Second

// socketListener accepts connections of our own user and of root only. A socket
// that somebody deletes is made again.
type socketListener struct {
	stateDir, path string

	mu      sync.Mutex
	current *net.UnixListener
	closed  bool // a second Close must not remove the next daemon's socket
}

// listener returns the listener, with a deadline for the next look at its socket.
func (l *socketListener) listener() (*net.UnixListener, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, net.ErrClosed
	}
	return l.current, l.current.SetDeadline(time.Now().Add(socketCheck))
}

// mend listens anew where the socket was deleted; where that cannot be done it
// is tried again at the next look.
func (l *socketListener) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := os.Lstat(l.path); l.closed || !errors.Is(err, fs.ErrNotExist) {
		return
	}
	next, err := listenSocket(l.stateDir)
	if err != nil {
		return
	}
	_ = l.current.Close() // nobody can reach it any more
	l.current = next
	slog.Warn("the control socket was deleted while the service ran; it was made again", "path", l.path)
}

// Addr is the socket's.
func (l *socketListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Accept waits for the next connection; whoever else comes is turned away. The
// socket's mode keeps others out already: this holds if the mode is changed.
func (l *socketListener) Accept() (net.Conn, error) {
	for {
		current, err := l.listener()
		if err != nil {
			return nil, err
		}
		conn, err := current.AcceptUnix()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			l.mend()
			continue
		}
		if err != nil {
			return nil, err
		}
		if uid, err := peerUID(conn); err == nil && (uid == 0 || uid == os.Geteuid()) {
			return conn, nil
		}
		_ = conn.Close() // nothing was said to him
	}
}

// Close removes the socket, then stops Accept.
func (l *socketListener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	l.closed = true
	err := os.Remove(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, l.current.Close())
}

// dialControl connects to the running daemon. Errors: errNoDaemon when there is
// none, also when a killed one left its socket; fs.ErrPermission for a user who
// may not; an error when the one who listens is neither root, nor this user, nor
// the state directory's owner.
func dialControl(ctx context.Context, stateDir string) (net.Conn, error) {
	path := filepath.Join(stateDir, socketName)
	conn, err := dialSocket(ctx, stateDir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, fmt.Errorf("%w: nothing listens on %s", errNoDaemon, path)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	if err := checkDaemon(conn, stateDir); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to %s: %w", path, err), conn.Close())
	}
	return conn, nil
}

func dialSocket(ctx context.Context, stateDir string) (conn *net.UnixConn, err error) {
	err = withShortPath(stateDir, func(short string) error {
		var d net.Dialer
		conn, err = d.DialUnix(ctx, "unix", nil, &net.UnixAddr{Name: short, Net: "unix"})
		return err
	})
	return conn, err
}

// checkDaemon says whether the one who listens is the daemon, as far as his user
// tells.
func checkDaemon(conn *net.UnixConn, stateDir string) error {
	uid, err := peerUID(conn)
	if err != nil {
		return fmt.Errorf("ask who listens: %w", err)
	}
	if uid == 0 || uid == os.Geteuid() {
		return nil
	}
	info, err := os.Stat(stateDir)
	if err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); !ok || int(owner.Uid) != uid {
		return fmt.Errorf("user %d listens there, who is not the daemon's", uid)
	}
	return nil
}

// peerUID returns the user at the other end: for a client the one who listened.
func peerUID(conn *net.UnixConn) (uid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := raw.Control(func(fd uintptr) { uid, err = socketPeer(int(fd)) })
	return uid, errors.Join(controlErr, err)
}

// withShortPath calls use with a path of the control socket that a socket address
// can hold. Where the state directory's is too long, use gets a path through a
// symbolic link to it, which lies in a new directory of mode 0700 for as long as
// use runs: nobody else can put another link in its place, the two ends need not
// agree on a name, and the process keeps its working directory.
func withShortPath(stateDir string, use func(path string) error) error {
	path := filepath.Join(stateDir, socketName)
	if len(path) <= maxSunPath {
		return use(path)
	}
	target, err := filepath.Abs(stateDir)
	if err != nil {
		return err
	}
	private, err := os.MkdirTemp("", "digime-sync-")
	if err != nil {
		return fmt.Errorf("shorten path: %w", err)
	}
	defer os.RemoveAll(private)
	link := filepath.Join(private, "s")
	if err := os.Symlink(target, link); err != nil {
		return fmt.Errorf("shorten path: %w", err)
	}
	return use(filepath.Join(link, socketName))
}
