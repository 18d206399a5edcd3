package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
)

// many DIR N drops so many files there, each with a sidecar for bob of the sandbox.
func many(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: many DIR N")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	for i := range n {
		path := filepath.Join(ts.MkAbs(args[0]), fmt.Sprintf("%04d.txt", i))
		ts.Check(os.WriteFile(path, []byte(path), 0o644))
		ts.Check(os.WriteFile(path+".meta.json", []byte(`{"mimeType": "text/plain", "accounts": [{"accountId": "P-1002"}]}`), 0o644))
	}
}
