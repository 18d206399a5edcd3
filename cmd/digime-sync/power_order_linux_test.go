package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/digime-sync/digime-sync/store"
)

// TestFlushOrder looks at the system calls of one delivery, with a token that
// must be renewed first: what a later step relies on was flushed before it.
func TestFlushOrder(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("strace"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	p := newCrashProgram(t)
	p.rig.importTokens()
	p.rig.server.ExpireAccess(p.rig.users["ben"])
	trace := filepath.Join(p.rig.side, "trace")
	p.rig.under = []string{"strace", "-D", "-f", "-y", "-s", "400", "-qq", "-o", trace, "-e", "trace=pwrite64,write,fsync,fdatasync,rename,renameat,renameat2"}
	p.rig.start("")
	savedBeforeUse := make(chan bool, 1)
	p.rig.wire.strike(placeMidway, func() {
		data, err := os.ReadFile(p.rig.marks())
		marks := strings.Fields(string(data))
		slices.Reverse(marks)
		savedBeforeUse <- err == nil && slices.Index(marks, "refresh.answered") > slices.Index(marks, "vault.saved")
	})
	f := crashFolders[1]
	d, content := p.writer.fresh(f)
	p.writer.describe(p.writer.put(d, content))
	p.untilDone(d)
	p.rig.stop(syscall.SIGTERM)
	if !<-savedBeforeUse {
		t.Error("the new token was used before it was saved")
	}
	data, err := os.ReadFile(trace)
	p.rig.must(err)
	calls := joined(string(data))
	for name, order := range map[string][]string{
		"the new token": {`write\(\d+<.*/tokens/\.digime-[^>]*>`, `fsync\(\d+<.*/tokens/\.digime-`, `rename.*/tokens/\.digime-.*\.token"`, `fsync\(\d+<[^>]*/tokens>`},
		"the delivery":  {`pwrite64\(\d+<.*/audit\.log>.*delivered`, `fsync\(\d+<.*/audit\.log>`, `pwrite64\(\d+<.*/state\.db>`, `fdatasync\(\d+<.*/state\.db>`},
		"the move": {`write\(\d+<.*/Sent/\.digime-[^>]*>`, `fsync\(\d+<.*/Sent/\.digime-`, `rename.*/Sent/\.digime-.*receipt\.json"`, `fsync\(\d+<[^>]*/Sent>`,
			`rename.*/move/report-\d+\.txt\.meta\.json".*/Sent/`, `fsync\(\d+<[^>]*/Sent>`, `rename.*/move/report-\d+\.txt".*/Sent/`, `fsync\(\d+<[^>]*/Sent>`,
			`fsync\(\d+<[^>]*/move>`, `pwrite64\(\d+<.*/state\.db>`},
	} {
		if missing := outOfOrder(calls, order); missing != "" {
			t.Errorf("%s: no call like %s after those before it, of %q", name, missing, order)
		}
	}
	unflushed(t, calls)
}

// joined puts the calls that strace shows in two parts together, at the end.
func joined(trace string) []string {
	var calls []string
	begun := map[string]string{} // by thread
	for line := range strings.Lines(trace) {
		line = strings.TrimSpace(line)
		thread, call, _ := strings.Cut(line, " ")
		call = strings.TrimSpace(call)
		if first, unfinished := strings.CutSuffix(call, "<unfinished ...>"); unfinished {
			begun[thread] = first
			continue
		}
		if _, rest, resumed := strings.Cut(call, "resumed>"); resumed {
			call = begun[thread] + rest
		}
		calls = append(calls, call)
	}
	return calls
}

// outOfOrder returns the first of the patterns that no call after that of the
// one before fits, "" when all are there in their order.
func outOfOrder(calls, order []string) string {
	for _, pattern := range order {
		re := regexp.MustCompile("^" + pattern)
		at := slices.IndexFunc(calls, re.MatchString)
		if at < 0 {
			return pattern
		}
		calls = calls[at+1:]
	}
	return ""
}

// unflushed demands that nothing is renamed, and no transaction begun, over
// bytes that were written and not flushed.
func unflushed(t *testing.T, calls []string) {
	t.Helper()
	written := regexp.MustCompile(`^p?write(?:64)?\(\d+<([^>]*(?:/audit\.log|\.digime-[^>]*\.tmp))>`)
	flushed := regexp.MustCompile(`^f(?:data)?sync\(\d+<([^>]*)>`)
	renamed := regexp.MustCompile(`^rename[^"]*"([^"]*\.digime-[^"]*)"`)
	dirty := map[string]bool{}
	renames := 0
	for _, call := range calls {
		if m := written.FindStringSubmatch(call); m != nil {
			dirty[m[1]] = true
		}
		if m := flushed.FindStringSubmatch(call); m != nil {
			delete(dirty, m[1])
		}
		m := renamed.FindStringSubmatch(call)
		if m != nil {
			renames++
		}
		if m != nil && dirty[m[1]] {
			t.Errorf("renamed before it was flushed: %s", call)
		}
		if strings.HasPrefix(call, "pwrite64(") && strings.Contains(call, "/state.db>") {
			for path := range dirty {
				if strings.HasSuffix(path, "/audit.log") {
					t.Errorf("the database is written while the audit log is not flushed: %s", call)
				}
			}
		}
	}
	if renames < 3 {
		t.Errorf("only %d files were put in place: the test looks at the wrong calls", renames)
	}
}

// untilDone waits until a file is delivered and what comes after is done.
func (p *crashProgram) untilDone(d drop) {
	p.t.Helper()
	deadline := time.After(patience)
	for {
		s, err := p.rig.ask()
		for _, f := range s.Files {
			if err == nil && f.Path == d.path && f.State == store.Delivered && f.MovedTo != "" {
				return
			}
		}
		select {
		case <-deadline:
			p.t.Fatalf("%s is not delivered within %s", d.path, patience)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// The test of the order is itself tested.
func TestFlushOrderFindsWhatIsMissing(t *testing.T) {
	trace := "7 pwrite64(5</s/audit.log>, \"x delivered\", 9, 0) = 9\n" +
		"8 fsync(5</s/audit.log> <unfinished ...>\n7 futex(1) = 0\n8 <... fsync resumed>) = 0\n7 pwrite64(4</s/state.db>, \"\", 1, 0) = 1\n"
	order := []string{`pwrite64\(\d+<.*/audit\.log>`, `fsync\(\d+<.*/audit\.log>`, `pwrite64\(\d+<.*/state\.db>`}
	if missing := outOfOrder(joined(trace), order); missing != "" {
		t.Errorf("%s is there", missing)
	}
	slices.Reverse(order)
	if outOfOrder(joined(trace), order) == "" {
		t.Error("the wrong order passed")
	}
	if outOfOrder(joined(strings.Replace(trace, "fsync", "read", -1)), order) == "" {
		t.Error("a missing flush passed")
	}
}
