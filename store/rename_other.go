//go:build unix && !linux && !darwin

package store

// renameNew renames unless the new name exists (fs.ErrExist) or is on another
// file system (errCrossDevice).
func renameNew(oldpath, newpath string) error { return linkNew(oldpath, newpath) }
