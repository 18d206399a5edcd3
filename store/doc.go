// Package store remembers what became of every file: what was delivered, what
// waits in which queue, what each file's state is. It is the only door to
// bbolt, and it keeps the token vault, which works without the database.
//
// # The state folder
//
//	state.db              the database, this package's alone while it is open
//	state.db.damaged-…    a database that was set aside, kept for a person
//	state.db.v1-…         one of an earlier schema, as it was before it was migrated
//	….before-restore-…    what lay there when a backup was restored over it
//	state.pid             locked by the process that has the database; holds its number
//	paused.json           what a person has paused; not in backups
//	state.clean           the last transaction of a clean close
//	audit.log             every delivery and other event, append-only: <crc32c> <json>\n
//	vault.key, .copy      the key the tokens are sealed with, twice
//	tokens/               for each library one sealed file, its second copy (.1), its lock
//
// # The database, schema 1
//
//	bucket       key                               value
//	meta         schema                            version of the schema, 8 bytes
//	meta         audit                             end of the audit log this database knows, 8 bytes
//	meta         pruned                            when records of files that are gone were last dropped, Unix seconds
//	files.1      path, raw bytes                   File, and its place in the queue
//	delivered.1  SHA-256 over Dest and SHA256      path, time, doubtful
//	queue.1      library 0 due(8) sequence(8)      path
//	pushing.1    as in delivered.1                 path whose content is being pushed
//	after.1      path                              the file's after-action is still to do
//	open.1       path                              the file is neither delivered, duplicate nor ignored
//	holds.1      library                           Hold
//	doubt.1      as in delivered.1                 path of which it is in doubt whether it arrived
//
// Numbers are big-endian. A value is a version byte, the state's byte (files.1
// only, else 0), a CRC-32C over bucket, key and value, and then JSON or the
// path: bbolt's pages carry no checksum of their own. queue.1, pushing.1,
// after.1 and open.1 follow from files.1 and change in the same transaction.
//
// # What must hold
//
// A change that was acknowledged survives a crash. A delivery is appended to
// the audit log and flushed before the transaction that records it, which also
// records the log's new end; opening replays what lies beyond. So either of
// the two is enough to know what was delivered, and a damaged database is set
// aside and made anew from the log and from those of its own records that
// are still whole. What delivered.1 holds of a delivery is never removed; the record
// of a file is, once it is at rest and gone.
//
// After an error of the disk nothing is believed: the audit log is cut back to
// its last good flush, the database is opened again from its file, after EIO
// only when all of it was read back whole, and whoever has something to record
// tries again. What is deleted or exchanged under the open store is written
// back from what is still open (Mend). A database of an earlier schema is
// migrated in one transaction, after a copy of it was kept; one of a newer
// version is refused before anything is touched. A backup (Backup) is the
// database at one moment, the log from its beginning to that moment or beyond,
// and the vault; a restore (Restore) keeps every delivery and every newer token
// that is in place.
//
// # What it has stood
//
// Figures of November 2026, and how to repeat them:
//
//	1,000 databases damaged at random bytes, cut, zeroed, with pages
//	exchanged: no panic, no delivery forgotten, Check and Open agree
//	    go test ./store -run Damage -damage.seeds=1000
//	database cut at 200 lengths, backups cut everywhere and with 150 bits flipped
//	    go test ./store -run 'Truncated|DamagedBackup'
//	248 steps of an opening that fail with ENOSPC, EIO, EROFS or EDQUOT
//	    go test -tags failpoint ./store -run FaultsWhileOpening
//	36 steps of a file's way and a token's, each failing with each of the four
//	under a running engine: all files once, no consent lost
//	    go test -tags failpoint ./sync/engine -run FaultsAtEveryStep -disk.steps=. -disk.all -timeout 1h
//	full, read-only and dying disks under a running engine (root)
//	    go test ./sync/engine -run 'StateDisk|WatchedFolder'
//
// A delivered file leaves 0.9 kB in the audit log for good. In the database it
// takes 1.1 kB while it lies there, and 0.24 kB for good once its record is
// dropped (Prune); to check, back up and restore all of that takes 70, 9 and 32 µs
// a file (go test ./store -run '^$' -bench Growth -benchtime 1x). Opening reads
// the audit log's tail alone: 24 ms with 506 MB of it. To check that took 37 s on two
// very busy cores, and 5 MB of memory; it needs 8 bytes more for each delivery.
//
// # Left out
//
// No file content and no token is in the database. Nothing here decides what
// is pushed when: due times, doubts and reasons are the engine's, the
// store keeps them. Nor does it know which files have gone: who calls Prune does.
// The audit log is not rotated, since a database is rebuilt from all of it: 100
// files a day are 33 MB a year. The state folder must be on a local disk.
package store
