package store

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// BenchmarkEnqueue10000 queues 10,000 files per iteration.
func BenchmarkEnqueue10000(b *testing.B) {
	for _, workers := range []int{1, 32} {
		b.Run(fmt.Sprintf("goroutines=%d", workers), func(b *testing.B) {
			for b.Loop() {
				s := open(b, b.TempDir())
				before := s.commits
				began := time.Now()
				var next atomic.Int64
				var group errgroup.Group
				for range workers {
					group.Go(func() error {
						for i := next.Add(1); i <= 10000; i = next.Add(1) {
							if _, err := s.Enqueue(file(fmt.Sprintf("/in/%06d.pdf", i), "alice", fmt.Sprint(i)), t0); err != nil {
								return err
							}
						}
						return nil
					})
				}
				must(b, group.Wait())
				b.ReportMetric(10000/time.Since(began).Seconds(), "files/s")
				b.ReportMetric(float64(s.commits-before), "commits")
			}
		})
	}
}

// BenchmarkLarge measures what must stay cheap with many known files: 100,000,
// or as many as DIGIME_STORE_FILES says.
func BenchmarkLarge(b *testing.B) {
	n := 100_000
	if v := os.Getenv("DIGIME_STORE_FILES"); v != "" {
		if _, err := fmt.Sscan(v, &n); err != nil {
			b.Fatal(err)
		}
	}
	dir := b.TempDir()
	s := open(b, dir)
	path := func(i int) string { return fmt.Sprintf("/srv/digime/alice/scan-%07d.pdf", i*7919%n) }
	const batch = 20_000
	for from := 0; from < n; from += batch {
		must(b, s.commit(func(t *txn) error {
			for i := from; i < min(n, from+batch); i++ {
				f := file(path(i), "alice", fmt.Sprint(i))
				f.After = ""
				e := entryOf(EventDelivered, &f, t0)
				if err := t.replayDelivered(&e); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	must(b, s.Close())
	info, err := os.Stat(s.path)
	must(b, err)
	size := float64(info.Size()) / float64(n)

	b.Run("Open", func(b *testing.B) {
		for b.Loop() {
			must(b, open(b, dir).Close())
		}
		b.ReportMetric(size, "B/file")
	})
	b.Run("OpenAfterCrash", func(b *testing.B) {
		for b.Loop() {
			must(b, os.Remove(dir+"/"+cleanName))
			must(b, open(b, dir).Close())
		}
	})
	s = open(b, dir)
	b.Run("Known", func(b *testing.B) {
		i := 0
		for b.Loop() {
			f := file(path(i%n), "alice", "x")
			f.Sig.Size = int64(len(fmt.Sprint(i % n)))
			if !s.Known(f.Path, f.Sig, f.SidecarSig) {
				b.Fatal("not known")
			}
			i++
		}
	})
	b.Run("Counts", func(b *testing.B) {
		for b.Loop() {
			if counts, err := s.Counts(); err != nil || counts[Delivered] != n {
				b.Fatal(counts, err)
			}
		}
	})
	b.Run("Deliver", func(b *testing.B) {
		i := 0
		for b.Loop() {
			must(b, deliver(s, file(fmt.Sprintf("/in/%d", i), "alice", fmt.Sprint("new", i))))
			i++
		}
	})
}

// BenchmarkGrowth measures what one delivered file leaves behind, also when it
// has gone, and how long it takes to examine, back up and restore that.
func BenchmarkGrowth(b *testing.B) {
	const files = 20000
	for range b.N {
		dir := b.TempDir()
		v, err := OpenVault(dir)
		must(b, err)
		s := open(b, dir)
		parallel(b, files, func(i int) error {
			path := fmt.Sprintf("/in/digime/alice/2026/03/report of somebody %06d.pdf", i)
			if err := deliver(s, file(path, "alice", path)); err != nil {
				return err
			}
			return s.AfterDone(path)
		})
		began := time.Now()
		c, err := s.Check(v)
		must(b, err)
		b.ReportMetric(float64(time.Since(began).Microseconds())/files, "µs-check/file")
		began = time.Now()
		backup := backUp(b, s)
		b.ReportMetric(float64(time.Since(began).Microseconds())/files, "µs-backup/file")
		prune(b, s, "/in", every)
		b.ReportMetric(float64(used(b, s))/files, "B-db-gone/file")
		must(b, s.Close())
		began = time.Now()
		restored(b, b.TempDir(), backup, false)
		b.ReportMetric(float64(time.Since(began).Microseconds())/files, "µs-restore/file")
		b.ReportMetric(float64(c.AuditBytes)/files, "B-log/file")
		b.ReportMetric(float64(c.Bytes)/files, "B-db/file")
	}
}
