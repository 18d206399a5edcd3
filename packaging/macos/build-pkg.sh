#!/bin/sh
# On a Mac with the Xcode command line tools: makes the signed installer of what
# "go run -C packaging/build . macos" has laid out, on this or another machine.
#   packaging/macos/build-pkg.sh [DIST]
# Needs no key by itself; with
#   APP_IDENTITY="Developer ID Application: …"    the program is signed
#   PKG_IDENTITY="Developer ID Installer: …"      the package is signed
# Then packaging/macos/notarise.sh has Apple notarise it.
set -eu
dist=${1:-$(dirname "$0")/../../dist}
staged=$dist/work/macos
version=$(cat "$staged/version")
out=$dist/digime-sync_${version}_signed.pkg

# What was copied from another system may have lost its modes.
chmod 0755 "$staged/root/usr/local/bin/digime-sync" "$staged"/scripts/*
if [ -n "${APP_IDENTITY-}" ]; then
  codesign --force --options runtime --timestamp --identifier me.digi.digime-sync \
    --sign "$APP_IDENTITY" "$staged/root/usr/local/bin/digime-sync"
  codesign --verify --strict --verbose=2 "$staged/root/usr/local/bin/digime-sync"
fi
pkgbuild --root "$staged/root" --scripts "$staged/scripts" --identifier me.digi.digime-sync \
  --version "$version" --install-location / --ownership recommended "$dist/work/component.pkg"
if [ -n "${PKG_IDENTITY-}" ]; then
  productbuild --package "$dist/work/component.pkg" --sign "$PKG_IDENTITY" --timestamp "$out"
  pkgutil --check-signature "$out"
else
  productbuild --package "$dist/work/component.pkg" "$out"
fi
echo "made $out"
