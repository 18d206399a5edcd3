package main

import (
	"log/slog"
	"slices"
	"strings"

	"github.com/digime-sync/digime-sync/sidecar"
	"github.com/digime-sync/digime-sync/sync/digime"
	"github.com/digime-sync/digime-sync/sync/engine"
	"github.com/digime-sync/digime-sync/watcher"
)

// What the parts are told of the configuration.

func newClient(cfg *Config, log *slog.Logger) (*digime.Client, error) {
	c, err := digime.New(digime.Options{
		BaseURL: cfg.API.BaseURL, OnboardURL: cfg.API.OnboardURL, LegacyBaseURL: cfg.API.LegacyBaseURL,
		ApplicationID: cfg.ApplicationID, Proxy: cfg.API.Proxy, CA: cfg.API.CA, UserAgent: "digime-sync/" + version, Log: log,
	})
	if err != nil {
		return nil, failure(exitConfig, "digime-sync check", "set up the API's client: %w", err)
	}
	return c, nil
}

func (cfg *Config) contract(name string) digime.Contract {
	c := cfg.Contracts[name]
	return digime.Contract{ID: c.ID, Key: c.Key, RedirectURI: c.RedirectURI}
}

// libraries returns the libraries the configuration lists.
func (cfg *Config) libraries() map[string]engine.Library {
	m := map[string]engine.Library{}
	for name, l := range cfg.Libraries {
		lib := engine.Library{Name: name, Contract: cfg.contract(l.Contract), Accounts: l.Accounts}
		if l.ReadContract != "" {
			read := cfg.contract(l.ReadContract)
			lib.Read = &read
		}
		if l.Postbox != nil {
			lib.Postbox = &digime.PostboxAddress{ID: l.Postbox.ID, Key: l.Postbox.PublicKey}
		}
		m[name] = lib
	}
	return m
}

// library returns a library that is listed, or that a folder's contract makes
// possible without.
func (cfg *Config) library(name string) (engine.Library, error) {
	if l, ok := cfg.libraries()[name]; ok {
		return l, nil
	}
	for _, f := range cfg.Folders {
		if f.Contract != "" && (f.Library == engine.BySubfolder && checkLibraryName(name) == nil || f.Library == name) {
			return engine.Library{Name: name, Contract: cfg.contract(f.Contract)}, nil
		}
	}
	return engine.Library{}, failure(exitError, "the libraries of the configuration are: "+strings.Join(cfg.libraryList(), ", "),
		"there is no library named %q", name)
}

// libraryList names the libraries that are listed or that folders name.
func (cfg *Config) libraryList() []string {
	var names []string
	for name := range cfg.Libraries {
		names = append(names, name)
	}
	for _, f := range cfg.Folders {
		if f.Library != engine.BySubfolder && f.Library != engine.ByAccount {
			names = append(names, f.Library)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (cfg *Config) folders() []engine.Folder {
	var list []engine.Folder
	for _, f := range cfg.Folders {
		folder := engine.Folder{
			Folder: watcher.Folder{
				Path: f.Path, Recursive: f.Recursive || f.Library == engine.BySubfolder,
				Include: f.Include, Exclude: f.Exclude, Settle: f.Settle, Mode: f.Watch,
			},
			Library: f.Library, Push: f.Push, Hold: f.Hold, Provider: digime.Provider{AccountID: f.Provider.AccountID, Version: f.Provider.Version},
			AccountReference: f.Provider.AccountReference, Optional: f.Sidecar == "optional",
			Defaults:   sidecar.Defaults{MimeType: f.Defaults.MimeType, Accounts: f.Defaults.Accounts, Tags: f.Defaults.Tags},
			AllowEmpty: f.AllowEmpty, After: f.After, OnFailure: f.OnFailure, InDoubt: f.InDoubt,
		}
		if f.Contract != "" {
			c := cfg.contract(f.Contract)
			folder.Contract = &c
		}
		list = append(list, folder)
	}
	return list
}
