#!/bin/sh
# On a Mac: has Apple notarise a signed package, and staples the ticket to it.
#   packaging/macos/notarise.sh FILE.pkg
# Once before, the credentials go into the keychain:
#   xcrun notarytool store-credentials digime-sync --apple-id … --team-id … --password …
set -eu
pkg=${1:?usage: notarise.sh FILE.pkg}
xcrun notarytool submit "$pkg" --keychain-profile "${NOTARY_PROFILE:-digime-sync}" --wait
xcrun stapler staple "$pkg"
spctl --assess --type install --verbose "$pkg"
