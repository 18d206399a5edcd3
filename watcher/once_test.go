package watcher

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// gather makes an emit that keeps the base names.
func gather(names *[]string) func(File) error {
	return func(f File) error {
		*names = append(*names, filepath.Base(f.Path))
		slices.Sort(*names)
		return nil
	}
}

func TestOnceTakesAllThatIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := t.TempDir(), t.TempDir()
		write(t, filepath.Join(one, "a.pdf"), "1")
		write(t, filepath.Join(one, "known.pdf"), "1")
		write(t, filepath.Join(mkdir(t, two, "sub"), "b.pdf"), "1")
		write(t, filepath.Join(two, "alone.meta.json"), "{}")
		known := func(f File) bool { return filepath.Base(f.Path) == "known.pdf" }
		folders := []Folder{{Path: one, Settle: 5 * time.Second}, {Path: two, Recursive: true, Settle: 5 * time.Second}}
		var got []string
		begun := time.Now()
		if err := Once(t.Context(), folders, known, logOf(t), gather(&got)); err != nil {
			t.Errorf("Once: %v", err)
		}
		if want := []string{"a.pdf", "alone.meta.json", "b.pdf"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("took %v, Settle is 5 s", took)
		}
	})
}

func TestOnceOfNothingEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		err := Once(t.Context(), []Folder{{Path: t.TempDir(), Settle: time.Hour}}, never, logOf(t), nil)
		if took := time.Since(begun); err != nil || took > time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}

func TestOnceWaitsForChangingFilesOnlySoLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := write(t, filepath.Join(dir, "growing.pdf"), "")
		write(t, filepath.Join(dir, "still.pdf"), "1")
		ctx, stop := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			for tick := time.Tick(3 * time.Second); ctx.Err() == nil; {
				if f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0); err == nil {
					_, _ = f.WriteString("more")
					_ = f.Close()
				}
				select {
				case <-tick:
				case <-ctx.Done():
				}
			}
		}()
		var got []string
		begun := time.Now()
		err := Once(t.Context(), []Folder{{Path: dir, Settle: 5 * time.Second}}, never, logOf(t), gather(&got))
		stop()
		<-stopped
		var changing *ChangingError
		if !errors.As(err, &changing) || !slices.Equal(changing.Paths, []string{path}) || changing.Folder != dir {
			t.Errorf("Once: %v", err)
		}
		if took := time.Since(begun); took < 20*time.Second || took > 40*time.Second {
			t.Errorf("took %v, want about %v", took, patience(5*time.Second))
		}
		if !slices.Equal(got, []string{"still.pdf"}) {
			t.Errorf("got %q", got)
		}
	})
}

func TestOnceSaysWhatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "a.pdf"), "1")
		gone := filepath.Join(dir, "none")
		var got []string
		err := Once(t.Context(), []Folder{{Path: gone}, {Path: dir}}, never, logOf(t), gather(&got))
		var missing *FolderError
		if !errors.As(err, &missing) || missing.Status.Path != gone || missing.Status.State != StateMissing {
			t.Errorf("Once: %v", err)
		}
		if !slices.Equal(got, []string{"a.pdf"}) {
			t.Errorf("got %q, want the other folder's file all the same", got)
		}
	})
}

func TestOnceEndsWithAnErrorOfEmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "a.pdf"), "1")
		write(t, filepath.Join(dir, "b.pdf"), "1")
		calls, full := 0, errors.New("disk full")
		err := Once(t.Context(), []Folder{{Path: dir}}, never, logOf(t), func(File) error { calls++; return full })
		if !errors.Is(err, full) || calls != 1 {
			t.Errorf("Once: %v after %d calls", err, calls)
		}
	})
}

// A consumer that takes minutes for each file is no reason to give up the rest.
func TestOnceHasPatienceWithTheConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		for _, name := range []string{"a", "b", "c", "d"} {
			write(t, filepath.Join(dir, name), "1")
		}
		n := 0
		err := Once(t.Context(), []Folder{{Path: dir, Settle: time.Second}}, never, logOf(t), func(File) error {
			n++
			time.Sleep(10 * time.Minute)
			return nil
		})
		if err != nil || n != 4 {
			t.Errorf("Once: %v after %d files", err, n)
		}
	})
}
