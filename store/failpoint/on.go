//go:build failpoint

package failpoint

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Enabled says whether this build acts on the marks.
const Enabled = true

var errnos = map[string]syscall.Errno{
	"ENOSPC": syscall.ENOSPC, "EIO": syscall.EIO, "EROFS": syscall.EROFS, "EDQUOT": syscall.EDQUOT, "EACCES": syscall.EACCES,
}

var (
	mu   sync.Mutex
	hits = map[string]int{} // by the name in the plan's line and the step's own
)

// Hit marks the step name: what the plan says about it happens here. A kill does
// not return; an error is the errno wrapped with the step's name.
func Hit(name string) error {
	mu.Lock()
	defer mu.Unlock()
	record(name)
	count()
	plan, err := os.ReadFile(os.Getenv(PlanEnv))
	if err != nil {
		return nil
	}
	hits[name]++
	hits["*"]++
	for line := range strings.Lines(string(plan)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || (fields[0] != name && fields[0] != "*") || !within(hits[fields[0]], fields[2:]) {
			continue
		}
		if fields[1] == "kill" {
			die()
		}
		errno, known := errnos[fields[1]]
		if !known {
			panic("failpoint: the plan asks for " + fields[1])
		}
		return fmt.Errorf("failpoint %s: %w", name, errno)
	}
	return nil
}

// within says whether hit lies in the range that a plan's line gives, if any.
func within(hit int, fields []string) bool {
	if len(fields) == 0 {
		return true
	}
	first, last, isRange := strings.Cut(fields[0], "-")
	from, err := strconv.Atoi(first)
	if err != nil {
		panic("failpoint: bad count in the plan: " + fields[0])
	}
	if !isRange {
		return hit == from
	}
	to, err := strconv.Atoi(last)
	if err != nil {
		panic("failpoint: bad count in the plan: " + fields[0])
	}
	return from <= hit && hit <= to
}

// die ends the process as a crash does: no deferred call, no exit handler.
func die() {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		panic(err)
	}
	select {}
}

func record(name string) {
	path := os.Getenv(LogEnv)
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if _, err := f.WriteString(name + "\n"); err != nil {
		panic(err)
	}
}

func count() {
	path := os.Getenv(CountEnv)
	if path == "" {
		return
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(runtime.NumGoroutine())), 0o600); err != nil {
		panic(err)
	}
}
