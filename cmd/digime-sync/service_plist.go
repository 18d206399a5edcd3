package main

import (
	"strings"

	"github.com/digime-sync/digime-sync/packaging"
)

// renderPlist returns the packages' own plist, with this program and
// configuration in the place of the packages'.
func renderPlist(exe, config string) string {
	xml := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	plist := strings.ReplaceAll(packaging.Plist, "<string>"+packaging.MacProgram+"</string>", "<string>"+xml.Replace(exe)+"</string>")
	return strings.ReplaceAll(plist, "<string>"+packaging.MacConfig+"</string>", "<string>"+xml.Replace(config)+"</string>")
}
