package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

const (
	pipeBuffer = 64 << 10              // bytes each way
	pipeRetry  = 10 * time.Millisecond // between two tries to connect while every instance is taken
)

// listenControl opens the control pipe for SYSTEM, administrators and the user
// this runs as, on this machine only. An error when a pipe of that name exists.
func listenControl(stateDir string) (net.Listener, error) {
	name, err := pipeName(stateDir)
	if err != nil {
		return nil, fmt.Errorf("name control pipe: %w", err)
	}
	l := &pipeListener{name: name}
	if l.access, err = pipeAccess(); err != nil {
		return nil, fmt.Errorf("protect control pipe: %w", err)
	}
	l.next, err = l.instance(windows.FILE_FLAG_FIRST_PIPE_INSTANCE)
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		err = errors.New("another daemon answers there")
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", name, err)
	}
	if l.closing, err = windows.CreateEvent(nil, 1, 0, nil); err == nil {
		l.connect.HEvent, err = windows.CreateEvent(nil, 1, 0, nil)
	}
	if err != nil {
		l.release()
		return nil, fmt.Errorf("listen on %s: %w", name, err)
	}
	return l, nil
}

// pipeName returns the pipe's name: pipes lie in one name space of the machine,
// so it is made from the state directory's path, whose case does not matter.
func pipeName(stateDir string) (string, error) {
	abs, err := filepath.Abs(stateDir)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(strings.ToLower(abs)))
	return fmt.Sprintf(`\\.\pipe\digime-sync-%x`, sum[:16]), nil
}

// pipeAccess returns who owns the pipe and who may open it; it inherits nothing.
// The owner is what a client goes by (see trusted): administrators when this is
// one of them, so that another may ask as well, else this user.
func pipeAccess() (*windows.SecurityAttributes, error) {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, err
	}
	administrators, err := windows.CreateWellKnownSid(windows.WinBuiltinAdministratorsSid)
	if err != nil {
		return nil, err
	}
	owner := user.User.Sid
	if member, err := windows.Token(0).IsMember(administrators); err == nil && member {
		owner = administrators
	}
	sd, err := windows.SecurityDescriptorFromString(
		fmt.Sprintf("O:%sD:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;%s)", owner, user.User.Sid))
	if err != nil {
		return nil, err
	}
	return &windows.SecurityAttributes{Length: uint32(unsafe.Sizeof(windows.SecurityAttributes{})), SecurityDescriptor: sd}, nil
}

// pipeListener is a net.Listener of a named pipe. An instance that waits for its
// client exists from listenControl to Close, so that the name is never free for
// another and a client never finds nobody.
type pipeListener struct {
	name    string
	access  *windows.SecurityAttributes
	closing windows.Handle // event: Close was called
	once    sync.Once      // Close

	mu      sync.Mutex         // held by Accept while it waits
	next    windows.Handle     // the waiting instance; 0 after Close
	connect windows.Overlapped // of its ConnectNamedPipe; here because the system writes to it
}

func (l *pipeListener) instance(flags uint32) (windows.Handle, error) {
	name, err := windows.UTF16PtrFromString(l.name)
	if err != nil {
		return 0, err
	}
	h, err := windows.CreateNamedPipe(name,
		windows.PIPE_ACCESS_DUPLEX|windows.FILE_FLAG_OVERLAPPED|flags,
		windows.PIPE_TYPE_BYTE|windows.PIPE_REJECT_REMOTE_CLIENTS,
		windows.PIPE_UNLIMITED_INSTANCES, pipeBuffer, pipeBuffer, 0, l.access)
	if err != nil {
		return 0, err
	}
	return h, nil
}

// Accept waits for the next connection; net.ErrClosed after Close.
func (l *pipeListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next == 0 {
		return nil, l.fail(net.ErrClosed)
	}
	if err := l.wait(); err != nil {
		return nil, l.fail(err)
	}
	next, err := l.instance(0)
	if err != nil {
		return nil, l.fail(err)
	}
	conn := newPipeConn(l.next, l.name)
	l.next = next
	return conn, nil
}

