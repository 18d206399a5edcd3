// Package store remembers what became of every file: what was delivered, what
// waits in which queue, what each file's state is. It is the only door to
// bbolt, and it keeps the token vault, which works without the database.
//
// # The state folder
//
//	state.db              the database, this package's alone while it is open
//	state.db.damaged-…    a database that was set aside, kept for a person
//	state.pid             locked by the process that has the database; holds its number
//	state.clean           the last transaction of a clean close
//	audit.log             every delivery and other event, append-only: <crc32c> <json>\n
//	vault.key, .copy      the key the tokens are sealed with, twice
//	tokens/               one sealed file for each library, its previous generation, its lock
//
// # The database, schema 1
//
//	bucket       key                               value
//	meta         schema                            version of the schema, 8 bytes
//	meta         audit                             end of the audit log this database knows, 8 bytes
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
// are still whole. The records of a delivery are never removed.
//
// # Left out
//
// No file content and no token is in the database. Nothing here decides what
// is pushed when: due times, doubts and reasons are the engine's, the
// store keeps them. No record is pruned, and the state folder must be on a local disk.
package store
