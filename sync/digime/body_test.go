package digime

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func newTestBody(ctx context.Context, u *upload, release func() error) *body {
	return newBody(ctx, io.NopCloser(bytes.NewReader(u.content)), u.Upload, release, func() {}, func(int) {})
}

// Whatever the sizes of the reads, the file comes out whole and once.
func TestBodyPieces(t *testing.T) {
	for _, size := range []int{1, 1000, LastChunk, LastChunk + 1, 3*LastChunk + 7} {
		for _, piece := range []int{1 << 9, 1 << 15, 1<<15 + 1, 1 << 20} {
			u := newUpload(pattern(size))
			released := 0
			b := newTestBody(background(), u, func() error { released++; return nil })
			var got []byte
			buf := make([]byte, piece)
			for {
				n, err := b.Read(buf)
				got = append(got, buf[:n]...)
				if len(got) > size-LastChunk && released != 1 {
					t.Fatalf("%d bytes in %d: the last chunk came without release", size, piece)
				}
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if letGo, err := b.stop(); !bytes.Equal(got, u.content) || !letGo || err != nil {
				t.Errorf("%d bytes in %d: %d came, let go %v, %v", size, piece, len(got), letGo, err)
			}
		}
	}
}

// An answer that arrives while release runs keeps the last chunk here.
func TestAnswerDuringRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUpload(pattern(100))
		var b *body
		b = newTestBody(background(), u, func() error { b.answering(); return nil })
		read := make(chan error)
		go func() { // what the transport does
			n, err := b.Read(make([]byte, 200))
			if n != 0 {
				t.Errorf("%d bytes left", n)
			}
			read <- err
		}()
		synctest.Wait() // it waits for what the answer is
		letGo, err := b.stop()
		if letGo || err != nil {
			t.Errorf("let go %v, %v", letGo, err)
		}
		if err := <-read; !errors.Is(err, errAnswered) {
			t.Errorf("read: %v", err)
		}
	})
}

// An interim answer (1xx) only holds the body up.
func TestInterimAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUpload(pattern(100))
		b := newTestBody(background(), u, func() error { return nil })
		b.answering()
		read := make(chan error)
		go func() {
			got, err := io.ReadAll(b)
			if !bytes.Equal(got, u.content) {
				t.Errorf("%d bytes came", len(got))
			}
			read <- err
		}()
		synctest.Wait()
		b.interim()
		if err := <-read; err != nil {
			t.Error(err)
		}
	})
}

// stop waits for a running release, and none begins after it.
func TestStopWaitsForRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUpload(pattern(100))
		returned := false
		b := newTestBody(background(), u, func() error {
			time.Sleep(time.Second)
			returned = true
			return nil
		})
		read := make(chan error, 1)
		go func() { _, err := b.Read(make([]byte, 200)); read <- err }()
		synctest.Wait()
		if letGo, _ := b.stop(); letGo || !returned {
			t.Errorf("let go %v, release returned %v", letGo, returned)
		}
		if err := <-read; !errors.Is(err, errAnswered) {
			t.Errorf("read: %v", err)
		}

		b = newTestBody(background(), u, func() error { t.Error("released after stop"); return nil })
		b.stop()
		if _, err := b.Read(make([]byte, 200)); !errors.Is(err, errAnswered) {
			t.Errorf("read after stop: %v", err)
		}
	})
}

// A read that waits for an answer ends with its context, and by itself when
// the answer breaks off in its header.
func TestWaitForAnswerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for stall, want := range map[time.Duration]error{time.Second: errStalled, time.Minute: errAnswered} {
			ctx, dog := newWatchdog(background(), stall, unknown)
			b := newTestBody(ctx, newUpload(pattern(100)), func() error { return nil })
			b.answering()
			began := time.Now()
			if n, err := b.Read(make([]byte, 200)); n != 0 || !errors.Is(err, want) || time.Since(began) > gateTime {
				t.Errorf("after %v: %d bytes, %v, want %v", time.Since(began), n, err, want)
			}
			if letGo, err := b.stop(); letGo || err != nil {
				t.Errorf("let go %v, %v", letGo, err)
			}
			dog.stop()
		}
	})
}

// unknown is how much was confirmed where nobody tells.
func unknown() int64 { return 0 }

func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, dog := newWatchdog(background(), time.Minute, unknown)
		for range 10 {
			time.Sleep(59 * time.Second)
			dog.kick()
		}
		if ctx.Err() != nil {
			t.Fatal("it bites in spite of progress")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if !errors.Is(context.Cause(ctx), errStalled) {
			t.Errorf("after a minute of nothing: %v", context.Cause(ctx))
		}
		dog.stop()
	})
}

// lateSource takes its time, within a bubble.
type lateSource struct{ io.Reader }

func (s lateSource) Read(p []byte) (int, error) {
	time.Sleep(time.Second)
	return s.Reader.Read(p)
}

func (lateSource) Close() error { return nil }

// A push that ends while the last chunk is still being verified releases nothing.
func TestStopWhileVerifying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUpload(pattern(100))
		b := newBody(background(), lateSource{bytes.NewReader(u.content)}, u.Upload,
			func() error { t.Error("released after stop"); return nil }, func() {}, func(int) {})
		read := make(chan error)
		go func() { _, err := b.Read(make([]byte, 200)); read <- err }()
		synctest.Wait()
		if letGo, err := b.stop(); letGo || err != nil {
			t.Errorf("let go %v, %v", letGo, err)
		}
		if err := <-read; !errors.Is(err, errAnswered) {
			t.Errorf("read: %v", err)
		}
	})
}

// What the network confirms counts as progress within seconds, and once all has
// left, an answer is waited for a shorter time.
func TestWatchdogOfWhatHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var acked atomic.Int64
		var moved time.Time
		ctx, dog := newWatchdog(background(), defaultStall, acked.Load)
		defer dog.stop()
		dog.tell(func() { moved = time.Now() })
		for range 10 {
			time.Sleep(defaultStall - 2*watchEvery - time.Second)
			acked.Add(1)
			time.Sleep(watchEvery)
			synctest.Wait()
			if ctx.Err() != nil || time.Since(moved) > watchEvery {
				t.Fatalf("%v, moved %s ago", ctx.Err(), time.Since(moved))
			}
		}
		dog.hurry(answerStall)
		time.Sleep(time.Second)
		acked.Add(1) // the last of it
		began := time.Now()
		<-ctx.Done()
		if took := time.Since(began); took < answerStall || took > answerStall+watchEvery || context.Cause(ctx) != errStalled {
			t.Errorf("given up after %s: %v", took, context.Cause(ctx))
		}
	})
}
