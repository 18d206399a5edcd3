package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/digime-sync/digime-sync/store"
)

var powerRounds = flag.Int("power.rounds", 6, "power cuts of TestPowerLoss for each file system")

// insideEnv tells the test that it runs with mounts of its own.
const insideEnv = "DIGIME_SYNC_TEST_MOUNTS"

// TestPowerLoss cuts the power of a disk that holds the daemon's state and its
// folders, at random moments, and demands afterwards what TestCrash demands; the
// sandbox stands outside. The cut is the shutdown call of ext4 and XFS: what was
// not flushed is gone.
//
//	go test ./cmd/digime-sync -run TestPowerLoss -v -timeout 2h -power.rounds=200 -crash.seed=7
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes its time")
	}
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			needs(t, kind)
			cmd := exec.Command(os.Args[0], "-test.v", "-test.run=^TestPowerInside$", "-test.timeout=2h",
				fmt.Sprintf("-power.rounds=%d", *powerRounds), fmt.Sprintf("-crash.seed=%d", *crashSeed))
			cmd.Env = append(os.Environ(), insideEnv+"="+kind)
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
			out, err := cmd.CombinedOutput()
			t.Logf("%s", out)
			if err != nil || !strings.Contains(string(out), "--- PASS: TestPowerInside") {
				t.Errorf("in a mount namespace of its own: %v", err)
			}
		})
	}
}

// needs skips the test where the rig cannot be built; where tests are to be
// complete that is a failure.
func needs(t *testing.T, kind string) {
	t.Helper()
	why := ""
	for _, tool := range []string{"losetup", "mkfs." + kind} {
		if _, err := exec.LookPath(tool); err != nil {
			why = err.Error()
		}
	}
	if os.Geteuid() != 0 {
		why = "only root can mount"
	}
	if why != "" && os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	if why != "" {
		t.Skip(why)
	}
}

// TestPowerInside is what TestPowerLoss starts.
func TestPowerInside(t *testing.T) {
	kind := os.Getenv(insideEnv)
	if kind == "" {
		t.Skip("TestPowerLoss starts it, in a mount namespace of its own")
	}
	disk := newCutDisk(t, kind)
	disk.control(t)
	side := t.TempDir()
	disk.must(os.MkdirAll(filepath.Join(disk.dir, "disk"), 0o755))
	rig := newCrashRig(t, filepath.Join(disk.dir, "disk"), side)
	p := crashProgramOn(t, rig)
	rig.importTokens()
	unix.Sync()
	for range *powerRounds {
		p.powerCut(disk)
	}
	p.finish()
}

// cutDisk is a file system on a loop device whose power can be cut.
type cutDisk struct {
	t               *testing.T
	kind, loop, dir string
	cuts            int
}

func newCutDisk(t *testing.T, kind string) *cutDisk {
	t.Helper()
	base := t.TempDir()
	d := &cutDisk{t: t, kind: kind, dir: filepath.Join(base, "mnt")}
	image := filepath.Join(base, "disk.img")
	f, err := os.Create(image)
	d.must(err)
	d.must(f.Truncate(400 << 20)) // XFS takes no less than 300 MiB
	d.must(f.Close())
	d.must(os.Mkdir(d.dir, 0o755))
	d.loop = strings.TrimSpace(d.run("losetup", "-f", "--show", image))
	t.Cleanup(func() { d.run("losetup", "-d", d.loop) })
	d.run("mkfs."+kind, "-q", d.loop)
	d.mount()
	t.Cleanup(d.unmount)
	return d
}

