package watcher

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// eventsLimit is the number of files and directories up to which a folder is
// watched by events; 0 is no limit.
const eventsLimit = 0

// volume is what the file system of a folder means for watching it.
type volume struct {
	name      string
	remote    bool // changes may be made where this kernel does not see them
	renumbers bool // inode numbers do not last
}

// volumes names the file systems told apart by statfs(2), f_type. Sources:
// linux/magic.h and, for those not in it, the modules' own sources.
var volumes = map[uint32]volume{
	unix.NFS_SUPER_MAGIC:   {name: "NFS", remote: true},
	unix.SMB_SUPER_MAGIC:   {name: "SMB", remote: true},
	unix.SMB2_SUPER_MAGIC:  {name: "SMB", remote: true},
	unix.CIFS_SUPER_MAGIC:  {name: "SMB", remote: true},
	unix.FUSE_SUPER_MAGIC:  {name: "FUSE", remote: true},
	unix.V9FS_MAGIC:        {name: "9p", remote: true},
	unix.CEPH_SUPER_MAGIC:  {name: "Ceph", remote: true},
	unix.AFS_SUPER_MAGIC:   {name: "AFS", remote: true},
	unix.AFS_FS_MAGIC:      {name: "AFS", remote: true},
	unix.CODA_SUPER_MAGIC:  {name: "Coda", remote: true},
	unix.NCP_SUPER_MAGIC:   {name: "NetWare", remote: true},
	unix.OCFS2_SUPER_MAGIC: {name: "OCFS2", remote: true},
	0x01161970:             {name: "GFS2", remote: true},
	0x0BD00BD0:             {name: "Lustre", remote: true},
	0x47504653:             {name: "GPFS", remote: true},
	0x19830326:             {name: "BeeGFS", remote: true},
	0x786f4256:             {name: "VirtualBox shared folder", remote: true},
	0xbacbacbc:             {name: "VMware shared folder", remote: true},
	0x7c7c6673:             {name: "Parallels shared folder", remote: true},
	unix.MSDOS_SUPER_MAGIC: {name: "FAT", renumbers: true},
	unix.EXFAT_SUPER_MAGIC: {name: "exFAT", renumbers: true},
}

func volumeOf(path string) (volume, error) {
	var st unix.Statfs_t
	err := ignoringEINTR(func() error { return unix.Statfs(path, &st) })
	if err != nil {
		return volume{}, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	return volumes[uint32(st.Type)], nil
}

// Open opens a file for reading. It answers ErrInUse while any process has the file
// open for writing, which a read lease finds out (fcntl(2), F_SETLEASE); where
// leases cannot be had (another's file without CAP_LEASE, network file systems) that is not known.
func Open(path string) (*os.File, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	if beingWritten(f) {
		_ = f.Close()
		return nil, &fs.PathError{Op: "open", Path: path, Err: ErrInUse}
	}
	return f, nil
}

// spelled says whether the entry at path has exactly this name. Folders that
// fold case (ext4 casefold, and SMB, which is polled) are rare enough not to be asked.
func spelled(string) bool { return true }

// beingWritten takes a read lease and gives it back at once: a writer who comes
// meanwhile waits for that moment only.
func beingWritten(f *os.File) bool {
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	var leaseErr error
	err = conn.Control(func(fd uintptr) {
		_, leaseErr = unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK)
		if leaseErr == nil {
			_, _ = unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_UNLCK)
		}
	})
	return err == nil && leaseErr == unix.EAGAIN
}
