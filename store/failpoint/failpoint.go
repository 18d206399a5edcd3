// Package failpoint marks the steps at which a crash or a fault would hurt most,
// so that a test can kill the process there, or make the step fail. In the
// product the marks are nothing: only a build with the tag "failpoint" acts on
// them. It lies below store because store is what everybody who marks a step
// imports already.
package failpoint

// PlanEnv names the file that says what is to happen, read anew at each step so
// that a fault can begin and end while the process runs. One line for each
// step: its name (or * for all), what to do (kill, or the name of an error:
// ENOSPC, EIO, EROFS, EDQUOT, EACCES), and from which to which hit, counted from
// 1: "audit.append kill 3" or "vault.write ENOSPC 1-5"; without numbers, every hit.
const PlanEnv = "DIGIME_SYNC_FAILPOINTS"

// LogEnv names the file to which the name of each step is appended as it is hit.
const LogEnv = "DIGIME_SYNC_FAILPOINT_LOG"

// CountEnv names the file that holds the number of goroutines as of the step that
// was last hit, for whoever watches a process for hours.
const CountEnv = "DIGIME_SYNC_GOROUTINES"
