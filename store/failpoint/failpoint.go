// Package failpoint marks the steps at which a crash or a fault would hurt most,
// so that a test can kill the process there, or make the step fail. In the
// product the marks are nothing: only a build with the tag "failpoint" acts on
// them. It lies below store because store is what everybody who marks a step
// imports already.
package failpoint
