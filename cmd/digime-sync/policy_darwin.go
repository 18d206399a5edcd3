package main

import (
	"errors"
	"io/fs"
	"os"

	"github.com/digime-sync/digime-sync/packaging"
)

const policyFile = "/Library/Managed Preferences/" + packaging.MacLabel + ".plist"

func policyStamp() string { return fileStampOf(policyFile) }

// policyLayers reads the managed preferences. Only root can write to their
// folder.
func policyLayers() []*layer {
	data, err := os.ReadFile(policyFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return []*layer{badPolicy(policyFile, "", "%s", unreadable(err).Text)}
	}
	return []*layer{plistLayer(policyFile, data)}
}

// policyClosed says nothing: everybody may read the policy here.
func policyClosed() error { return nil }
