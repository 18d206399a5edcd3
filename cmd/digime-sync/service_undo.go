package main

import (
	"errors"
	"fmt"
)

// undoing holds how to take back what was done, for a job that is done as a
// whole or not at all.
type undoing struct{ steps []func() error }

// add notes how to take back a step that is about to be done.
func (u *undoing) add(step func() error) { u.steps = append(u.steps, step) }

// unless takes everything back, the last first, when there is an error, and adds
// what could not be taken back.
func (u *undoing) unless(err error) error {
	if err == nil {
		return nil
	}
	for i := len(u.steps) - 1; i >= 0; i-- {
		if back := u.steps[i](); back != nil {
			err = errors.Join(err, fmt.Errorf("take it back: %w", back))
		}
	}
	return err
}
