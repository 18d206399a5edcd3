package main

// No folder has pipes in it here.
const (
	openAtOnce = 0
	noLink     = 0
)