// wait waits until a client has connected to the next instance.
func (l *pipeListener) wait() error {
	for {
		if err := windows.ResetEvent(l.connect.HEvent); err != nil {
			return err
		}
		err := windows.ConnectNamedPipe(l.next, &l.connect)
		if errors.Is(err, windows.ERROR_IO_PENDING) {
			err = l.pending()
		}
		switch {
		case err == nil, errors.Is(err, windows.ERROR_PIPE_CONNECTED):
			return nil
		case errors.Is(err, windows.ERROR_NO_DATA): // that client has gone again
			if err := windows.DisconnectNamedPipe(l.next); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// pending waits for a client or for Close. After Close the system must have let
// go of l.connect before this returns.
func (l *pipeListener) pending() error {
	which, err := windows.WaitForMultipleObjects([]windows.Handle{l.closing, l.connect.HEvent}, false, windows.INFINITE)
	closed := err == nil && which == windows.WAIT_OBJECT_0
	if err != nil || closed {
		_ = windows.CancelIoEx(l.next, &l.connect) // nothing to cancel when a client has just come
	}
	var n uint32
	connected := windows.GetOverlappedResult(l.next, &l.connect, &n, true)
	if closed {
		return net.ErrClosed
	}
	return errors.Join(err, connected)
}

// Close ends Accept and gives the name free. Connections stay.
func (l *pipeListener) Close() error {
	err := l.fail(net.ErrClosed)
	l.once.Do(func() {
		err = windows.SetEvent(l.closing)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.release()
	})
	return err
}

// release closes the listener's handles.
func (l *pipeListener) release() {
	for _, h := range []*windows.Handle{&l.next, &l.closing, &l.connect.HEvent} {
		if *h != 0 {
			_ = windows.CloseHandle(*h) // can only fail for a handle that is none
			*h = 0
		}
	}
}

// Addr returns the pipe's name.
func (l *pipeListener) Addr() net.Addr { return pipeAddr(l.name) }

func (l *pipeListener) fail(err error) error {
	return &net.OpError{Op: "accept", Net: "pipe", Addr: l.Addr(), Err: err}
}

// dialControl connects to the running daemon. Errors: errNoDaemon when there is
// none; fs.ErrPermission for a user who may not; an error when the one who
// listens is none of those trusted names.
func dialControl(ctx context.Context, stateDir string) (net.Conn, error) {
	name, err := pipeName(stateDir)
	if err != nil {
		return nil, fmt.Errorf("name control pipe: %w", err)
	}
	h, err := openPipe(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: nothing listens on %s", errNoDaemon, name)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", name, err)
	}
	if err := trusted(h, stateDir); err != nil {
		_ = windows.CloseHandle(h)
		return nil, fmt.Errorf("connect to %s: %w", name, err)
	}
	return newPipeConn(h, name), nil
}

// openPipe opens the client's end, so that the server may see who we are but not
// act as us. While every instance is taken it tries again until ctx ends.
func openPipe(ctx context.Context, name string) (windows.Handle, error) {
	name16, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return 0, err
	}
	for ctx.Err() == nil {
		h, err := windows.CreateFile(name16, windows.GENERIC_READ|windows.GENERIC_WRITE, 0, nil, windows.OPEN_EXISTING,
			windows.FILE_FLAG_OVERLAPPED|windows.SECURITY_SQOS_PRESENT|windows.SECURITY_IDENTIFICATION, 0)
		if err == nil {
			return h, nil
		}
		if !errors.Is(err, windows.ERROR_PIPE_BUSY) {
			return 0, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(pipeRetry):
		}
	}
	return 0, ctx.Err()
}

// trusted says whether the pipe's owner can be the daemon, since only who made a
// pipe, or an administrator, can have set its owner: SYSTEM, administrators, this user, the service's own account, or the state
// directory's owner.
func trusted(pipe windows.Handle, stateDir string) error {
	sd, err := windows.GetSecurityInfo(pipe, windows.SE_KERNEL_OBJECT, windows.OWNER_SECURITY_INFORMATION)
	if err != nil {
		return fmt.Errorf("ask who listens: %w", err)
	}
	owner, _, err := sd.Owner()
	if err != nil {
		return fmt.Errorf("ask who listens: %w", err)
	}
	if owner.IsWellKnown(windows.WinLocalSystemSid) || owner.IsWellKnown(windows.WinBuiltinAdministratorsSid) {
		return nil
	}
	if user, err := windows.GetCurrentProcessToken().GetTokenUser(); err == nil && owner.Equals(user.User.Sid) {
		return nil
	}
	if account, _, _, err := windows.LookupSID("", `NT SERVICE\`+serviceName); err == nil && owner.Equals(account) {
		return nil
	}
	if dir, err := windows.GetNamedSecurityInfo(stateDir, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION); err == nil {
		if dirOwner, _, err := dir.Owner(); err == nil && owner.Equals(dirOwner) {
			return nil
		}
	}
	return fmt.Errorf("%s listens there, who is not the daemon's", owner)
}

// pipeConn is a net.Conn of one end of a pipe. Its errors are those that
// net/http knows: io.EOF, net.ErrClosed, and a net.Error for a deadline.
type pipeConn struct {
	file *os.File
	addr pipeAddr
}

// newPipeConn takes over a handle that was opened for overlapped input and
// output, for which os.File has deadlines.
func newPipeConn(h windows.Handle, name string) *pipeConn {
	return &pipeConn{file: os.NewFile(uintptr(h), name), addr: pipeAddr(name)}
}

// Read reads what has arrived; io.EOF when the other end is closed.
func (c *pipeConn) Read(b []byte) (int, error) {
	n, err := c.file.Read(b)
	return n, c.fail("read", err)
}

// Write writes all of b.
func (c *pipeConn) Write(b []byte) (int, error) {
	n, err := c.file.Write(b)
	return n, c.fail("write", err)
}

// Close ends what Read and Write are waiting for. What was written can still be
// read at the other end.
func (c *pipeConn) Close() error { return c.fail("close", c.file.Close()) }

// LocalAddr returns the pipe's name, as does RemoteAddr.
func (c *pipeConn) LocalAddr() net.Addr { return c.addr }

// RemoteAddr returns the pipe's name.
func (c *pipeConn) RemoteAddr() net.Addr { return c.addr }

// SetDeadline is as in net.Conn.
func (c *pipeConn) SetDeadline(t time.Time) error { return c.fail("set", c.file.SetDeadline(t)) }

// SetReadDeadline is as in net.Conn.
func (c *pipeConn) SetReadDeadline(t time.Time) error {
	return c.fail("set", c.file.SetReadDeadline(t))
}

// SetWriteDeadline is as in net.Conn.
func (c *pipeConn) SetWriteDeadline(t time.Time) error {
	return c.fail("set", c.file.SetWriteDeadline(t))
}

func (c *pipeConn) fail(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if errors.Is(err, os.ErrClosed) {
		err = net.ErrClosed
	}
	return &net.OpError{Op: op, Net: "pipe", Addr: c.addr, Err: err}
}

type pipeAddr string

// Network returns "pipe".
func (pipeAddr) Network() string  { return "pipe" }
func (a pipeAddr) String() string { return string(a) }
