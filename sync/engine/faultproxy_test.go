package engine

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// Points of a push at which the proxy strikes.
const (
	beforeBody = "before the body"
	duringBody = "during the body"
	afterBody  = "after the last chunk"
	inAnswer   = "during the answer"
)

// What it does there.
const (
	doReset   = "reset"
	doClose   = "close"
	doSilence = "silence"
	doGarbage = "garbage"
	doPage    = "a page"
	doBusy    = "503"
)

// wireFault strikes the pushes of one file, so many times.
type wireFault struct {
	do, at string
	times  int
}

// faultProxy stands between client and API and speaks TCP: it passes requests
// on as they are, and strikes pushes by the name of their file.
type faultProxy struct {
	t        *testing.T
	listener net.Listener
	target   string

	mu     sync.Mutex
	faults map[string]*wireFault // by the file's name
	struck int
	lost   map[string]int // answers that never came back whole though the API had all of the file
}

func newFaultProxy(t *testing.T, target string) *faultProxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &faultProxy{t: t, listener: listener, target: target, faults: map[string]*wireFault{}, lost: map[string]int{}}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(conn.(*net.TCPConn))
		}
	}()
	return p
}

// take returns what this push of a file is to suffer, nil for nothing.
func (p *faultProxy) take(name string) *wireFault {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.faults[name]
	if f == nil || f.times == 0 {
		return nil
	}
	f.times--
	p.struck++
	return f
}

func (p *faultProxy) lose(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost[name]++
}

// serve passes one connection's requests on until a fault or the end.
func (p *faultProxy) serve(client *net.TCPConn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	from, answers := bufio.NewReader(client), bufio.NewReader(server)
	for p.pass(client, from, server, answers) == nil {
	}
}

var errStruck = errors.New("struck")

// pass carries one request and its answer.
func (p *faultProxy) pass(client *net.TCPConn, from *bufio.Reader, server net.Conn, answers *bufio.Reader) error {
	head, err := readHead(from)
	if err != nil {
		return err
	}
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		return err
	}
	name, size := pushedName(req), max(req.ContentLength, 0)
	fault := p.take(name)
	if fault != nil && fault.at == beforeBody {
		return fault.strike(client, from)
	}
	if _, err := server.Write(head); err != nil {
		return err
	}
	first := size
	if fault != nil && fault.at == duringBody {
		first = size / 2
	}
	if _, err := io.CopyN(server, from, first); err != nil {
		return err
	}
	if first < size || fault != nil && fault.at == duringBody {
		return fault.strike(client, from)
	}
	resp, err := http.ReadResponse(answers, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if err := resp.Write(&text); err != nil {
		return err
	}
	if fault == nil {
		if _, err := client.Write(text.Bytes()); err != nil {
			p.lose(name)
			return err
		}
		return nil
	}
	p.lose(name)
	if fault.at == inAnswer {
		_, _ = client.Write(text.Bytes()[:12]) // the client may be gone
	}
	return fault.strike(client, from)
}

// strike ends the connection in its way.
func (f *wireFault) strike(client *net.TCPConn, from *bufio.Reader) error {
	switch f.do {
	case doReset:
		_ = client.SetLinger(0)
	case doSilence:
		_, _ = io.Copy(io.Discard, from) // until the client has had enough
	case doGarbage:
		fmt.Fprint(client, "\x15\x03\x01\x00\x02\x02\x50\r\n\r\n")
	case doPage:
		fmt.Fprint(client, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>")
	case doBusy:
		fmt.Fprint(client, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	}
	return errStruck
}

func readHead(r *bufio.Reader) ([]byte, error) {
	var head []byte
	for {
		line, err := r.ReadBytes('\n')
		head = append(head, line...)
		if err != nil {
			return nil, err
		}
		if len(line) <= 2 {
			return head, nil
		}
	}
}

// pushedName is the reference of a push's descriptor, "" of any other request.
func pushedName(req *http.Request) string {
	parts := strings.Split(req.Header.Get("FileDescriptor"), ".")
	if len(parts) != 3 {
		return ""
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var said struct {
		Metadata struct {
			Reference []string `json:"reference"`
		} `json:"metadata"`
	}
	if err != nil || json.Unmarshal(text, &said) != nil || len(said.Metadata.Reference) == 0 {
		return ""
	}
	return said.Metadata.Reference[0]
}
