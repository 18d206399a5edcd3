package store

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// migrations[i] brings a database from schema i to i+1, all in one transaction,
// in which the version is written too: a step that fails leaves the database as
// it was. 0 is an empty database. Of any other a copy is kept before the first
// step, as state.db.v<schema>-<date>. Steps are only ever added at the end, and
// work on the buckets as that schema had them.
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

// schema is the version a database says it has, 0 for an empty one.
func (t *txn) schema() uint64 {
	if t.tx.Bucket(metaBucket) == nil {
		return 0
	}
	return t.number(schemaKey)
}

// migrate brings a database to the schema of this version.
func migrate(t *txn) error {
	for version := t.schema(); version < uint64(len(migrations)); version++ {
		if err := migrations[version](t); err != nil {
			return fmt.Errorf("bring the database to schema %d: %w", version+1, err)
		}
		if err := t.putNumber(schemaKey, version+1); err != nil {
			return err
		}
	}
	return nil
}

// checkSchema says whether this version can work with a database of a schema.
func checkSchema(value []byte) error {
	if len(value) != 8 {
		return errors.New("it has no schema")
	}
	version := binary.BigEndian.Uint64(value)
	switch {
	case version == 0:
		return errors.New("it has no schema")
	case version > uint64(len(migrations)):
		return fmt.Errorf("schema %d: %w", version, ErrNewer)
	}
	return nil
}
