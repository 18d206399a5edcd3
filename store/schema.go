package store

import (
	"fmt"

	"go.etcd.io/bbolt"
)

// migrations[i] brings a database from schema i to i+1, in the transaction in
// which the version is written. 0 is an empty database.
var migrations = []func(t *txn) error{
	createBuckets,
}

func createBuckets(t *txn) error {
	for _, name := range append([][]byte{metaBucket}, sealedBuckets...) {
		if _, err := t.tx.CreateBucketIfNotExists(name); err != nil {
			return fmt.Errorf("make bucket %s: %w", name, err)
		}
	}
	return nil
}

// migrate brings a database to the schema of this version, ErrNewer if it is beyond.
func migrate(tx *bbolt.Tx) error {
	t := &txn{tx: tx}
	version := uint64(0)
	if tx.Bucket(metaBucket) != nil {
		version = t.number(schemaKey)
	}
	if version > uint64(len(migrations)) {
		return fmt.Errorf("schema %d: %w", version, ErrNewer)
	}
	for ; version < uint64(len(migrations)); version++ {
		if err := migrations[version](t); err != nil {
			return fmt.Errorf("bring the database to schema %d: %w", version+1, err)
		}
		if err := t.putNumber(schemaKey, version+1); err != nil {
			return err
		}
	}
	return nil
}
