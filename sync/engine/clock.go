package engine

import "time"

// jumpFrom is how far the clock must move by itself to be noticed.
const jumpFrom = time.Minute

// clock notices when the clock of the wall and the one timers run by drift
// apart: it was set, or the machine has slept, in which timers stand still.
type clock struct {
	wall time.Time     // at the last look, without a monotonic reading
	up   time.Duration // the timers' time then
}

// jump returns by how much the wall's clock has moved more than the timers'
// since the last look, 0 for less than jumpFrom.
func (c *clock) jump(wall time.Time, up time.Duration) time.Duration {
	wall = wall.Round(0)
	last := *c
	c.wall, c.up = wall, up
	if last.wall.IsZero() {
		return 0
	}
	shift := wall.Sub(last.wall) - (up - last.up)
	if shift.Abs() < jumpFrom {
		return 0
	}
	return shift
}

// wallSince is how much time has passed by the wall's clock, which goes on
// while a machine sleeps; less than 0 when it was set back.
func wallSince(then, now time.Time) time.Duration { return now.Round(0).Sub(then.Round(0)) }

// serverTime is what time it is for the service, by whose clock tokens end, as
// far as its answers have told.
func (e *Engine) serverTime(now time.Time) time.Time {
	if skew, ok := e.Client.Skew(); ok && skew.Abs() > clockTolerance {
		return now.Add(-skew)
	}
	return now
}
