package watcher

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Probe tells how a folder would be watched with watch: auto, and why it would
// be polled. The error says that it cannot be read at all.
func Probe(path string) (watch, reason string, err error) {
	path = filepath.Clean(path)
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", "", fmt.Errorf("find folder: %w", err)
	}
	dir, err := os.Open(real)
	if err != nil {
		return "", "", fmt.Errorf("open folder: %w", err)
	}
	_, err = dir.Readdirnames(1)
	_ = dir.Close()
	if err != nil && err != io.EOF {
		return "", "", fmt.Errorf("list folder: %w", err)
	}
	v, err := volumeOf(real)
	if err != nil {
		return "", "", fmt.Errorf("find file system: %w", err)
	}
	if v.remote {
		return ModePoll, remoteReason(v), nil
	}
	w, err := newWatchset(path, real, false)
	if err == nil {
		err = w.add(path, true)
		_ = w.fsw.Close()
	}
	if reason, yes := exhausted(err); yes {
		return ModePoll, reason, nil
	}
	return ModeEvents, "", nil
}
