//go:build !linux

package main

import "fmt"

// serviceConfigure has nothing to do: only systemd keeps the service in.
func (a *app) serviceConfigure(string) error {
	fmt.Fprintln(a.out, "nothing to configure: the service may touch what its account may")
	return nil
}

// serviceFollow has nothing to do either.
func (a *app) serviceFollow(config string) error { return a.serviceConfigure(config) }

// unopened has nothing to say: only systemd keeps the service in.
func unopened(string) string { return "" }

func openHint() string { return "" }
