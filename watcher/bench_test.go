package watcher

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// BenchmarkScanKnown scans 100,000 files with their sidecars that are all known:
// what every interval costs.
func BenchmarkScanKnown(b *testing.B) {
	for _, perDir := range []int{100_000, 1000} {
		b.Run(fmt.Sprintf("%d-a-folder", perDir), func(b *testing.B) {
			const files = 100_000
			dir := b.TempDir()
			for i := range files {
				sub := filepath.Join(dir, fmt.Sprint(i/perDir))
				if i%perDir == 0 {
					if err := os.Mkdir(sub, 0o700); err != nil {
						b.Fatal(err)
					}
				}
				for _, suffix := range []string{"", ".meta.json"} {
					if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("scan-%06d.pdf%s", i, suffix)), nil, 0o600); err != nil {
						b.Fatal(err)
					}
				}
			}
			asked := 0
			tree := newTree(Folder{Path: dir, Recursive: true, Mode: ModePoll}, func(File) bool { asked++; return true }, nil, slog.New(slog.DiscardHandler))
			tree.checkRoot(time.Now())
			b.ReportAllocs()
			for b.Loop() {
				tree.beginScan()
				for tree.sweep != nil {
					tree.sweepSome(time.Now())
				}
			}
			if asked != files*b.N || len(tree.settler.items) != 0 {
				b.Errorf("asked %d times in %d scans, %d files remembered", asked, b.N, len(tree.settler.items))
			}
			var mem runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&mem)
			b.ReportMetric(float64(mem.HeapAlloc)/1e6, "MB-kept")
		})
	}
}
