//go:build winetest

package main

import (
	"os"
	"slices"
	_ "unsafe" // for go:linkname
)

// Wine runs services in session 1, by which the library takes them for programs
// of a person. This file is for the tests of packaging/test alone; no build that
// is released has its tag.
//
//go:linkname kardianosInteractive github.com/kardianos/service.interactive
var kardianosInteractive bool

func init() {
	if slices.Contains(os.Args[1:], "run") {
		kardianosInteractive = false
	}
}