func (d *cutDisk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *cutDisk) run(name string, args ...string) string {
	d.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func (d *cutDisk) mount() {
	d.t.Helper()
	d.must(unix.Mount(d.loop, d.dir, d.kind, 0, ""))
}

func (d *cutDisk) unmount() {
	d.t.Helper()
	deadline := time.After(patience)
	for {
		err := unix.Unmount(d.dir, 0)
		if err == nil {
			return
		}
		select {
		case <-deadline:
			d.t.Fatalf("unmount: %v", err)
		case <-time.After(5 * time.Millisecond): // its last users are going
		}
	}
}

// shutdownCall is EXT4_IOC_SHUTDOWN, and XFS's too (linux/fs/ext4/ext4.h);
// withoutFlush is its flag for a journal that is not written out first.
const (
	shutdownCall = 0x8004587d
	withoutFlush = 2
)

// cut takes the power away: from now on nothing reaches the disk.
func (d *cutDisk) cut() {
	d.t.Helper()
	f, err := os.Open(d.dir)
	d.must(err)
	defer f.Close()
	d.must(unix.IoctlSetPointerInt(int(f.Fd()), shutdownCall, withoutFlush))
	d.cuts++
}

// back brings the power back, when nobody uses the disk any more.
func (d *cutDisk) back() {
	d.t.Helper()
	d.unmount()
	d.mount()
}

// control proves that the rig forgets what was not flushed, and only that.
func (d *cutDisk) control(t *testing.T) {
	t.Helper()
	flushed, unflushed := filepath.Join(d.dir, "flushed"), filepath.Join(d.dir, "unflushed")
	forgotten := 0
	for n := range 3 {
		content := fmt.Sprint("content ", n)
		d.must(store.WriteFile(flushed, []byte(content), 0o600))
		d.must(os.WriteFile(unflushed+".tmp", []byte(content), 0o600))
		d.must(os.Rename(unflushed+".tmp", unflushed))
		d.cut()
		d.back()
		if got, err := os.ReadFile(flushed); string(got) != content {
			t.Fatalf("the rig has lost what was flushed: %q, %v", got, err)
		}
		if got, _ := os.ReadFile(unflushed); string(got) != content {
			forgotten++
		}
	}
	if forgotten == 0 {
		t.Fatal("the rig keeps what was never flushed: it proves nothing")
	}
	t.Logf("%s: of 3 files written without a flush %d were lost or empty, of 3 with one none", d.kind, forgotten)
}

// powerCut lets a daemon work on dropped files until the power goes.
func (p *crashProgram) powerCut(disk *cutDisk) {
	p.round++
	p.fault()
	p.rig.start("")
	done, cut := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		var wg sync.WaitGroup
		for i := range crashFolders[:5] {
			wg.Go(func() {
				for {
					select {
					case <-cut:
						return
					default:
						p.writer.durable(crashFolders[i], cut)
						p.writer.wait(300)
					}
				}
			})
		}
		wg.Wait()
	}()
	p.after(50+rand.N(1500), func() {})
	acknowledged := p.acknowledged()
	close(cut)
	disk.cut()
	<-done
	_ = p.rig.daemon.cmd.Process.Kill() // it may have ended by itself, for want of a disk
	<-p.rig.daemon.gone
	disk.back()
	p.rig.buried(true)
	p.kills["power cut"]++
	recorded := p.rig.recorded()
	for key := range acknowledged {
		if !recorded[key] {
			p.t.Errorf("cut %d: %s was acknowledged as delivered, and is not known any more", disk.cuts, key)
		}
	}
}

// acknowledged is what the daemon says it has delivered: library and content.
func (p *crashProgram) acknowledged() map[string]bool {
	said := map[string]bool{}
	s, err := p.rig.ask()
	if err != nil {
		return said // it is just starting
	}
	for _, f := range s.Files {
		if f.State == store.Delivered {
			said[f.Library+" "+f.SHA256] = true
		}
	}
	return said
}

// durable drops a file as a program does that wants it to last. What the cut
// may have come before is not one that must be delivered.
func (w *writer) durable(f crashFolder, cut <-chan struct{}) {
	d, content := w.fresh(f)
	d.must = false
	w.note(d)
	err := os.MkdirAll(filepath.Dir(d.path), 0o755)
	for _, one := range []struct {
		path    string
		content []byte
	}{{d.path + ".meta.json", sidecarOf(d)}, {d.path, content}} {
		if err == nil {
			err = store.WriteFile(one.path, one.content, 0o644)
		}
	}
	select {
	case <-cut:
		err = syscall.EIO // the folder, or its flush, may be what the disk has forgotten
	default:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.list {
		if w.list[i].path == d.path {
			w.list[i].must, w.list[i].last = err == nil, err == nil
		}
	}
}
